"""Puts trained weights into the app and their sha256 into the card: `python -m training.release.install PIPELINE FILE`.

Of a network of several, every part has a file: `python -m training.release.install PIPELINE axial=FILE coronal=FILE
...`.
"""

import argparse
import hashlib
import importlib
import re
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import load_file, save


def install(pipeline: str, content: bytes) -> str:
    """Write the content of a weights file to weights/ and its sha256 into the pipeline's card; return the sha256."""
    module = importlib.import_module(f"medapp.pipelines.{pipeline}")
    source = Path(str(module.__file__))
    target = source.parents[2] / "weights" / module.CARD.weights.file
    target.parent.mkdir(exist_ok=True)
    target.write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    text, count = re.subn(module.CARD.weights.sha256, digest, source.read_text(encoding="utf-8"))
    if count != 1:
        raise ValueError(f"the card of {pipeline} should hold its sha256 once, not {count} times")
    source.write_text(text, encoding="utf-8")
    return digest


def pack_parts(parts: Mapping[str, Path]) -> bytes:
    """Return one safetensors file of several, in which every tensor's name begins with that of its part."""
    states = {part: load_file(file) for part, file in parts.items()}
    return save({f"{part}.{name}": tensor for part, state in states.items() for name, tensor in state.items()})


def read_weights(files: list[str]) -> bytes:
    """Return the content of the one file, or of the PART=FILE files packed into one."""
    if len(files) == 1 and "=" not in files[0]:
        return Path(files[0]).read_bytes()
    if not all("=" in file for file in files):
        raise ValueError(f"one FILE, or PART=FILE for every part, not {' '.join(files)}")
    return pack_parts({part: Path(file) for part, _, file in (each.partition("=") for each in files)})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pipeline")
    parser.add_argument("file", nargs="+", help="a weights file, or PART=FILE for every part of a network of several")
    args = parser.parse_args()
    print(install(args.pipeline, read_weights(args.file)))
