"""Registration: which pictures of which roles, and what is carried along."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cached_property, partial
from threading import Lock
from weakref import WeakKeyDictionary

import numpy as np
from plotly.graph_objects import Figure

from medapp.analysis import field_discontinuity
from medapp.errors import InputError
from medapp.imaging.brain_labels import identify_numbering
from medapp.imaging.deformation import Deformation, folding_percent
from medapp.imaging.geometry import covered_fraction
from medapp.imaging.volume import Volume
from medapp.rendering import colour, deformation_maps, difference_maps, planes, registration_charts
from medapp.rendering.layers import Layer
from medapp.rendering.slice_grids import make_slice_grid
from medapp.result import Result

TITLE = "Registration"
ABOUT = "Lay one person's brain onto another's, and see how it had to be bent."
RUN = "Register"
REFERENCE = "Bring along another image of the moving person"
REFERENCE_ABOUT = "an image or a label map in the moving image's space, to be drawn on the fixed grid too"
REFERENCE_LABELS = False  # whether it is a mask or a label map
REFERENCE_NAME = "Image brought along"
NOT_COMPARED = "Nothing was brought along."
FILES = ("warped", "labels", "warped_labels", "co_warped")
TABLE = "regions"
FIGURES = ("Dice by region", "HD95 by region", "Change of volume")
ENDS = (5, 95)  # per cent of the voxels, between which two images are brought to one scale
LEAST = 0.5  # mm: where the scale of two fields' difference ends at least, so that nothing is not painted as much
KEPT = 3  # results whose pictures' volumes are kept: eight times a float32 image each
FEW = 64  # different values: whole numbers of no more are taken for labels


class Drawn:
    """What is drawn of a registration besides its own volumes; each is made once, when it is asked for."""

    def __init__(self, volumes: Mapping[str, Volume], field: Deformation) -> None:
        self.volumes, self.field = volumes, field
        self.fixed = volumes["fixed"]
        self.window = colour.find_window(self.fixed.array, self.fixed.unit)
        self._images: dict[str, Volume] = {}

    @property
    def aligned(self) -> Volume:
        return self.scaled("aligned")

    @property
    def warped(self) -> Volume:
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
        return Volume(self.field.magnitude, self.field.affine, name="Displacement", unit="mm")

    @cached_property
    def determinant(self) -> np.ndarray:
        return self.field.jacobian_determinant()

    @cached_property
    def log_jacobian(self) -> Volume:
        return Volume(
            deformation_maps.compute_log_jacobian(self.determinant), self.field.affine, name="Log Jacobian determinant"
        )

    @cached_property
    def inside(self) -> tuple[Volume, Volume]:
        """Length and log Jacobian in the head, 0 beside it, for a viewer that paints nothing there."""
        length, log = (
            v.new_like(np.where(self.head, v.array, np.float32(0))) for v in (self.length, self.log_jacobian)
        )
        return length, log

    @cached_property
    def jumps(self) -> Volume | None:
        """The jump of the field at each voxel beside another region; None without regions."""
        if "labels" not in self.volumes:
            return None
        jumps = field_discontinuity.compute_boundary_jumps(self.field, self.volumes["labels"].array)
        return Volume(jumps, self.field.affine, name="Jump", unit="mm")

    @cached_property
    def extent(self) -> np.ndarray:
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
            ends["between"] = max(LEAST, difference_maps.find_scale_end(self.volumes["between"].array[head]))
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
        (a, b), (c, d) = (np.percentile(array[both][::7], ENDS) for array in (self.fixed.array, warped))
        slope = (b - a) / (d - c) if d > c else 1.0
        return float(slope), float(a - slope * c)


_drawn: WeakKeyDictionary[Result, Drawn] = WeakKeyDictionary()  # the one that was asked for last at the end
_order = Lock()


def drawn(result: Result) -> Drawn:
    """The pictures' volumes of a result, which are kept of the last KEPT results. ValueError without a deformation."""
    if result.deformation is None:
        raise ValueError("a registration without a deformation")
    with _order:
        seen = _drawn.pop(result, None) or Drawn(result.volumes, result.deformation)
        _drawn[result] = seen
        for old in list(_drawn)[:-KEPT]:
            _drawn.pop(old, None)
    return seen


