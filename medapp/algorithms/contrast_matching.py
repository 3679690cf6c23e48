"""Contrast matching: two brains of different contrasts are made alike for registration.

Nearly every voxel of a brain is a mixture of grey matter with white matter, or of grey matter with fluid. How bright
the three are is measured in each brain by its regions, and a mixture is shown with the other brain's levels. So folds
that no label map has are matched, too.
"""

from typing import Any, NamedTuple

import numpy as np
from scipy import ndimage

from medapp.imaging.brain_labels import CLASS_NAMES
from medapp.imaging.volume import Volume

TISSUES = (
    (("Background",), 0.15),
    (("Cerebral-White-Matter", "Cerebellum-White-Matter"), 1.0),
    (("Cerebral-Cortex",), 0.65),
    (("Cerebellum-Cortex",), 0.65),
    (("Ventricle", "Choroid-Plexus"), 0.2),
    (("Thalamus", "Ventral-DC", "Pallidum"), 0.85),
    (("Brain-Stem",), 0.95),
    (("Caudate", "Putamen", "Accumbens", "Hippocampus", "Amygdala", "Vessel"), 0.7),
)
"""Endings of the names of the regions that each tissue has, and how bright it is in T1."""
TISSUE_OF_CLASS = np.array([[name.endswith(ends) for ends, _ in TISSUES].index(True) for name in CLASS_NAMES])
FLUID, WHITE, CORTEX, VENTRICLE = (0,), (1, 6), (2,), (4,)  # numbers of TISSUES; what is outside the regions is fluid
MIN_VOXELS = 200  # of a tissue, below which its level is not known
MIN_CONTRAST = 0.05  # between two tissues, 0 to 1, that noise does not drown
DARKER_THAN_WHITE = 0.15  # of the way from white matter to fluid, from where on it is no white matter any more
WHITEST = 1.2  # of the way from grey to white matter, beyond which is noise
BINS = 128  # of the histogram whose peak is a tissue's level
DARKEST = 1e-3  # of the brain, since 0 is outside


class Levels(NamedTuple):
    """How bright fluid, grey and white matter are in an image, 0 to 1."""

    fluid: float
    grey: float
    white: float

    @property
    def has_white_between(self) -> bool:
        """Whether white matter is between fluid and grey matter, as in FLAIR; not in T1 and T2."""
        return (self.white - self.fluid) * (self.grey - self.white) > 0


def render_tissues(regions: Volume) -> Volume:
    """Return an image of the brain's regions (classes) as T1 would show them, 0 to 1 and 0 outside, whatever the scan
    is.
    """
    levels = np.array([level for _, level in TISSUES], np.float32)[TISSUE_OF_CLASS]
    levels[0] = 0
    return regions.new_like(levels[regions.array], labels={}, headers=())


def imitate_contrast(image: Volume, regions: Volume, model: Volume, model_regions: Volume) -> Volume:
    """Return the brain `image` in the contrast of the brain `model`, the one unchanged where tissues are not found.

    Each image lies on the grid of its regions (classes); intensities are from 0 to 1, 0 outside, and stay so.
    """
    own, other = measure_levels(image, regions), measure_levels(model, model_regions)
    if own is None or other is None:
        return image
    values, tissue = np.asarray(image.array), TISSUE_OF_CLASS[regions.array]
    towards_white = np.minimum((values - own.grey) / _keep_apart(own.white - own.grey), WHITEST)
    towards_fluid = np.clip((values - own.grey) / _keep_apart(own.fluid - own.grey), 0, 1)
    is_white = np.isin(tissue, WHITE)
    if own.has_white_between:  # then a mixture of grey matter and fluid may look like white matter
        is_mixed_with_fluid = np.isin(tissue, (*FLUID, *VENTRICLE))
        beside_fluid = ndimage.minimum_filter(_order(values, own), 3) < _order((own.white + own.fluid) / 2, own)
        limit = own.white + DARKER_THAN_WHITE * (own.fluid - own.white)
        is_mixed_with_fluid |= (beside_fluid & ~is_white) | (_order(values, own) < _order(limit, own))
    else:
        is_edge = (ndimage.minimum_filter(values, 3) == 0) & ~is_white  # mixed with what is outside
        towards_fluid[is_edge & (towards_white > 0)] = 1
        is_mixed_with_fluid = towards_fluid > 0
    made = other.grey + np.where(
        is_mixed_with_fluid,
        towards_fluid * (other.fluid - other.grey),
        towards_white * (other.white - other.grey),
    )
    return image.new_like(np.where(values > 0, np.clip(made, DARKEST, 1), 0).astype(np.float32))


def measure_levels(image: Volume, regions: Volume) -> Levels | None:
    """Measure how bright the tissues of a brain are, on the grid of its regions; None where it has too little of them.

    Fluid is what differs most from white matter in the ventricles, whose borders are mixed with it.
    """
    values, tissue = np.asarray(image.array), TISSUE_OF_CLASS[regions.array]
    cortex, white, fluid = (values[np.isin(tissue, group) & (values > 0)] for group in (CORTEX, WHITE[:1], VENTRICLE))
    if min(map(len, (cortex, white, fluid))) < MIN_VOXELS:
        return None
    level = _find_peak(white)
    ends = np.percentile(fluid, (5, 95))
    return Levels(float(ends[np.abs(ends - level).argmax()]), _find_peak(cortex), level)


def _find_peak(values: np.ndarray) -> float:
    """The most frequent of values from 0 to 1."""
    counts, edges = np.histogram(values, BINS, (0, 1))
    peak = ndimage.gaussian_filter1d(counts.astype(float), 2).argmax()
    return float(edges[peak : peak + 2].mean())


def _keep_apart(difference: float) -> float:
    """The difference of two levels, at least MIN_CONTRAST."""
    return float(np.copysign(max(abs(difference), MIN_CONTRAST), difference))


def _order(values: Any, levels: Levels) -> Any:
    """Values that grow from fluid to white matter."""
    return values if levels.white > levels.fluid else -values
