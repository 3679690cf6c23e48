"""Segmentation: lesions, those of three planes or with places, or the brain's regions; the result tells which."""

from collections.abc import Callable, Mapping
from types import ModuleType

import numpy as np
from plotly.graph_objects import Figure

from medapp.analysis.reference import BY_VOXELS_HINT, describe_misplacement
from medapp.errors import InputError
from medapp.imaging.geometry import covered_fraction, is_inside
from medapp.imaging.volume import Volume
from medapp.io.raster import NO_PIXEL_SIZE_REMARK
from medapp.presenters import lesions, ms_lesions, parcellation, stroke
from medapp.rendering.layers import Layer
from medapp.result import Result, Table

TITLE = "Segmentation"
ABOUT = "Outline what is abnormal, or every region of the brain; measure it, and take the masks with you."
RUN = "Segment"
REFERENCE = "Compare with a mask of your own"
REFERENCE_ABOUT = "a mask, or for the regions of the brain a label map, to compare with"
REFERENCE_LABELS = True  # whether it is a mask or a label map
REFERENCE_NAME = "Reference"
NOT_COMPARED = "Not compared with the reference."
LEAST_SHARE, ENOUGH = 0.5, 100_000  # of what a reference marks, within the image; and voxels that are looked at
MOST_LABELS = 256  # different values; an image has more
MANY_LABELS, ALIKE = 20, 0.3  # of so many different values, neighbours in a label map are mostly alike, in an image not
FILES = (*lesions.FILES, *stroke.FILES, *ms_lesions.FILES, *parcellation.FILES)
FIGURES = lesions.FIGURES  # of the same captions in both


def kind(result: Result) -> ModuleType:
    """Which of the modules shows the result."""
    if "labels" in result.volumes:
        return parcellation
    if "zones" in result.volumes:
        return ms_lesions
    return stroke if "agreement" in result.volumes else lesions


def layers(result: Result) -> dict[str, Layer]:
    """Caption to layer, from the bottom up; the first is the image that the others lie on."""
    return kind(result).layers(result)


def table(result: Result) -> Table:
    """A row for each lesion or region; see `place`."""
    return result.tables[kind(result).TABLE]


def further(result: Result) -> list[Table]:
    """The other tables, but for those that have a picture of their own."""
    drawn = (kind(result).TABLE, *ms_lesions.ATTENTION)
    return [table for name, table in result.tables.items() if name not in drawn]


def attention(result: Result) -> dict[str, Table]:
    """Plane to the table of what its slices draw on; empty where the method does not tell."""
    return ms_lesions.attention(result)


def figures(result: Result) -> dict[str, Callable[[], Figure]]:
    """Caption to a function that draws the figure, so that only what is looked at is drawn."""
    return kind(result).figures(result)


def moved(result: Result, reference: Volume | None, settings: Mapping[str, float]) -> Result:
    """The result with other live options or another reference; the network is not asked again."""
    return kind(result).moved(result.noting(reference), reference, settings)


def check(reference: Volume, volumes: Mapping[str, Volume | None]) -> None:
    """Raises InputError for a reference that is no mask or label map, or lies elsewhere than the first of `volumes`."""
    values = np.unique(reference.array)
    if values[-1] > 1 and (
        len(values) > MOST_LABELS or (len(values) > MANY_LABELS and _alike(reference.array) < ALIKE)
    ):
        raise InputError(f"It holds {len(values)} different values: it is an image, not a mask.")
    image = next(v for v in volumes.values() if v is not None)
    if NO_PIXEL_SIZE_REMARK in reference.remarks and 1 not in image.shape:
        raise InputError("It is a picture of one slice, which does not say where it lies; the scan has many.")
    marked = np.flatnonzero(reference.array > 0)
    if len(marked):
        index = np.stack(np.unravel_index(marked[:: len(marked) // ENOUGH + 1], reference.shape), axis=-1)
        share = float(is_inside(image.grid.to_index(reference.grid.to_mm(index)), image.grid).mean())
    else:
        share = covered_fraction(image.grid, reference.grid)
    if share < LEAST_SHARE:
        offer = f" {BY_VOXELS_HINT}" if reference.shape == image.shape else ""
        raise InputError(
            f"{describe_misplacement(reference, image)} {share:.0%} of what it marks is within the image.{offer}"
        )


def _alike(array: np.ndarray) -> float:
    """How many of the marked voxels of (I, J, K) have the value of the next one along the first axis, 0 to 1."""
    marked = array[:-1] > 0
    return float((array[:-1] == array[1:])[marked].mean()) if marked.any() else 1.0


def start(result: Result) -> np.ndarray:
    """(3,) RAS+ millimetres where the crosshair stands first."""
    return kind(result).start(result)


def headline(result: Result) -> str:
    """One sentence for the top of the page."""
    return kind(result).headline(result)


def place(result: Result, row: list) -> np.ndarray:
    """(3,) RAS+ millimetres of what a row of the table is about."""
    return kind(result).place(result, row)
