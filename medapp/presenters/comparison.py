"""Comparison: a reference is looked at before anything is computed; one that does not fit never costs the result."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

from medapp.analysis.reference import (
    BY_VOXELS_HINT,
    align_by_voxels,
    binarize_soft_mask,
    describe_misfit,
    require_header,
)
from medapp.card import Card
from medapp.errors import InputError
from medapp.imaging.volume import Volume
from medapp.result import Result


@dataclass(frozen=True)
class Comparison:
    """What a result is to be compared with, or None; `note` says why there is no comparison, or what is odd of it."""

    reference: Volume | None = None
    note: str = ""

    @property
    def lost_header(self) -> bool:
        """Whether the reference may be meant, taken voxel by voxel."""
        return BY_VOXELS_HINT in self.note

    @property
    def wanted(self) -> bool:
        """Whether a reference was given, one that does not fit, too."""
        return self.reference is not None or bool(self.note)

    def made(self, task: ModuleType, result: Result, settings: Mapping[str, Any]) -> tuple[Result, "Comparison"]:
        """The result compared, and with what; the result alone, with a note, where the two cannot be compared.

        Raises InputError for settings that are at fault themselves.
        """
        if self.reference is not None:
            try:
                compared = task.moved(result, self.reference, settings)
            except InputError as error:
                return refused(task, error).made(task, result, settings)
            truth, mask = (compared.volumes.get(role) for role in ("reference", "mask"))
            note = describe_misfit(self.reference, truth, mask) if truth and mask else ""
            return (
                (replace(compared, notes=(note, *compared.notes)), replace(self, note=note))
                if note
                else (compared, self)
            )
        alone = task.moved(result, None, settings)
        return (replace(alone, notes=(self.note, *alone.notes)) if self.note else alone), self


def prepared(
    task: ModuleType,
    card: Card,
    volumes: Mapping[str, Volume | None],
    read: Callable[[], Volume | None],
    *,
    by_voxels: bool = False,
) -> Comparison:
    """The reference that `read` gives, if it can be read, is of the right kind, and lies where the images lie.

    `volumes` are those that go into the method, by input. Nothing is computed for it. With `by_voxels` the reference's
    voxels are taken for those of the image, whatever its header says.
    """
    try:
        reference = read()
        if reference is not None:
            if task.REFERENCE_LABELS:
                reference = binarize_soft_mask(reference)
            image = volumes.get("moving") or next(v for v in volumes.values() if v is not None)
            if by_voxels:
                reference = align_by_voxels(reference, image)
            else:
                require_header(reference, image)
            task.check(reference, volumes)
            if card.reference:
                card.reference(reference)
    except InputError as error:
        return refused(task, error)
    return Comparison(reference)


def refused(task: ModuleType, error: InputError) -> Comparison:
    return Comparison(note=f"{task.NOT_COMPARED} {error}")
