"""Swipe: the pictures of one slice before and after, of one size and in one window, and what else is drawn of it."""

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

BEFORE, AFTER, CLEAN = "Before", "Restored", "Reference"
PAIRS = {
    "Before | Restored": (BEFORE, AFTER),
    "Restored | Reference": (AFTER, CLEAN),
    "Before | Reference": (BEFORE, CLEAN),
}
FULL = "full range"
OVERVIEW = 512  # pixels


@dataclass(frozen=True)
class Part:
    """What is zoomed at: the middle as shares of the slice, 0 to 1 from its top left corner, and how many times."""

    across: float = 0.5
    down: float = 0.5
    zoom: float = 4.0


class Compared:
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
            arrays[CLEAN] = result.volumes["reference"].array
        self.stacks = {name: to_display_slices(array, self.grid, depth) for name, array in arrays.items()}
        self.larger = result.volumes["image"].shape != self.restored.shape
        self.marked = NO_PIXEL_SIZE_REMARK not in result.volumes["image"].remarks and not self.restored.is_colour

    @property
    def pairs(self) -> list[str]:
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
            return {**dict(presets), FULL: full}
        wide = auto.high - auto.low
        return {
            "automatic": auto,
            "low values": Window(auto.low, auto.low + wide / 2),
            "high values": Window(auto.low + wide / 2, max(full.high, auto.high)),
            FULL: full,
        }

    def window(self, name: str | None) -> Window | None:
        return self.windows.get(name or "", next(iter(self.windows.values()), None))

    def values(self, name: str, number: int) -> np.ndarray:
        """(H, W) or (H, W, 3) of a slice."""
        return self.stacks[name][min(max(int(number), 0), self.count - 1)]

    def labels(self, number: int) -> np.ndarray | None:
        """(H, W): the regions of a slice; None without any."""
        regions = self.result.volumes.get("regions")
        return None if regions is None else slices.get_slice(regions, min(max(int(number), 0), self.count - 1))

    def caption(self, name: str) -> str:
        return "Before, enlarged" if name == BEFORE and self.larger else name

    def pair(self, name: str, number: int, preset: str | None) -> tuple[np.ndarray, np.ndarray]:
        """Two pictures of one size, the name of each in its own upper corner."""
        frame, window = slices.make_frame(self.grid, number), self.window(preset)
        out = []
        for side, corner in zip(PAIRS.get(name, PAIRS["Before | Restored"]), ("lt", "rt"), strict=True):
            picture = slices.draw_slice(self.values(side, number), frame, window, marked=self.marked)
            out.append(annotations.add_caption(picture, self.caption(side), 20, corner))
        return out[0], out[1]

    def errors(self, number: int) -> dict[str, np.ndarray]:
        """Caption to a signed map (H, W): against the reference before and after, or what was changed."""
        said = {
            name: values.mean(axis=2) if values.ndim == 3 else values
            for name in self.stacks
            if (values := self.values(name, number).astype(np.float32)) is not None
        }
        if CLEAN in said:
            return {f"{n} minus reference": said[n] - said[CLEAN] for n in (BEFORE, AFTER)}
        return {"Restored minus before": said[AFTER] - said[BEFORE]}

    @cached_property
    def span(self) -> float:
        """The end of the scale of the signed maps, the same for every slice."""
        chosen = np.unique(np.linspace(0, self.count - 1, min(self.count, 9)).round().astype(int))
        return max(difference_maps.find_scale_end(e[::2, ::2]) for n in chosen for e in self.errors(n).values())

    def difference(self, number: int) -> np.ndarray:
        """The signed maps beside each other, with their scale."""
        maps = self.errors(number)
        frame = slices.make_frame(self.grid, number, 560 if len(maps) > 1 else slices.MIN_SIDE_PIXELS)
        drawn = [
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
            [*drawn, difference_maps.draw_signed_scale(self.span, self.unit, frame.height)]
        )

    def overview(self, number: int, preset: str | None, part: Part) -> np.ndarray:
        """The restored slice with the part marked that is zoomed at."""
        frame = slices.make_frame(self.grid, number, OVERVIEW)
        picture = slices.draw_slice(self.values(AFTER, number), frame, self.window(preset))
        return inset.draw_frame(picture, frame, self.part(part))

    def part(self, part: Part) -> tuple[slice, slice]:
        return inset.select_part(self.values(AFTER, 0).shape[:2], part.across, part.down, part.zoom)

    def insets(self, number: int, preset: str | None, part: Part) -> np.ndarray:
        """The part of every image in one window, of the regions and of the signed map, voxels as squares."""
        box, window = self.part(part), self.window(preset)
        out: dict[str, np.ndarray] = {
            self.caption(name): slices.to_rgb(self.values(name, number)[box], window) for name in self.stacks
        }
        labels = self.labels(number)
        if labels is not None:
            labels = labels[box]
            factor = -(-inset.PANEL_PIXELS // max(labels.shape))
            out[f"Regions here: {len(np.unique(labels))}"] = overlay.enlarge_with_borders(labels, out[AFTER], factor)
        for name, error in self.errors(number).items():
            out[f"{name}, ±{self.span:g} {self.unit}".rstrip()] = difference_maps.colour_signed(error[box], self.span)
        return inset.draw_panels(out, 3 if CLEAN in self.stacks else 2)
