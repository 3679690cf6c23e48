"""Input fit: what an image is taken for, and whether it fits the input of a method, before anything is computed.

A run says the same: it refuses what is refused here, and its result holds the same warnings.
"""

import logging
from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum
from functools import cache, partial
from typing import NamedTuple
from weakref import WeakKeyDictionary

from medapp.algorithms.scan_plausibility import Doubts, doubt_kind
from medapp.algorithms.scan_recognition import KINDS, MEASURES, NO_HEAD, Recognition, recognize_scan
from medapp.card import Card, Input, Network, Weights
from medapp.errors import InputError, WeightsError
from medapp.imaging.geometry import is_flat
from medapp.imaging.label_maps import count_values, is_label_map
from medapp.imaging.modality import detect_modality
from medapp.imaging.scan_kinds import CT, PET, SEQUENCES, T1, T1_CONTRAST
from medapp.imaging.volume import Volume
from medapp.io.raster import NO_PIXEL_SIZE_REMARK
from medapp.networks.scan_classifier import ScanClassifier
from medapp.result import Result
from medapp.serving.network_loading import build_network
from medapp.serving.weight_files import locate_weights

log = logging.getLogger(__name__)
_recognized: WeakKeyDictionary[Volume, Recognition] = WeakKeyDictionary()

RECOGNITION = Network(
    Weights(
        "scan_classifier.safetensors",
        "medapp/scan_classifier",
        "v0.1.0",
        "7783710717415b47965c34d41bf11c060e66b281979c0683f5def2c8579c241e",
    ),
    partial(ScanClassifier, MEASURES, len(KINDS)),
)


class Level(StrEnum):
    """How well an image fits: it does, that is not known, it probably does not, or a run refuses it."""

    FITS = "fits"
    UNSURE = "unsure"
    DOUBT = "doubt"
    REFUSED = "refused"


class Fit(NamedTuple):
    """How an image fits, in a sentence; `question` is the doubt for the headline of a result, or ""."""

    level: Level
    sentence: str
    question: str = ""


def judge_input(source: Input, volume: Volume) -> Fit:
    """Tell what an image is taken for and whether it fits an input of a method."""
    try:
        if source.check is not None:
            source.check(volume)
    except InputError as error:
        return Fit(Level.REFUSED, str(error))
    if source.labels:
        return _judge_labels(volume)
    if source.doubt is not None and (warning := source.doubt(volume)):
        return Fit(Level.DOUBT, warning, f"Not a {source.kinds[0]}?" if source.kinds else "")
    if source.kinds and (doubts := _doubt_image(source, volume)):
        return Fit(Level.DOUBT, doubts.warnings[0], doubts.question)
    return _judge_kind(source, volume)


def add_doubts(card: Card, volumes: Sequence[Volume | None], result: Result) -> Result:
    """Return the result with a warning for every image that probably does not fit, none twice; first in the list."""
    fits = [judge_input(source, v) for source, v in zip(card.inputs, volumes, strict=True) if v is not None]
    doubts = [fit for fit in fits if fit.level == Level.DOUBT]
    if not doubts:
        return result
    warnings = dict.fromkeys((*(fit.sentence for fit in doubts), *result.warnings))
    question = result.doubt or next((fit.question for fit in doubts if fit.question), "")
    return replace(result, warnings=tuple(warnings), doubt=question)


@cache
def load_classifier() -> ScanClassifier | None:
    """Return the network that recognises scans, None where its weights are not found, or not made yet."""
    if not RECOGNITION.weights.sha256.strip("0"):
        return None
    try:
        located = locate_weights(RECOGNITION.weights)
    except WeightsError as error:
        log.warning("scans are not recognised: %s", error)
        return None
    return build_network(RECOGNITION.build, located, "scan_classifier").eval()


