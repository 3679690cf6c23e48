"""Case and Study: one run of a method on a person's images, and what all runs of a study share."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medapp.presenters.derivative_names import join_entities


@dataclass(frozen=True)
class Case:
    """One run of a method.

    `entities` are the BIDS entities of the scan that it is named after, such as {"sub": "01", "ses": "1"}; `datatype`
    and `suffix` are that scan's, such as "anat" and "FLAIR". `images` maps inputs of the method to files, that scan
    first. `fixed` names the space of the fixed image of a registration, TEMPLATE_NAME for the template, "" without one.
    `missing` says what the person lacks, "" for nothing: such a case cannot run.
    """

    entities: Mapping[str, str]
    datatype: str = "anat"
    suffix: str = ""
    images: Mapping[str, Path] = field(default_factory=dict)
    fixed: str = ""
    missing: str = ""

    @property
    def name(self) -> str:
        """What its files begin with, such as "sub-01_ses-1_run-2"."""
        return join_entities(self.entities)

    @property
    def folder(self) -> Path:
        """Where its files lie in the dataset, such as sub-01/ses-1."""
        return Path(*(f"{key}-{self.entities[key]}" for key in ("sub", "ses") if key in self.entities))


@dataclass(frozen=True)
class Study:
    """What all cases share: the method and its parsed settings, where images come from and where results go.

    `source` is the folder of the study, `dataset` that of its derivatives; `weights` maps files to their sha256.
    """

    method: str
    settings: Mapping[str, Any]
    source: Path
    dataset: Path
    device: str | None = None
    weights: Mapping[str, str] = field(default_factory=dict)
