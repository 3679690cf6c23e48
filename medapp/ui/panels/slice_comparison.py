"""Slice comparison: the pictures of one slice before and after, of one size and in one window."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from medapp.analysis.image_quality import upsample_to_grid
from medapp.imaging.geometry import slice_axis, to_display_slices
from medapp.io.raster import NO_PIXEL_SIZE_REMARK
from medapp.presenters.restoration import get_window
from medapp.rendering import annotations, colour, difference_maps, inset, slices
from medapp.rendering import region_overlay as overlay
from medapp.rendering.colour import Window
from medapp.result import Result

BEFORE, AFTER, REFERENCE = "Before", "Restored", "Reference"
PAIRS = {
    "Before | Restored": (BEFORE, AFTER),
    "Restored | Reference": (AFTER, REFERENCE),
    "Before | Reference": (BEFORE, REFERENCE),
}
FULL_RANGE = "full range"
OVERVIEW_SIZE = 512  # pixels


@dataclass(frozen=True)
class ZoomArea:
    """A part of a slice: its middle as shares of the slice, 0 to 1 from the top left corner, and the magnification."""

    across: float = 0.5
    down: float = 0.5
    zoom: float = 4.0


class SliceComparison:
    """A result slice by slice, every image on the grid of the restored one."""

    def __init__(self, result: Result) -> None:
        self.result = result
        self.restored = result.volumes["restored"]
        self.grid = self.restored.grid
        self.count = slices.count_slices(self.grid)
        self.unit = "of 255" if self.restored.is_colour else self.restored.unit
        depth = slice_axis(self.grid)
        before = upsample_to_grid(result.volumes["image"], self.grid)
        arrays = {BEFORE: before, AFTER: self.restored.array}
        if "reference" in result.volumes:
            arrays[REFERENCE] = result.volumes["reference"].array
        self.stacks = {name: to_display_slices(array, self.grid, depth) for name, array in arrays.items()}
        self.is_upsampled = result.volumes["image"].shape != self.restored.shape
        self.has_marks = NO_PIXEL_SIZE_REMARK not in result.volumes["image"].remarks and not self.restored.is_colour

    @property
    def pairs(self) -> list[str]:
        """The pairs of images that the result has."""
        return [name for name, pair in PAIRS.items() if set(pair) <= set(self.stacks)]

    @cached_property
    def windows(self) -> dict[str, Window]:
        """Windows by name, the one to start with first; none for colour."""
        if self.restored.is_colour:
            return {}
        auto = get_window(self.result) or colour.find_window(self.restored.array)
        low, high = (float(f(self.restored.array)) for f in (np.min, np.max))
        full = Window(low, high if high > low else low + 1)
        if self.restored.unit == "HU":
            presets = sorted(colour.CT_WINDOWS.items(), key=lambda item: item[1] != auto)
            return {**dict(presets), FULL_RANGE: full}
        wide = auto.high - auto.low
        return {
            "automatic": auto,
            "low values": Window(auto.low, auto.low + wide / 2),
            "high values": Window(auto.low + wide / 2, max(full.high, auto.high)),
            FULL_RANGE: full,
        }

    def find_window(self, name: str | None) -> Window | None:
        """The window of that name, else the first; None for colour."""
        return self.windows.get(name or "", next(iter(self.windows.values()), None))

    def get_slice(self, name: str, number: int) -> np.ndarray:
        """(H, W) or (H, W, 3) of a slice."""
        return self.stacks[name][min(max(int(number), 0), self.count - 1)]

    def get_regions(self, number: int) -> np.ndarray | None:
        """(H, W): the regions of a slice; None without any."""
        regions = self.result.volumes.get("regions")
        return None if regions is None else slices.get_slice(regions, min(max(int(number), 0), self.count - 1))

    def make_caption(self, name: str) -> str:
        """What stands in the corner of an image's picture."""
        return "Before, upsampled" if name == BEFORE and self.is_upsampled else name

    def draw_pair(self, name: str, number: int, window_name: str | None) -> tuple[np.ndarray, np.ndarray]:
        """Two pictures of one size, the name of each in its own upper corner."""
        frame, window = slices.make_frame(self.grid, number), self.find_window(window_name)
        pictures = []
        for side, corner in zip(PAIRS.get(name, PAIRS["Before | Restored"]), ("lt", "rt"), strict=True):
            picture = slices.draw_slice(self.get_slice(side, number), frame, window, marked=self.has_marks)
            pictures.append(annotations.add_caption(picture, self.make_caption(side), 20, corner))
        return pictures[0], pictures[1]

    def compute_differences(self, number: int) -> dict[str, np.ndarray]:
        """Caption to a signed map (H, W): against the reference before and after, or what was changed."""
        images = {
            name: values.mean(axis=2) if values.ndim == 3 else values
            for name in self.stacks
            if (values := self.get_slice(name, number).astype(np.float32)) is not None
        }
        if REFERENCE in images:
            return {f"{n} minus reference": images[n] - images[REFERENCE] for n in (BEFORE, AFTER)}
        return {"Restored minus before": images[AFTER] - images[BEFORE]}

    @cached_property
    def span(self) -> float:
        """The end of the scale of the signed maps, the same for every slice."""
        chosen = np.unique(np.linspace(0, self.count - 1, min(self.count, 9)).round().astype(int))
        return max(
            difference_maps.find_scale_end(e[::2, ::2]) for n in chosen for e in self.compute_differences(n).values()
        )

    def draw_difference(self, number: int) -> np.ndarray:
        """The signed maps beside each other, with their scale."""
        maps = self.compute_differences(number)
        frame = slices.make_frame(self.grid, number, 560 if len(maps) > 1 else slices.MIN_SIDE_PIXELS)
        pictures = [
            annotations.add_caption(
                slices.resize_picture(
                    difference_maps.colour_signed(e, self.span), frame.height, frame.width, smooth=False
                ),
                name,
                18,
                "lt",
            )
            for name, e in maps.items()
        ]
        return difference_maps.join_pictures(
            [*pictures, difference_maps.draw_signed_scale(self.span, self.unit, frame.height)]
        )

    def draw_overview(self, number: int, window_name: str | None, area: ZoomArea) -> np.ndarray:
        """The restored slice with the area marked that is magnified."""
        frame = slices.make_frame(self.grid, number, OVERVIEW_SIZE)
        picture = slices.draw_slice(self.get_slice(AFTER, number), frame, self.find_window(window_name))
        return inset.draw_frame(picture, frame, self.find_area(area))

    def find_area(self, area: ZoomArea) -> tuple[slice, slice]:
        """The rows and columns of an area."""
        return inset.select_part(self.get_slice(AFTER, 0).shape[:2], area.across, area.down, area.zoom)

    def draw_insets(self, number: int, window_name: str | None, area: ZoomArea) -> np.ndarray:
        """The area of every image in one window, of the regions and of the signed map, voxels as squares."""
        box, window = self.find_area(area), self.find_window(window_name)
        pictures: dict[str, np.ndarray] = {
            self.make_caption(name): slices.to_rgb(self.get_slice(name, number)[box], window) for name in self.stacks
        }
        labels = self.get_regions(number)
        if labels is not None:
            labels = labels[box]
            factor = -(-inset.PANEL_PIXELS // max(labels.shape))
            pictures[f"Regions here: {len(np.unique(labels))}"] = overlay.enlarge_with_borders(
                labels, pictures[AFTER], factor
            )
        for name, error in self.compute_differences(number).items():
            pictures[f"{name}, ±{self.span:g} {self.unit}".rstrip()] = difference_maps.colour_signed(
                error[box], self.span
            )
        return inset.draw_panels(pictures, 3 if REFERENCE in self.stacks else 2)
