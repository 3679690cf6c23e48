"""Golden pair: a small input and the output of the served pipeline, to check published weights with."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import nibabel as nib
import numpy as np
from PIL import Image

from medapp import examples
from medapp.card import Card
from medapp.errors import UserError

ROOT = Path(examples.FOLDER).parent
INDEX_FILE = "golden.json"
TOLERANCES = {
    "image": (5e-3, "largest difference, as a share of the golden image's range; a level of 255 is 0.0039"),
    "labels": (1e-2, "share of the labelled voxels that differ"),
    "numbers": (1e-2, "largest difference, as a share of the larger number or of 1"),
}


class RefusedError(UserError):
    """The request cannot be carried out, for the reason in the message."""


class Difference(NamedTuple):
    """How far an output file is from the golden one; `allowed` is the tolerance for its kind."""

    file: str
    kind: str
    value: float
    allowed: float

    def __str__(self) -> str:
        difference = f"differs by {self.value:.2g}" if self.value else "exact"
        return f"{self.file}: {difference} (allowed {self.allowed:g})"


def make_golden_pair(card: Card, folder: Path) -> dict[str, Any]:
    """Copy the pipeline's smallest example to `folder`/input, run it, and write output and golden.json to `folder`.

    The files that the command line writes go to `folder`/output. Returns the content of golden.json. Raises
    RefusedError.
    """
    example = smallest_example(card)
    (folder / "input").mkdir(parents=True)
    inputs = {name: f"input/{path.name}" for name, path in example.images.items()}
    for name, path in example.images.items():
        shutil.copyfile(path, folder / inputs[name])
    output = folder / "output"
    run_app(card, {name: folder / path for name, path in inputs.items()}, example.settings, output)
    facts = json.loads((output / "result.json").read_text(encoding="utf-8"))
    index = {
        "pipeline": card.name,
        "title": example.title,
        "source": example.source,
        "licence": example.licence,
        "weights": {"file": card.weights.file, "sha256": card.weights.sha256},
        "inputs": inputs,
        "settings": example.settings,
        "made_with": {name: facts[name] for name in ("device", "engine", "precision", "versions")},
        "tolerances": {kind: {"allowed": allowed, "of": of} for kind, (allowed, of) in TOLERANCES.items()},
        "sha256": {p.relative_to(folder).as_posix(): sha256(p) for p in sorted(folder.rglob("*")) if p.is_file()},
    }
    (folder / INDEX_FILE).write_text(json.dumps(index, indent=2, ensure_ascii=False), encoding="utf-8")
    return index


def smallest_example(card: Card) -> examples.Example:
    """Return the synthetic example with the fewest bytes whose settings fit on a command line.

    It is one of the pipeline's own, or else of another whose images have the names of its inputs, without settings.
    Raises RefusedError if there is none.
    """
    every = [e for e in examples.every() if e.synthetic]
    own = [e for e in every if e.pipeline == card.name and not any("\n" in str(v) for v in e.settings.values())]
    needed, taken = {i.name for i in card.inputs if not i.optional}, {i.name for i in card.inputs}
    candidates = own or [replace(e, settings={}) for e in every if needed <= e.images.keys() <= taken]
    if not candidates:
        raise RefusedError(
            f"There is no synthetic example in examples/ for {card.name}, so no golden pair can be made."
        )
    return min(candidates, key=lambda e: sum(path.stat().st_size for path in e.images.values()))


def make_run_command(
    card: Card, images: Mapping[str, Path], settings: Mapping[str, Any], out: Path, *flags: str
) -> list[str]:
    """Make the app's command line for the images, by input, and the settings; its files go to `out`."""
    command = [sys.executable, "-m", "medapp", "run", card.name, "--out", str(out), *flags, "--quiet"]
    command += [str(images[source.name]) for source in card.inputs if not source.optional]
    for source in card.inputs:
        if source.optional and source.name in images:
            command += [f"--{source.name.replace('_', '-')}", str(images[source.name])]
    for name, value in settings.items():
        command += ["--set", f"{name}={value}"]
    return command


def run_app(card: Card, images: Mapping[str, Path], settings: Mapping[str, Any], out: Path, **environment: str) -> None:
    """Run the app's command line on the images with torch on the CPU in a separate process; files go to `out`.

    `environment` is added to this process's. Raises RefusedError with the app's message.
    """
    command = make_run_command(card, images, settings, out, "--device", "cpu")
    variables = os.environ | {"MEDAPP_ENGINE": "torch"} | environment
    done = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["it ended without a word."]
        raise RefusedError(f"The app did not make the golden output: {lines[-1]}")


def compare_outputs(folder: Path, out: Path) -> list[Difference]:
    """Compare every golden file of `folder` with that of the same name in `out`.

    Raises RefusedError if one is missing.
    """
    index = json.loads((folder / INDEX_FILE).read_text(encoding="utf-8"))
    differences = []
    for path in (folder / name for name in index["sha256"] if name.startswith("output/")):
        again = out / path.relative_to(folder / "output")
        if not again.is_file():
            raise RefusedError(f"The app wrote no {again.name}, which the golden output has.")
        kind, far = _compare_files(path, again)
        differences.append(Difference(path.name, kind, far, index["tolerances"][kind]["allowed"]))
    return differences


def sha256(path: Path) -> str:
    """Return the sha256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _compare_files(golden: Path, again: Path) -> tuple[str, float]:
    """What kind of file it is, and how far the two are apart, infinitely if they do not fit each other."""
    if golden.suffix in (".gz", ".png", ".npz"):
        (first, first_affine), (second, second_affine) = _read_array(golden), _read_array(again)
        labels = golden.suffix == ".gz" and first.dtype.kind in "iub"
        kind = "labels" if labels else "image"
        if first.shape != second.shape or not np.allclose(first_affine, second_affine, atol=1e-3):
            return kind, np.inf
        apart = first != second
        if not apart.any():
            return kind, 0.0
        if labels:
            return kind, float(apart.sum() / ((first != 0) | (second != 0)).sum())
        first, second = first.astype(float), second.astype(float)
        return kind, float(np.nan_to_num(np.abs(first - second).max() / np.ptp(first), nan=np.inf))
    return "numbers", _largest_difference(_read_tokens(golden), _read_tokens(again))


def _read_array(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """The values of NIfTI, PNG or NumPy's .npz, and the affine, which only NIfTI has."""
    if path.suffix == ".gz":
        image = nib.load(path)
        return np.asanyarray(image.dataobj), image.affine
    if path.suffix == ".npz":
        return np.load(path)["arr_0"], np.eye(4)
    return np.asarray(Image.open(path)), np.eye(4)


def _read_tokens(path: Path) -> list[str]:
    """The words and numbers of a text; of result.json only what is to be the same: settings and metrics."""
    text = path.read_text(encoding="utf-8")
    if path.name == "result.json":
        facts = json.loads(text)
        text = json.dumps([facts["settings"], facts["metrics"]])
    return re.findall(r"[^\s,;:\[\]{}\"]+", text)


def _largest_difference(first: list[str], second: list[str]) -> float:
    if len(first) != len(second):
        return np.inf
    return max((_token_difference(a, b) for a, b in zip(first, second, strict=True) if a != b), default=0.0)


def _token_difference(first: str, second: str) -> float:
    try:
        a, b = float(first), float(second)
    except ValueError:
        return np.inf
    return abs(a - b) / max(abs(a), abs(b), 1.0)