def layers(result: Result) -> dict[str, Layer]:
    """Caption to layer, from the bottom up; the first is the image that the others lie on, all in one window."""
    seen, volumes = drawn(result), result.volumes
    shown = {"Fixed": Layer(seen.fixed, window=seen.window)}
    shown["Moving, aligned"] = Layer(seen.aligned, window=seen.window, opacity=0.0)
    shown["Moving, warped"] = Layer(seen.warped, window=seen.window, opacity=0.0)
    if "co_warped" in volumes and not volumes["co_warped"].labels:
        shown["Brought along"] = Layer(volumes["co_warped"], opacity=0.0)
    length, log = seen.inside
    span, end = colour.Window(0.0, seen.ends["length"]), seen.ends["log"]
    shown["Displacement (mm)"] = Layer(
        length, "heat", window=span, opacity=0.0, colour_map=deformation_maps.MAGNITUDE_COLOUR_MAP
    )
    window = colour.Window(-end, end)
    shown["Log Jacobian"] = Layer(log, "heat", window=window, opacity=0.0, colour_map="RdBu_r")
    if "labels" in volumes:
        shown["Regions"] = Layer(volumes["labels"], "mask", opacity=0.0, contour=1)
    return shown


def warped_layers(result: Result) -> dict[str, Layer]:
    """The same for a second viewer beside the first: the warped image, and its labels where there are any."""
    seen = drawn(result)
    shown = {"Moving, warped": Layer(seen.warped, window=seen.window)}
    if "warped_labels" in result.volumes:
        shown["Warped regions"] = Layer(result.volumes["warped_labels"], "mask", opacity=0.0, contour=1)
    return shown


def figures(result: Result) -> dict[str, Callable[[], Figure]]:
    """Caption to a function that draws the figure, so that only what is looked at is drawn."""
    table = result.tables.get(TABLE)

    def change() -> Figure:
        seen = drawn(result)
        return registration_charts.plot_volume_change(
            seen.log_jacobian.array[seen.head], folding_percent(seen.determinant, seen.head)
        )

    return {
        "Dice by region": partial(registration_charts.plot_before_after, table, "Dice"),
        "HD95 by region": partial(registration_charts.plot_before_after, table, "HD95", "mm"),
        "Change of volume": change,
    }


def moved(result: Result, reference: Volume | None, settings: Mapping[str, object]) -> Result:
    """The result with another image of the moving person drawn on the fixed grid too, as "co_warped", or with none."""
    volumes = {role: volume for role, volume in result.volumes.items() if role != "co_warped"}
    if reference is not None and result.deformation is not None:
        carried = result.deformation.warp(_told(reference), result.affine)
        volumes["co_warped"] = replace(carried, name="co_warped", headers=())
    return replace(result.noting(reference), volumes=volumes)


def check(reference: Volume, volumes: Mapping[str, Volume | None]) -> None:
    """Raises InputError for an image that does not lie where the moving one does, or is in colour."""
    moving = volumes["moving"]
    assert moving is not None  # a registration has asked for it
    if reference.is_colour:
        raise InputError("It is in colour; a grey-scale scan or a label map is needed.")
    if max(covered_fraction(moving.grid, reference.grid), covered_fraction(reference.grid, moving.grid)) < 0.5:
        raise InputError("It lies elsewhere than the moving image.")


