"""Digests of what every example gives through the command line, to prove that a change of the code changes no answer.

`python -m benchmarks.digest_outputs --out FILE.json` writes them, `--against FILE.json` compares them with earlier ones
and ends with 1 if any differs. Seconds, memory, versions and DICOM's uids and dates are left out. Of JSON and CSV the
numbers have a digest of their own, so that a change of words alone is seen to be one. Digests hold for one kind of
processor: another one rounds otherwise.
"""

import argparse
import gzip
import hashlib
import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pydicom

from medapp import examples
from medapp.serving import runtime
from training.evaluation import golden_pair

VARYING = ("seconds", "peak_memory_mb", "versions", "device")  # facts of a run, not of its answer
UNIQUE = ("UI", "DA", "TM", "DT")  # DICOM's kinds of value that no two runs share


def run_example(example: examples.Example, folder: Path) -> str:
    """Run the example as a user would, with its files written to `folder`; what was printed."""
    card = runtime.find_card(example.pipeline)
    command = golden_pair.make_run_command(card, example.images, example.settings, folder)
    if example.reference:
        command += ["--reference", str(example.reference)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{example.name}: {done.stderr}")
    return "\n".join(line for line in done.stdout.splitlines() if not line.startswith("wrote "))


def digest_file(path: Path) -> str:
    """The first 16 hexadecimal digits of the sha256 of what the file says, however it is packed."""
    if path.suffix == ".gz":
        content = gzip.decompress(path.read_bytes())
    elif path.suffix == ".json":
        facts = json.loads(path.read_text(encoding="utf-8"))
        content = json.dumps({k: v for k, v in facts.items() if k not in VARYING}, sort_keys=True).encode()
    elif path.suffix == ".npz":
        with np.load(path) as arrays:
            content = b"".join(name.encode() + arrays[name].tobytes() for name in sorted(arrays))
    elif path.suffix == ".dcm":
        elements = pydicom.dcmread(path).iterall()
        content = "\n".join(f"{e.tag} {e.value!r}" for e in elements if e.VR not in UNIQUE).encode()
    else:
        content = path.read_bytes()
    return hashlib.sha256(content).hexdigest()[:16]


def digest_numbers(path: Path) -> str:
    """The digest of the numbers alone in a file of words: metrics and tables of a JSON, cells of a CSV."""
    if path.suffix == ".json":
        facts = json.loads(path.read_text(encoding="utf-8"))
        values = [metric["value"] for metric in facts["metrics"].values()]
        cells = [cell for table in facts["tables"].values() for row in table["rows"] for cell in row]
    else:
        values, cells = [], path.read_text(encoding="utf-8").replace("\n", ",").split(",")
    numbers = [repr(value) for value in (*values, *cells) if _is_number(value)]
    return hashlib.sha256(" ".join(numbers).encode()).hexdigest()[:16]


def _is_number(value: object) -> bool:
    try:
        float(str(value))
    except ValueError:
        return False
    return True


def digest_example(example: examples.Example) -> dict[str, str]:
    """Name of each output file, and "printed", to its digest."""
    with TemporaryDirectory() as folder:
        printed = run_example(example, Path(folder))
        files = sorted(path for path in Path(folder).rglob("*") if path.is_file())
        found = {str(path.relative_to(folder)): digest_file(path) for path in files}
        words = [path for path in files if path.suffix in (".json", ".csv")]
        found |= {f"{path.relative_to(folder)}, numbers": digest_numbers(path) for path in words}
    return found | {"printed": hashlib.sha256(printed.encode()).hexdigest()[:16]}


def compare_digests(before: dict[str, dict[str, str]], after: dict[str, dict[str, str]]) -> list[str]:
    """A line for every file that differs or is in one of the two alone."""
    lines = []
    for name in sorted({*before, *after}):
        first, second = before.get(name, {}), after.get(name, {})
        for file in sorted({*first, *second}):
            if first.get(file) != second.get(file):
                lines.append(f"{name}/{file}: {first.get(file, 'missing')} {second.get(file, 'missing')}")
    return lines


def main() -> int:
    """The exit code: 1 if something differs."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="where to write the digests")
    parser.add_argument("--against", type=Path, metavar="FILE.json", help="earlier digests to compare with")
    parser.add_argument("--only", nargs="*", metavar="EXAMPLE", help="names of examples; all by default")
    args = parser.parse_args()
    offered = [e for e in examples.every() if e.pipeline in runtime.load_cards()]
    chosen = [e for e in offered if not args.only or e.name in args.only]
    found = {}
    for example in chosen:
        print(example.name, flush=True)
        found[example.name] = digest_example(example)
    if args.out:
        args.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    if not args.against:
        return 0
    before = json.loads(args.against.read_text(encoding="utf-8"))
    lines = compare_digests({name: before.get(name, {}) for name in found}, found)
    print("\n".join(lines) or f"{len(found)} examples: nothing differs")
    return int(bool(lines))


if __name__ == "__main__":
    sys.exit(main())
