"""Earlier result: what a run has left in a folder, so that a corrected mask is measured without the network."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import medapp
from medapp.card import Card
from medapp.errors import UserError
from medapp.imaging.volume import Volume, digest_volume
from medapp.io import files
from medapp.result import Provenance, Result

NOT_RUN_NOTE = "The network was not run again: its earlier result in the same folder was used."


def find_earlier_result(
    folder: Path,
    card: Card,
    given: Mapping[str, Volume | None],
    settings: Mapping[str, Any],
    roles: Sequence[str],
    measure: Callable[[Result], Result],
) -> Result | None:
    """Return the result that `folder` holds, if it is that of these inputs, by name, of these weights and settings.

    Its volumes are the image and those of `roles` that were written; live settings may differ, are the new ones, and
    `measure` applies them. None where anything is missing, damaged, or of other inputs.
    """
    try:
        facts = json.loads((folder / "result.json").read_text(encoding="utf-8"))
        result = Result.from_facts(facts)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    origin = result.provenance or Provenance("")
    fixed = {option.name: settings[option.name] for option in card.options if not option.live}
    made_of = {name: digest_volume(volume) for name, volume in given.items() if volume is not None}
    if (
        (origin.pipeline, origin.inputs, origin.weights.get("sha256")) != (card.name, made_of, card.weights.sha256)
        or origin.versions.get("medapp") != medapp.__version__
        or any(result.settings.get(name, value) != value for name, value in fixed.items())
    ):
        return None
    image = next(volume for volume in given.values() if volume is not None)
    volumes = {"image": image}
    for role in roles:
        path = folder / f"{role}.nii.gz"
        if path.is_file():
            try:
                volume = files.read([path], name=role)
            except UserError:
                return None
            if not volume.grid.is_same(image.grid):
                return None
            labels = {1: role} if role == "brain" else {}
            volumes[role] = image.new_like(volume.array, labels=labels, name=role, unit="", remarks=(), sequence="")
    whole = replace(result, volumes=volumes, settings=dict(settings), notes=(*result.notes, NOT_RUN_NOTE))
    try:
        return measure(whole)
    except KeyError:  # a volume is missing
        return None
