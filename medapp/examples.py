"""Examples: small cases that ship with the app, each with its source and licence."""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from medapp.imaging import files
from medapp.imaging.volume import Volume

FOLDER = Path(__file__).resolve().parent.parent / "examples"


@dataclass(frozen=True, eq=False)
class Example:
    """One case: `images` maps an input's name to its file; `reference` is a mask to compare with, or None."""

    name: str
    pipeline: str
    title: str
    about: str
    images: dict[str, Path]
    reference: Path | None
    source: str
    licence: str
    synthetic: bool

    def volumes(self, titles: dict[str, str]) -> list[Volume | None]:
        """The images in the order of `titles` (input's name to the name the volume gets), None where there is none."""
        return [files.read([self.images[n]], name=t) if n in self.images else None for n, t in titles.items()]

    def truth(self) -> Volume | None:
        return files.read([self.reference], name="reference") if self.reference else None


@cache
def of_task(task: str) -> tuple[Example, ...]:
    """Every example of a tab, by folder name; none if the folder is not there."""
    return tuple(_load(f) for f in sorted((FOLDER / task).glob("*/case.json")))


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
    )
