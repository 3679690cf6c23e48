"""Checks of an upload that several pipelines make before they work on it."""

import numpy as np

from medapp.errors import InputError
from medapp.imaging.geometry import slice_axis
from medapp.imaging.modality import detect_modality
from medapp.imaging.volume import Volume

MIN_SPACING = 0.02  # mm; the finest scans of a whole brain have voxels five times as wide
MIN_SLICES = 8  # of a whole head


def require_grey(volume: Volume) -> None:
    """Raise InputError for a colour image."""
    if volume.is_colour:
        raise InputError(f"The {_noun(volume)} is in colour; upload a grey-scale scan.")


def require_mr(volume: Volume) -> None:
    """Raise InputError for CT or PET, by header, unit or values, and for voxels finer than any scanner's."""
    if min(volume.grid.spacing) < MIN_SPACING:
        raise InputError(
            f"The voxels of the {_noun(volume)} are {min(volume.grid.spacing):.1g} mm wide: check the unit of length "
            "in its header."
        )
    refuse_modality(volume, {"CT", "PET"}, "MRI")


def require_scan(volume: Volume) -> None:
    """Raise InputError for anything but MRI: colour, CT, PET, an empty image."""
    require_grey(volume)
    require_mr(volume)
    require_contrast(volume)


def require_head(volume: Volume) -> None:
    """Raise InputError for anything but MRI of a whole head: colour, CT, PET, an empty image, a few slices."""
    require_scan(volume)
    if min(volume.shape) < MIN_SLICES:
        raise InputError(
            f"The {_noun(volume)} has {min(volume.shape)} slice(s); a whole head has at least {MIN_SLICES}."
        )


def require_overlap(volume: Volume, fixed: Volume, share: float = 0.5) -> None:
    """Raise InputError unless at least `share` of the box of `fixed` lies in the box of `volume`."""
    axes = [np.linspace(0, n - 1, 9) for n in fixed.shape]
    points = fixed.grid.to_mm(np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1))
    index = volume.grid.to_index(points)
    inside = ((index > -0.6) & (index < np.array(volume.shape) - 0.4)).all(axis=-1).mean()
    if inside < share:
        raise InputError(
            f"The {_noun(volume)} covers only {inside:.0%} of the {_noun(fixed)}: "
            "check that both show the same part of the same patient."
        )


def refuse_modality(volume: Volume, kinds: set[str], wanted: str) -> None:
    """Raise InputError for an image of one of the modalities `kinds`, which is not the one `wanted`."""
    kind = detect_modality(volume)
    if kind not in kinds:
        return
    if volume.unit or kind != "CT" or volume.headers:
        unit = f" ({volume.unit})" if volume.unit else ""
        raise InputError(f"The {_noun(volume)} is {kind}{unit}; this method needs {wanted}.")
    raise InputError(
        f"The {_noun(volume)} looks like CT: its values are distributed as Hounsfield units, with air near -1000. "
        f"This method needs {wanted}."
    )


def require_contrast(volume: Volume) -> None:
    """Raise InputError for an image that is constant."""
    if volume.array.min() == volume.array.max():
        raise InputError("The image is empty: every voxel has the same value.")


def require_pixels(volume: Volume, least: int = 8) -> None:
    """Raise InputError for slices with fewer than `least` pixels on a side."""
    sides = [n for axis, n in enumerate(volume.shape) if axis != slice_axis(volume.grid)]
    if min(sides) < least:
        raise InputError(f"The slices have {sides[0]} × {sides[1]} pixels; at least {least} on a side are needed.")


def _noun(volume: Volume) -> str:
    """Return the volume's name with the word image at its end, once."""
    return volume.name if volume.name.lower().endswith("image") else f"{volume.name} image"
