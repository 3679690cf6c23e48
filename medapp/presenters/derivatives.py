"""Derivatives: the files of one result as a zip that is laid out and named by the rules of BIDS derivatives."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medapp.card import Card
from medapp.presenters import derivative_names as names
from medapp.presenters.base import Presenter
from medapp.presenters.derivative_sidecars import describe_dataset, describe_output, list_labels, render_tsv
from medapp.presenters.report import SavedResult, write_zip
from medapp.result import NOT_A_DIAGNOSIS, Result

EXTRA = "extra"  # the folder of what BIDS has no place for
TRANSFORMS = {  # by file: from, to and desc; {moving} is the scan that is brought onto the fixed image
    "displacement.nii.gz": ("{moving}", "fixed", "displacement"),
    "inverse_displacement.nii.gz": ("fixed", "{moving}", "displacement"),
    "affine.tfm": ("{moving}", "fixed", "affine"),
}


@dataclass(frozen=True)
class UploadedScan:
    """What the outputs of an upload are named after: the label of the person, and the kind of its main image."""

    label: str
    datatype: str
    suffix: str
    fixed: str = ""

    @property
    def entities(self) -> Mapping[str, str]:
        """The person alone."""
        return {"sub": self.label}


def name_scan(label: str, card: Card) -> UploadedScan:
    """How an upload is called: `label` is cleaned, and "01" stands for an empty one."""
    pair = next((source for source in card.inputs if source.name == "moving"), None)
    datatype, suffix = names.describe_input(pair or card.inputs[0])
    return UploadedScan(names.clean_label(label, "sub") or "01", datatype, suffix, "fixed" if pair else "")


def pack_derivatives(saved: SavedResult, presenter: Presenter, card: Card, label: str, path: Path) -> Path:
    """Write the zip `path` of a saved result as a dataset of derivatives with one person, `label`.

    What BIDS has no place for lies in the folder `extra`, which validators are told to ignore.
    """
    scan, result = name_scan(label, card), saved.written.result
    origin = result.provenance
    assert origin is not None  # `runtime.run` has given it
    left = {file.name.removeprefix(f"{card.name}_"): file for file in saved.files}
    outputs = _list_outputs(result, presenter, card, scan, left)
    entries: list[tuple[str, Path | str]] = [
        *((f"sub-{scan.label}/{scan.datatype}/{name}", content) for name, content in outputs),
        *((f"{EXTRA}/{name}", file) for name, file in left.items()),
        (
            "dataset_description.json",
            _render_json(describe_dataset(card, "one scan", origin.versions, origin.weights)),
        ),
        (".bidsignore", "\n".join((*names.IGNORED, EXTRA)) + "\n"),
        ("README.md", f"{card.title}\n\n{NOT_A_DIAGNOSIS}\n\nWhat BIDS has no place for lies in the folder {EXTRA}.\n"),
    ]
    return write_zip(path, [(f"medapp-{card.name}/{name}", content) for name, content in entries])


def _list_outputs(
    result: Result, presenter: Presenter, card: Card, scan: UploadedScan, left: dict[str, Path]
) -> Iterator[tuple[str, Path | str]]:
    """Yield names by BIDS with their contents, and take the files that they hold out of those that are `left`."""
    for role in presenter.files:
        volume, part = result.volumes.get(role), result.name_part(role)
        file = left.pop(f"{part}.nii.gz", None) or left.pop(f"{part}.png", None)
        if volume is None or file is None:
            continue
        name = names.name_output(scan, role, bool(volume.labels))
        yield f"{name}{'.png' if file.suffix == '.png' else '.nii.gz'}", file
        sidecar = describe_output(role, volume, card.name, result.settings)
        if "_space-" in name:
            sidecar["SpatialReference"] = f"The {'fixed ' * bool(scan.fixed)}image that was put in"
        yield f"{name}.json", _render_json(sidecar)
        if name.endswith("_dseg"):
            yield f"{name}.tsv", render_tsv(("index", "name"), list_labels(volume))
    for file_name, (start, end, desc) in TRANSFORMS.items():
        if file := left.pop(file_name, None):
            start, end = (space.format(moving=scan.suffix) for space in (start, end))
            yield f"{names.name_transform(scan, start, end, desc)}{file_name[file_name.index('.') :]}", file
    for name, table in result.tables.items():
        if left.pop(f"{result.name_part(name)}.csv", None):
            yield f"{names.name_table(scan, name)}.tsv", render_tsv(table.columns, table.rows)


def _render_json(value: dict[str, Any]) -> str:
    return json.dumps(value, indent=2, default=str)
