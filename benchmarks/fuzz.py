"""Coverage-guided fuzzing of the readers, by atheris: `python -m benchmarks.fuzz 1000000 --out DIR`.

`pip install atheris` first (on Linux). It starts from the whole files of the tests' corpus; what makes a reader raise
anything but InputError, crash, hang for ten seconds or take two gigabytes is written to DIR. Not part of the tests.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import atheris

NAMES = ("a.nii", "a.nii.gz", "a.mgh", "a.mha", "a.nrrd", "a.png", "a.tif", "IM0", "a.zip")

with atheris.instrument_imports(include=["medapp.imaging", "nibabel", "pydicom"]):
    from medapp.errors import InputError
    from medapp.io import files


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=int)
    parser.add_argument("--out", type=Path, required=True, help="where crashing inputs go, and the corpus that grows")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    corpus, crashes = args.out / "corpus", args.out / "found"
    for folder in (corpus, crashes):
        folder.mkdir(parents=True, exist_ok=True)
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "io" / "hostile"))
    from corpus import WHOLE

    for name, data in WHOLE.items():
        if name in NAMES:
            (corpus / f"seed_{name}").write_bytes(bytes([NAMES.index(name)]) + data)
    flags = [f"-runs={args.runs}", f"-seed={args.seed}", f"-artifact_prefix={crashes}/"]
    flags += ["-timeout=10", "-rss_limit_mb=2048", "-max_len=20000", "-len_control=0"]
    atheris.Setup([sys.argv[0], *flags, str(corpus)], read_fuzzed)
    atheris.Fuzz()


def read_fuzzed(data: bytes) -> None:
    """Read one input: its first byte chooses the file's name, the rest is the file."""
    if not data:
        return
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        path = Path(folder) / NAMES[data[0] % len(NAMES)]
        path.write_bytes(data[1:])
        try:
            files.read([path], colour=True)
        except InputError as error:
            message = str(error)
            if not (message.endswith(".") and message.isprintable() and len(message) < 400):
                raise AssertionError("not one clear sentence") from error


if __name__ == "__main__":
    main()
