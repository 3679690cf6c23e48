"""Examples: small cases that ship with the app, each with its source and licence."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from medapp.card import Input, use_present_names
from medapp.imaging.volume import Volume
from medapp.io import files

FOLDER = Path(__file__).resolve().parent.parent / "examples"


@dataclass(frozen=True, eq=False)
class Example:
    """One case: `images` maps an input's name to its file; `reference` is what to compare with, or None; `settings` are
    the options that are not at their defaults; `look` says in one line what to look at."""

    name: str
    pipeline: str
    title: str
    about: str
    images: dict[str, Path]
    reference: Path | None
    source: str
    licence: str
    synthetic: bool
    settings: dict[str, Any] = field(default_factory=dict)
    look: str = ""

    def volumes(self, inputs: Sequence[Input]) -> list[Volume | None]:
        """Read the images in the order of the inputs, named by their titles; None where there is none."""
        images = use_present_names(self.images, inputs)
        return [
            files.read([images[i.name]], name=i.title, colour=i.colour, labels=i.labels) if i.name in images else None
            for i in inputs
        ]

    def truth(self) -> Volume | None:
        """The reference, or None."""
        return files.read([self.reference], name="reference", colour=True) if self.reference else None


@cache
def of_task(task: str) -> tuple[Example, ...]:
    """Every example of a tab, by folder name; none if the folder is not there."""
    return tuple(_load(f) for f in sorted((FOLDER / task).glob("*/case.json")))


def every() -> tuple[Example, ...]:
    """The examples of all tabs."""
    folders = sorted(FOLDER.iterdir()) if FOLDER.is_dir() else []
    return tuple(e for folder in folders for e in of_task(folder.name))


def of_file(path: Path | str) -> Example | None:
    """The example that this very file belongs to; None for any other, a copy of one among them."""
    return _by_file().get(os.path.abspath(path))


def paths() -> tuple[str, ...]:
    """The files of all examples."""
    return tuple(_by_file())


@cache
def _by_file() -> dict[str, Example]:
    return {str(path): e for e in every() for path in (*e.images.values(), e.reference) if path}


@cache
def _read_looks() -> dict[str, str]:
    return json.loads((FOLDER / "looks.json").read_text(encoding="utf-8"))


def _load(file: Path) -> Example:
    case = json.loads(file.read_text(encoding="utf-8"))
    reference = case.get("reference")
    return Example(
        file.parent.name,
        case["pipeline"],
        case["title"],
        case["about"],
        {name: file.parent / image for name, image in case["files"].items()},
        file.parent / reference if reference else None,
        case["source"],
        case["licence"],
        bool(case["synthetic"]),
        case.get("settings", {}),
        _read_looks().get(file.parent.name, ""),
    )
