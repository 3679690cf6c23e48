"""Comparison: a reference is checked before anything is computed, and one that does not fit never costs the result."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
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
from medapp.presenters import get_presenter
from medapp.presenters.base import Presenter
from medapp.result import Result


@dataclass(frozen=True)
class Comparison:
    """What a result is to be compared with, or None; `note` says why there is none, or what is odd about it."""

    reference: Volume | None = None
    note: str = ""

    @property
    def lost_header(self) -> bool:
        """Whether the reference may be meant voxel by voxel."""
        return BY_VOXELS_HINT in self.note

    @property
    def wanted(self) -> bool:
        """Whether a reference was given, even one that does not fit."""
        return self.reference is not None or bool(self.note)

    def apply(self, presenter: Presenter, result: Result, settings: Mapping[str, Any]) -> tuple[Result, "Comparison"]:
        """The result compared, and with what; the result alone, with a note, where the two cannot be compared.

        Nothing is computed anew where there is no reference and the settings are the result's.
        Raises InputError for settings that are at fault themselves.
        """
        if self.reference is not None:
            try:
                compared = presenter.recompute(result, self.reference, settings)
            except InputError as error:
                return refuse_reference(presenter, error).apply(presenter, result, settings)
            truth, mask = (compared.volumes.get(role) for role in ("reference", "mask"))
            note = describe_misfit(self.reference, truth, mask) if truth and mask else ""
            if note:
                return replace(compared, notes=(note, *compared.notes)), replace(self, note=note)
            return compared, self
        if any(result.settings.get(name) != value for name, value in settings.items()):
            result = presenter.recompute(result, None, settings)
        return (replace(result, notes=(self.note, *result.notes)) if self.note else result), self


def prepare_comparison(
    card: Card,
    volumes: Mapping[str, Volume | None],
    read: Callable[[], Volume | None],
    *,
    by_voxels: bool = False,
) -> Comparison:
    """The reference that `read` gives, if it can be read, is of the right kind, and lies where the images lie.

    `volumes` are the inputs of the card's method, by name. Nothing is computed for it. With `by_voxels` the reference's
    voxels are taken for those of the image, whatever its header says.
    """
    presenter = get_presenter(card)
    try:
        reference = read()
        if reference is not None:
            if presenter.reference is None:
                raise InputError("This method's results are compared with nothing.")
            if presenter.has_label_reference:
                reference = binarize_soft_mask(reference)
            image = volumes.get("moving") or next(volume for volume in volumes.values() if volume is not None)
            if by_voxels:
                reference = align_by_voxels(reference, image)
            else:
                require_header(reference, image)
            presenter.check_reference(reference, volumes)
            if card.reference:
                card.reference(reference)
    except InputError as error:
        return refuse_reference(presenter, error)
    return Comparison(reference)


def refuse_reference(presenter: Presenter, error: InputError) -> Comparison:
    """No comparison, with the reason as its note."""
    begin = presenter.reference.refused if presenter.reference else "The reference was not used."
    return Comparison(note=f"{begin} {error}")