def _recognize(volume: Volume) -> Recognition:
    """Recognise a scan, once for all that is said of it: at the upload, before the run and in the result."""
    if volume not in _recognized:
        net = load_classifier()
        _recognized[volume] = Recognition() if net is None else recognize_scan(net, volume)
    return _recognized[volume]


def _judge_labels(volume: Volume) -> Fit:
    if volume.is_colour or is_label_map(volume.array):
        return Fit(Level.FITS, f"Mask or label map, {_describe_size(volume)}: fits.")
    values = count_values(volume.array)
    return Fit(Level.DOUBT, f"{volume.name}: it holds {values} different values: it is an image, not a label map.")


def _doubt_image(source: Input, volume: Volume) -> Doubts | None:
    """Return what is to be said of an image that probably is not of the kinds of its input; None where it may be."""
    wanted = "MRI" if set(source.kinds) == set(SEQUENCES) else source.kinds[0]
    if is_label_map(volume.array):
        values = count_values(volume.array)
        words = f"{volume.name}: it holds only {values} different values: it is a mask or a label map, not an image."
        return Doubts("Not an image?", (words,))
    modality, needs_head = detect_modality(volume), bool(set(source.kinds) & set(SEQUENCES))
    if modality in source.kinds:
        return None
    seen = _recognize(volume).kinds
    if modality == "MR":  # the header knows better
        seen = tuple(kind for kind in seen if kind not in (CT, PET))
    if not seen or set(seen) & set(source.kinds) or (NO_HEAD in seen and not needs_head):
        return None
    if NO_HEAD in seen:
        words = (
            f"{volume.name}: this does not look like MRI of a head, which this method needs. Upload the {wanted} scan."
        )
        return Doubts(f"Not a {wanted} scan of a head?", (words,))
    doubts = doubt_kind(volume.name, seen[0], wanted)
    return doubts if needs_head else doubts._replace(question=f"Not a {wanted}?")


def _judge_kind(source: Input, volume: Volume) -> Fit:
    """Tell what an image without doubts is taken for."""
    size = _describe_size(volume)
    if volume.is_colour:
        return Fit(Level.FITS, f"Colour picture, {size}: fits.")
    modality = detect_modality(volume)
    if modality in (CT, PET):
        return Fit(Level.FITS, f"{modality}, {size}: fits.")
    if not source.kinds:
        return Fit(Level.FITS, f"Grey image, {size}: fits.")
    seen = _recognize(volume)
    told = volume.sequence
    if seen.kinds and set(seen.kinds) <= {*SEQUENCES, CT, PET}:
        return _judge_recognized(seen, told, size)
    if told and told in source.kinds:
        return Fit(Level.UNSURE, f"{told} by its name or header; the image itself does not tell. {size}.")
    if told:
        return Fit(Level.UNSURE, f"Its name or header says {told}; check that it is {source.kinds[0]}. {size}.")
    wanted = " or ".join(source.kinds[:2]) if len(source.kinds) < len(SEQUENCES) else "MRI of a head"
    return Fit(Level.UNSURE, f"Not sure what this is: check that it is {wanted}. {size}.")


def _judge_recognized(seen: Recognition, told: str, size: str) -> Fit:
    name = "T1, with or without contrast," if seen.kinds == (T1, T1_CONTRAST) else " or ".join(seen.kinds)
    if told and told not in seen.kinds:
        return Fit(Level.UNSURE, f"This looks like {name.rstrip(',')}, and its name or header says {told}. {size}.")
    return Fit(Level.FITS, f"{name} of a head, {size}: fits.")


def _describe_size(volume: Volume) -> str:
    """Return the size of the voxels, or of a picture in pixels, as text."""
    if is_flat(volume.grid) and (volume.is_colour or NO_PIXEL_SIZE_REMARK in volume.remarks):
        return " × ".join(str(n) for n in volume.shape if n > 1) + " pixels"
    return " × ".join(f"{size:.2g}" for size in volume.spacing) + " mm"
