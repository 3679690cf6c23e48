"""The volumes that pictures of a registration are drawn from: images on one scale, and maps of the deformation."""

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from threading import Lock
from weakref import WeakKeyDictionary

import numpy as np
from scipy import ndimage

from medapp.analysis import field_discontinuity
from medapp.analysis.mask_metrics import find_bounding_box
from medapp.imaging.deformation import Deformation
from medapp.imaging.volume import Volume
from medapp.rendering import colour, deformation_maps, difference_maps, planes
from medapp.rendering.colour import Window
from medapp.rendering.layers import Layer
from medapp.rendering.surfaces import make_surface, sample_values
from medapp.rendering.view import Surface
from medapp.result import Result

INTENSITY_PERCENTILES = (5, 95)  # between which two images are brought to one scale
PROMPTS_MAP = "Difference of prompts"
MIN_SPAN = 0.5  # mm: where the scale of two fields' difference ends at least, so that noise is not painted as much
MAX_KEPT = 3  # results whose maps are kept: eight times a float32 image each


class RegistrationMaps:
    """The volumes that are drawn of a registration besides its own; each is made once, when it is asked for."""

    def __init__(self, volumes: Mapping[str, Volume], field: Deformation) -> None:
        self.volumes, self.field = volumes, field
        self.fixed = volumes["fixed"]
        self.window = colour.find_window(self.fixed.array, self.fixed.unit)
        self._images: dict[str, Volume] = {}

    @property
    def aligned(self) -> Volume:
        """The moving image after the affine transform, on the fixed image's scale."""
        return self.scaled("aligned")

    @property
    def warped(self) -> Volume:
        """The warped moving image, on the fixed image's scale."""
        return self.scaled("warped")

    def scaled(self, role: str) -> Volume:
        """An image on the fixed image's scale, so that one window serves all; empty stays empty."""
        if role == "fixed":
            return self.fixed
        if role not in self._images:
            volume, (slope, intercept) = self.volumes[role], self._scale
            array = np.where(volume.array == 0, min(0, self.fixed.array.min()), slope * volume.array + intercept)
            self._images[role] = volume.new_like(array.astype(np.float32), unit=self.fixed.unit, headers=())
        return self._images[role]

    @cached_property
    def head(self) -> np.ndarray:
        """(I, J, K) bool: the labelled voxels, or those that are not dark."""
        if "labels" in self.volumes:
            return self.volumes["labels"].array > 0
        dark, bright = np.percentile(self.fixed.array[::2, ::2, ::2], (0.5, 99.5))
        return self.fixed.array > dark + 0.1 * (bright - dark)

    @cached_property
    def mask(self) -> Volume:
        """The head for the maps."""
        return Volume(self.head.astype(np.float32), self.fixed.affine, name="Head")

    @cached_property
    def length(self) -> Volume:
        """The length of the displacement in mm."""
        return Volume(self.field.magnitude, self.field.affine, name="Displacement", unit="mm")

    @cached_property
    def determinant(self) -> np.ndarray:
        """The Jacobian determinant, (I, J, K)."""
        return self.field.jacobian_determinant()

    @cached_property
    def log_jacobian(self) -> Volume:
        """The natural logarithm of the Jacobian determinant."""
        return Volume(
            deformation_maps.compute_log_jacobian(self.determinant), self.field.affine, name="Log Jacobian determinant"
        )

    @cached_property
    def heat(self) -> dict[str, tuple[Volume, Window]]:
        """Title to map and the window of its colours; maps are 0 beside the head, where nothing is to be painted."""
        ends = self.ends
        heat = {"Displacement": (self.length, Window(0.0, ends["length"]))}
        heat["Log Jacobian"] = self.log_jacobian, Window(-ends["log"], ends["log"])
        if self.jumps is not None:
            heat["Jump at borders"] = self.jumps, Window(0.0, ends["jump"])
        if "between" in self.volumes:
            between = replace(self.volumes["between"], unit="mm")
            heat[PROMPTS_MAP] = between, Window(0.0, ends["between"])
        return {
            title: (volume.new_like(np.where(self.head, volume.array, np.float32(0))), window)
            for title, (volume, window) in heat.items()
        }

    @cached_property
    def brain(self) -> Volume | None:
        """The labelled voxels with the holes in them; None without regions."""
        if "labels" not in self.volumes or not self.head.any():
            return None
        box = find_bounding_box(self.head)
        inside = np.zeros(self.head.shape, np.uint8)
        inside[box] = ndimage.binary_fill_holes(self.head[box])
        return Volume(inside, self.fixed.affine, labels={1: "brain"}, name="Brain")

    @cached_property
    def surface(self) -> Surface | None:
        """The brain, or the head where there are no regions, coloured by the displacement."""
        inside = self.brain or Volume(self.head.astype(np.uint8), self.fixed.affine)
        surface = make_surface(inside, "Displacement", smooth=1.0, unit="mm")
        if surface is None:
            return None
        values = sample_values(self.length, surface.vertices)
        return replace(surface, values=values, window=Window(0.0, self.ends["length"]))

    @cached_property
    def jumps(self) -> Volume | None:
        """The jump of the field at each voxel beside another region; None without regions."""
        if "labels" not in self.volumes:
            return None
        jumps = field_discontinuity.compute_boundary_jumps(self.field, self.volumes["labels"].array)
        return Volume(jumps, self.field.affine, name="Jump", unit="mm")

    @cached_property
    def extent(self) -> np.ndarray:
        """The box of the fixed image, as `planes.find_field_of_view` gives it."""
        return planes.find_field_of_view([Layer(self.fixed)])

    @cached_property
    def ends(self) -> dict[str, float]:
        """Where the scales of the maps end, the same for every plane."""
        head = self.head if self.head.any() else np.ones_like(self.head)
        ends = {
            "length": difference_maps.find_scale_end(self.length.array[head]),
            "log": max(0.1, difference_maps.find_scale_end(self.log_jacobian.array[head], 99)),
        }
        if "between" in self.volumes:
            ends["between"] = max(MIN_SPAN, difference_maps.find_scale_end(self.volumes["between"].array[head]))
        if self.jumps is not None:
            ends["jump"] = difference_maps.find_scale_end(self.jumps.array[self.jumps.array > 0], 98)
        return ends

    @cached_property
    def _scale(self) -> tuple[float, float]:
        """Slope and intercept that give the warped image the fixed one's values, by the ends of both in the head."""
        warped = self.volumes["warped"].array
        both = self.head & (colour.apply_window(warped, colour.find_window(warped)) > 0.1)
        if not both.any():
            return 1.0, 0.0
        (a, b), (c, d) = (
            np.percentile(array[both][::7], INTENSITY_PERCENTILES) for array in (self.fixed.array, warped)
        )
        slope = (b - a) / (d - c) if d > c else 1.0
        return float(slope), float(a - slope * c)


_maps: WeakKeyDictionary[Result, RegistrationMaps] = WeakKeyDictionary()  # the one that was asked for last at the end
_order = Lock()


def get_maps(result: Result) -> RegistrationMaps:
    """The maps of a result, which are kept of the last MAX_KEPT results. Raises ValueError without a deformation."""
    if result.deformation is None:
        raise ValueError("a registration without a deformation")
    with _order:
        maps = _maps.pop(result, None) or RegistrationMaps(result.volumes, result.deformation)
        _maps[result] = maps
        for old in list(_maps)[:-MAX_KEPT]:
            _maps.pop(old, None)
    return maps