def start(result: Result) -> np.ndarray:
    """(3,) RAS+ millimetres where the crosshair stands first: in the middle of the regions, or of the image."""
    labels = result.volumes.get("labels")
    if labels is not None and labels.array.any():
        index = np.stack([np.flatnonzero(labels.array.any(axis=o))[[0, -1]].mean() for o in ((1, 2), (0, 2), (0, 1))])
        return labels.grid.to_mm(index)
    fixed = result.volumes["fixed"]
    return fixed.grid.to_mm((np.array(fixed.shape) - 1) / 2)


def headline(result: Result) -> str:
    """One sentence for the top of the page."""
    value = {name: metric.value for name, metric in result.metrics.items() if metric.value is not None}
    said: list[str] = []
    if {"tre", "tre_before"} <= set(value):
        said.append(f"Error at the landmarks {value['tre_before']:.1f} to {value['tre']:.1f} mm")
    for name, title, form in (("dice", "Dice", ".3f"), ("ncc", "Correlation", ".3f")):
        if not said and {name, f"{name}_before"} <= set(value):
            said.append(f"{title} {value[f'{name}_before']:{form}} to {value[name]:{form}}")
    if "displacement_mean" in value and "displacement_max" in value:
        said.append(f"bent by {value['displacement_mean']:.1f} mm on average, {value['displacement_max']:.1f} at most")
    if "folding" in value:
        said.append(f"{value['folding']:.3g} % of the brain folds" if value["folding"] else "nothing folds")
    return ", ".join(said) or "Registered"


def place(result: Result, row: list) -> np.ndarray:
    """(3,) RAS+ millimetres of the voxel of a region, named by the first cell of a row, nearest to its middle."""
    labels = result.volumes.get("labels")
    numbers = [] if labels is None else [n for n, name in labels.labels.items() if name == str(row[0])]
    if labels is None or not numbers or not (there := np.argwhere(labels.array == numbers[0])).size:
        return start(result)
    points = labels.grid.to_mm(there)
    return points[np.argmin(((points - points.mean(axis=0)) ** 2).sum(axis=1))]


def pictures(result: Result, radiological: bool = True) -> list[tuple[np.ndarray, str]]:
    """What a report shows, each with its caption: the images, how they differ, and the deformation in one plane."""
    seen, mm = drawn(result), start(result)
    kept = {"height": 420, "extent": seen.extent, "radiological": radiological, "crosshair": False}
    images = (("Fixed.", seen.fixed), ("Moving, aligned.", seen.aligned), ("Moving, warped.", seen.warped))
    out = [(planes.draw_three_planes([Layer(v, window=seen.window)], mm, **kept), said) for said, v in images]
    pixel = float(np.ptp(seen.extent[:, 1])) / 560
    onto = make_slice_grid(seen.fixed.grid, "axial", mm, pixel=pixel, extent=seen.extent, radiological=radiological)
    fixed, warped = (planes.paint_layers([Layer(v, window=seen.window)], onto) for v in (seen.fixed, seen.warped))
    end = seen.ends["log"]
    lines = deformation_maps.draw_grid(warped, onto, seen.field, "moving")
    map_ = deformation_maps.draw_jacobian(fixed, onto, seen.log_jacobian, end, seen.mask)
    return [
        *out,
        (lines, f"{deformation_maps.GRID_HELP['moving']}; over the warped image, every 8 mm."),
        (
            difference_maps.join_pictures([map_, difference_maps.draw_signed_scale(end, "", len(map_))]),
            "Log Jacobian determinant. Orange: larger in the moving image; blue: smaller; green: folds.",
        ),
    ]


def _told(volume: Volume) -> Volume:
    """A label map as one, so that it is carried voxel by voxel: whole numbers, few or of a known numbering."""
    if volume.labels or volume.is_colour or volume.array.dtype.kind not in "iub":
        return volume
    values = np.unique(volume.array)
    if len(values) > FEW:
        try:
            identify_numbering(volume.array)
        except ValueError:
            return volume
    return replace(volume, labels={int(v): f"label {v}" for v in values if v})
