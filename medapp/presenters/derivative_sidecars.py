"""Derivative sidecars: what BIDS wants to be said beside the outputs of a method, in JSON and TSV."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from medapp.card import Card
from medapp.imaging.volume import Volume
from medapp.presenters.catalogue import OUTPUTS
from medapp.presenters.derivative_names import DERIVATIVES, Derivative

BIDS_VERSION = "1.10.0"


def describe_dataset(card: Card, name: str, versions: Mapping[str, str], weights: Mapping[str, str]) -> dict[str, Any]:
    """The content of dataset_description.json, without the sources; `weights` maps files to their sha256."""
    return {
        "Name": f"{card.title}: {name}",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        "License": card.licence,
        "GeneratedBy": [
            {
                "Name": "medapp",
                "Version": versions.get("medapp", ""),
                "Description": f"{card.title} ({card.name})",
                "Versions": dict(versions),
                "Weights": dict(weights),
            }
        ],
    }


def describe_output(role: str, volume: Volume, method: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The sidecar of a volume, without its sources."""
    derivative = DERIVATIVES.get(role, Derivative())
    text = next((output.description for output in OUTPUTS if output.role == role), role)
    sidecar: dict[str, Any] = {} if derivative.suffix else {"SkullStripped": role == "stripped"}
    sidecar |= {"Description": text[0].upper() + text[1:], "Method": method, "Settings": dict(settings)}
    if derivative.type:
        sidecar["Type"] = derivative.type
    if volume.unit:
        sidecar["Units"] = volume.unit
    return sidecar


def list_labels(volume: Volume) -> list[tuple[int, str]]:
    """The rows of a label map's table: the labels that occur in it, with their names."""
    return [(n, volume.labels.get(n, f"label {n}")) for n in np.unique(volume.array).tolist() if n]


def render_tsv(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table as BIDS has them: tabs, and n/a for None."""
    return "".join("\t".join(map(_format_cell, line)) + "\n" for line in (columns, *rows))


def _format_cell(value: object) -> str:
    if value is None or value == "":
        return "n/a"
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return " ".join(text.split())
