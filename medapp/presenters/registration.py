"""Registration: two images in one space, and the deformation between them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from plotly.graph_objects import Figure

from medapp.analysis.region_overlap import PREDICTED_SOURCE
from medapp.errors import InputError
from medapp.imaging.brain_labels import identify_numbering, region_colours, split_side
from medapp.imaging.deformation import folding_percent
from medapp.imaging.geometry import covered_fraction
from medapp.imaging.volume import Volume
from medapp.presenters.base import Picture, Presenter, Settings, find_centre
from medapp.presenters.catalogue import get_layer_title
from medapp.presenters.registration_maps import PROMPTS_MAP, get_maps
from medapp.presenters.task import REGISTRATION
from medapp.rendering import deformation_maps, difference_maps, planes, registration_charts
from medapp.rendering.layers import Layer
from medapp.rendering.slice_grids import make_slice_grid
from medapp.rendering.view import View, Warp, lay_out_columns
from medapp.result import Result

FIXED, MOVING = "Fixed", "Moving, aligned"
PROMPTS_A, PROMPTS_B = "Warped, prompts A", "Warped, prompts B"
MIN_OVERLAP = 0.5  # of the smaller of two boxes
MAX_LABELS = 64  # different values: integers of no more are taken for labels


class RegistrationPresenter(Presenter):
    """A registration; see `Presenter`."""

    title = "Registration"
    reference = REGISTRATION.reference
    files = ("warped", "labels", "warped_labels", "ignored", "co_warped")
    made = (
        "aligned",
        "aligned_labels",
        "fixed_prepared",
        "moving_prepared",
        "between",
        "warped_b",
        "moving_labels",
    )
    table_name = "regions"
    main_role = "warped"
    chart_titles = ("Dice", "Voxel HD95", "Volume change")
    image_role = "fixed"

    def inputs(self, result: Result) -> dict[str, Volume]:
        """Also the label maps, where the user's own were used."""
        labels = {role: result.volumes[role] for role in ("labels", "moving_labels") if role in result.volumes}
        return super().inputs(result) | {role: v for role, v in labels.items() if v.name != PREDICTED_SOURCE}

    def layers(self, result: Result) -> dict[str, Layer]:
        """The images, all in one window, the maps of the deformation, and the regions."""
        maps, volumes = get_maps(result), result.volumes
        layers = {FIXED: Layer(maps.fixed, window=maps.window)}
        layers[MOVING] = Layer(maps.aligned, window=maps.window, opacity=0.0)
        if "warped_b" in volumes:
            layers[PROMPTS_B] = Layer(maps.scaled("warped_b"), window=maps.window, opacity=0.0)
        co_warped = volumes.get("co_warped")
        if co_warped is not None and not co_warped.labels:
            layers[get_layer_title("co_warped")] = Layer(co_warped, opacity=0.0)
        for title, (volume, window) in maps.heat.items():
            tint = difference_maps.SIGNED_MAP if window.low < 0 else deformation_maps.MAGNITUDE_COLOUR_MAP
            layers[title] = Layer(volume, "heat", window=window, opacity=0.0, colour_map=tint)
        if "labels" in volumes:
            tints = region_colours(volumes["labels"].labels)
            regions = Layer(volumes["labels"], "mask", colours=tints, opacity=0.0, contour=1)
            layers[get_layer_title("labels")] = regions
        if "ignored" in volumes:
            layers[get_layer_title("ignored")] = Layer(volumes["ignored"], "mask", opacity=0.8, contour=1)
        if co_warped is not None and co_warped.labels:
            layers[get_layer_title("co_warped")] = Layer(co_warped, "mask", opacity=0.0, contour=1)
        return layers

    def document_layers(self, result: Result) -> dict[str, Layer]:
        """Also the warped image, over the fixed one; in another viewer nothing else shows it."""
        maps, (fixed, *rest) = get_maps(result), self.layers(result).items()
        return dict([fixed, (get_layer_title("warped"), Layer(maps.warped, window=maps.window, opacity=0.0)), *rest])

    def view(self, result: Result) -> View:
        """The moving image over the fixed one, which its deformation plays on, and the brain coloured by it.

        With two sets of prompts first of all what each of them gives, and the difference.
        """
        maps, layers = get_maps(result), self.layers(result)
        pictures = (FIXED, FIXED, None), ("Warped", MOVING, 1.0), ("Moving", MOVING, 0.0)
        view = View(
            layers,
            surfaces=[maps.surface] if maps.surface else [],
            warp=Warp(MOVING, maps.field, maps.head, maps.log_jacobian),
            compared=MOVING,
            comparison="swipe",
            arrangements={"Side by side": lay_out_columns(pictures)},
        )
        if PROMPTS_B not in layers:
            return view
        title, both = "Prompts A and B", ((PROMPTS_A, PROMPTS_A, None), (PROMPTS_B, PROMPTS_B, None))
        return replace(
            view,
            layers={PROMPTS_A: Layer(maps.warped, window=maps.window), **layers},
            compared=PROMPTS_B,
            map=PROMPTS_MAP,
            arrangements={title: lay_out_columns((*both, (f"{PROMPTS_MAP} (mm)", "map", None)))},
            arrangement=title,
        )

    def charts(self, result: Result) -> dict[str, Callable[[], Figure]]:
        """The overlap and the distance of each region, and how volumes change."""
        table = self.table(result)

        def draw_volume_change() -> Figure:
            maps = get_maps(result)
            return registration_charts.plot_volume_change(
                maps.log_jacobian.array[maps.head], folding_percent(maps.determinant, maps.head)
            )

        return {
            "Dice": partial(registration_charts.plot_before_after, table, "Dice"),
            "Voxel HD95": partial(registration_charts.plot_before_after, table, "voxel HD95", "mm"),
            "Volume change": draw_volume_change,
        }

    def recompute(self, result: Result, reference: Volume | None, settings: Settings) -> Result:
        """The result with another image of the moving person warped along, as "co_warped", or with none."""
        volumes = {role: volume for role, volume in result.volumes.items() if role != "co_warped"}
        if reference is not None and result.deformation is not None:
            warped = result.deformation.warp(_as_label_map(reference), result.affine)
            volumes["co_warped"] = replace(warped, name="co_warped", headers=())
        return replace(result.noting(reference), volumes=volumes)

    def check_reference(self, reference: Volume, volumes: Mapping[str, Volume | None]) -> None:
        """Raises InputError for an image that does not lie where the moving one does, or is in colour."""
        moving = volumes["moving"]
        assert moving is not None  # a registration has asked for it
        if reference.is_colour:
            raise InputError("It is in colour; a grey-scale scan or a label map is needed.")
        if (
            max(covered_fraction(moving.grid, reference.grid), covered_fraction(reference.grid, moving.grid))
            < MIN_OVERLAP
        ):
            raise InputError("It lies elsewhere than the moving image.")

    def start(self, result: Result) -> np.ndarray:
        """Where two sets of prompts differ most, else in the middle of the regions or the image, (3,) RAS+ mm."""
        between = result.volumes.get("between")
        if between is not None and between.array.any():
            return between.grid.to_mm(np.array(np.unravel_index(np.argmax(between.array), between.shape)))
        labels = result.volumes.get("labels")
        if labels is None or not labels.array.any():
            return super().start(result)
        others = ((1, 2), (0, 2), (0, 1))
        return labels.grid.to_mm(
            np.stack([np.flatnonzero(labels.array.any(axis=axes))[[0, -1]].mean() for axes in others])
        )

    def headline(self, result: Result) -> str:
        """What two sets of prompts move, how much better the images agree, and how regular the deformation is."""
        value = {name: metric.value for name, metric in result.metrics.items() if metric.value is not None}
        parts = [moved] if (moved := describe_largest_move(result)) else []
        if {"tre", "tre_before"} <= set(value):
            parts.append(f"Target registration error {value['tre_before']:.1f} to {value['tre']:.1f} mm")
        for name, title in (("dice", "Dice"), ("ncc", "Correlation")):
            if not parts and {name, f"{name}_before"} <= set(value):
                parts.append(f"{title} {value[f'{name}_before']:.3f} to {value[name]:.3f}")
        if not moved and "displacement_mean" in value and "displacement_max" in value:
            mean, maximum = value["displacement_mean"], value["displacement_max"]
            parts.append(f"displacement {mean:.1f} mm on average, {maximum:.1f} at most")
        if "folding" in value:
            parts.append(f"folding in {value['folding']:.3g} % of the brain" if value["folding"] else "no folding")
        return ", ".join(parts) or "Registered"

    def locate(self, result: Result, row: Sequence[Any]) -> np.ndarray:
        """The middle of the region that the first cell names, (3,) RAS+ mm."""
        labels = result.volumes.get("labels")
        names = {} if labels is None else {name: number for number, name in labels.labels.items()}
        number = names.get(str(row[0]))
        centre = None if labels is None or number is None else find_centre(labels, number)
        return self.start(result) if centre is None else centre

    def pictures(self, result: Result, radiological: bool = True) -> list[Picture]:
        """The images, and the deformation in one plane."""
        maps, mm = get_maps(result), self.start(result)
        look: dict[str, Any] = {"extent": maps.extent, "radiological": radiological}
        images = (("Fixed.", maps.fixed), ("Moving, aligned.", maps.aligned), ("Moving, warped.", maps.warped))
        pictures = [
            Picture(
                planes.draw_three_planes([Layer(volume, window=maps.window)], mm, height=420, crosshair=False, **look),
                caption,
            )
            for caption, volume in images
        ]
        pixel = float(np.ptp(maps.extent[:, 1])) / 560
        onto = make_slice_grid(maps.fixed.grid, "axial", mm, pixel=pixel, **look)
        fixed, warped = (planes.paint_layers([Layer(v, window=maps.window)], onto) for v in (maps.fixed, maps.warped))
        end = maps.ends["log"]
        lines = deformation_maps.draw_grid(warped, onto, maps.field)
        caption = f"{deformation_maps.GRID_HELP}; over the warped image, every 8 mm."
        jacobian = deformation_maps.draw_jacobian(fixed, onto, maps.log_jacobian, end, maps.mask)
        scaled = difference_maps.join_pictures([jacobian, difference_maps.draw_signed_scale(end, "", len(jacobian))])
        legend = "Log Jacobian determinant. Orange: larger in the moving image; blue: smaller; green: folding."
        return [*pictures, Picture(lines, caption), Picture(scaled, legend)]


def describe_largest_move(result: Result) -> str:
    """Tell which region two sets of prompts move furthest apart in the result, and how far; "" for one set."""
    if "prompts" not in result.tables:
        return ""
    name, *_, distance = max(result.tables["prompts"].rows, key=lambda row: float(row[-1]))
    side, structure = split_side(str(name))
    region = f"{side} {structure}".strip().replace("-", " ").lower()
    return f"{region[0].upper()}{region[1:]} moved {float(distance):.2f} mm between A and B"


def _as_label_map(volume: Volume) -> Volume:
    """A label map as one, so that it is warped voxel by voxel: integers, few or of a known numbering."""
    if volume.labels or volume.is_colour or volume.array.dtype.kind not in "iub":
        return volume
    values = np.unique(volume.array)
    if len(values) > MAX_LABELS:
        try:
            identify_numbering(volume.array)
        except ValueError:
            return volume
    return replace(volume, labels={int(value): f"label {value}" for value in values if value})
