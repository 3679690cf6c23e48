"""Derivative names: what each output of a method is called by the rules of BIDS derivatives."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from medapp.card import Input
from medapp.imaging.scan_kinds import CT, FLAIR, PD, PET, T1, T1_CONTRAST, T2

TEMPLATE_NAME = "MNI152NLin2009aSym"  # BIDS's name of the template of `algorithms.mni_template`
KINDS = {"T1w": T1, "T2w": T2, "FLAIR": FLAIR, "PDw": PD, "ct": CT, "pet": PET}  # by BIDS suffix
SUFFIXES = {kind: suffix for suffix, kind in KINDS.items()} | {T1_CONTRAST: "T1w"}
ENTITY_ORDER = (
    "sub", "ses", "sample", "task", "acq", "ce", "trc", "stain", "rec", "dir", "run", "echo", "flip", "inv", "part",
    "chunk", "from", "to", "mode", "space", "seg", "res", "den", "label", "desc",
)  # fmt: skip
LEFT_OUT = ("variance", "entropy")  # which follow from the probabilities of the planes
IGNORED = (  # by validators: what BIDS has no rules for, or none yet; a folder without its slash
    "cases",
    "group",
    "logs",
    "figures",
    "ct",
    "micr",
    "*_xfm.*",
    "*_stats.tsv",
    "*_seg-regions_dseg.*",
)


class NamedScan(Protocol):
    """The scan that outputs are named after: its entities, its suffix, and the space of a fixed image, "" for none."""

    @property
    def entities(self) -> Mapping[str, str]:
        """Values by key, such as {"sub": "01", "ses": "1"}."""

    @property
    def suffix(self) -> str:
        """Such as "FLAIR"."""

    @property
    def fixed(self) -> str:
        """The space that a registration leads to."""


@dataclass(frozen=True)
class Derivative:
    """An output's place in BIDS: its suffix, "" for that of the scan, further entities, and the type of a mask."""

    suffix: str = ""
    entities: Mapping[str, str] = field(default_factory=dict)
    type: str = ""


LESION = {"label": "lesion"}
DERIVATIVES = {
    "mask": Derivative("mask", LESION, "Lesion"),
    "rater_agreement": Derivative("dseg", {"seg": "raters"}),
    "consensus": Derivative("mask", {**LESION, "desc": "consensus"}, "Lesion"),
    "probability": Derivative("probseg", LESION),
    **{
        f"probability_{desc}": Derivative("probseg", {**LESION, "desc": desc})
        for desc in ("axial", "coronal", "sagittal", "baseline")
    },
    "brain": Derivative("mask", {"label": "brain"}, "Brain"),
    **{seg: Derivative("dseg", {"seg": seg}) for seg in ("agreement", "places", "zones", "change", "regions")},
    "labels": Derivative("dseg", {"seg": "anatomy"}),
    "warped_labels": Derivative("dseg", {"seg": "anatomy"}),
    "stripped": Derivative("", {"desc": "brain"}),
    "restored": Derivative("", {"desc": "restored"}),
    "warped": Derivative("", {"desc": "warped"}),
    "co_warped": Derivative("", {"desc": "cowarped"}),
}
SAME_KIND = ("stripped", "restored")  # images on the scan's own grid, without a space: they replace the scan


def name_output(scan: NamedScan, role: str, is_label_map: bool = False) -> str:
    """The name of a volume's file without its ending, such as "sub-01_space-orig_label-lesion_mask".

    A role that is not listed is named after itself, as a segmentation or as an image of the scan's kind.
    """
    desc = role.replace("_", "")
    unknown = Derivative("dseg", {"seg": desc}) if is_label_map else Derivative("", {"desc": desc})
    derivative = DERIVATIVES.get(role, unknown)
    space = {} if role in SAME_KIND else {"space": scan.fixed or "orig"}
    return f"{join_entities({**scan.entities, **space, **derivative.entities})}_{derivative.suffix or scan.suffix}"


def name_template_mask(scan: NamedScan) -> str:
    """The name of the lesion mask in the space of the template, without its ending."""
    return f"{join_entities({**scan.entities, 'space': TEMPLATE_NAME, **LESION})}_mask"


def name_transform(scan: NamedScan, start: str, end: str, desc: str = "") -> str:
    """The name of a transform that brings images from one space to another, without its ending."""
    ends = {"from": start, "to": end, "mode": "image", **({"desc": desc} if desc else {})}
    return f"{join_entities({**scan.entities, **ends})}_xfm"


def name_table(scan: NamedScan, table: str) -> str:
    """The name of a table, without its ending."""
    return f"{join_entities({**scan.entities, 'desc': table.replace('_', '')})}_stats"


def join_entities(entities: Mapping[str, str]) -> str:
    """Return entities as in a file name, in the order of BIDS."""
    known = [key for key in ENTITY_ORDER if key in entities]
    return "_".join(f"{key}-{entities[key]}" for key in (*known, *(k for k in entities if k not in ENTITY_ORDER)))


def clean_label(text: str, key: str = "") -> str:
    """Return a BIDS label: letters and digits alone, without "sub-" or "ses-" (`key`) before them."""
    return re.sub(r"[^0-9A-Za-z]", "", text.strip().removeprefix(f"{key}-"))


def describe_input(source: Input) -> tuple[str, str]:
    """The BIDS folder and suffix of what an input takes; those of microscopy where it takes colour."""
    if not source.kinds:
        return ("micr", "BF") if source.colour else ("anat", "T1w")
    kind = source.kinds[0]
    return {CT: "ct", PET: "pet"}.get(kind, "anat"), SUFFIXES[kind]
