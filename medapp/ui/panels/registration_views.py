"""Sections: the pictures of a registration in one plane, by the name of the view, and what is read under a click."""

import base64
import io
from collections.abc import Sequence
from functools import cached_property

import numpy as np
from PIL import Image
from plotly.graph_objects import Figure

from medapp.analysis import field_discontinuity
from medapp.imaging.volume import Grid, Volume
from medapp.presenters.registration_maps import get_maps
from medapp.rendering import (
    annotations,
    deformation_maps,
    difference_maps,
    image_comparison,
    planes,
    registration_charts,
)
from medapp.rendering.deformation_maps import GridSource
from medapp.rendering.layers import Layer
from medapp.rendering.slice_grids import PLANE_NORMALS, Plane, make_slice_grid
from medapp.result import Result
from medapp.ui import html

PICTURE_SIZE = 640  # pixels of the longer side
FIXED, ALIGNED, WARPED, OTHER = "Fixed", "Moving, aligned", "Moving, warped", "Warped, prompts B"
PAIRS = {
    "Fixed | Warped": (FIXED, WARPED),
    "Fixed | Aligned": (FIXED, ALIGNED),
    "Aligned | Warped": (ALIGNED, WARPED),
    "Prompts A | B": (WARPED, OTHER),
}
SWIPE, FLICKER = "Swipe", "Flicker"
PAIRED = (SWIPE, "Checkerboard", FLICKER, "Blend")
GRID, LENGTH, LOG, JUMP, BETWEEN = "Deformed grid", "Displacement", "Log Jacobian", "Jumps", "A to B"
VIEWS = (*PAIRED, "Difference", GRID, LENGTH, LOG, JUMP, BETWEEN)
GRIDS: dict[str, GridSource] = {
    "Moving's grid, over the warped image": "moving",
    "Fixed's grid, over the moving image": "fixed",
}
VIEW_HELP = {
    SWIPE: "Drag the handle.",
    "Checkerboard": "Squares from the two images by turns: an edge that breaks at a square's side is misaligned.",
    FLICKER: "The two images by turns: misalignment shows as flicker. Rest the pointer on it to hold it.",
    "Blend": "The first image in orange over the second in blue: grey where they agree.",
    "Difference": "Moving minus fixed, before and after, in per cent of the window. Black is none. Orange: the moving "
    "image is brighter; blue: darker.",
    GRID: "",
    LENGTH: "Length of the displacement of each point of the fixed image, after the affine transform.",
    LOG: "Natural logarithm of the Jacobian determinant: 0 keeps the volume, 0.69 doubles it in the moving image "
    "(orange), −0.69 halves it (blue). Green: folding.",
    JUMP: field_discontinuity.BOUNDARY_JUMP_HELP,
    BETWEEN: "Distance between the displacements under prompts A and B.",
}
NO_REGIONS_MESSAGE = "Jumps need the regions of the fixed image, and there are none."


def list_views(result: Result) -> list[str]:
    """The views there are of a result: that of two sets of prompts only where there are two."""
    return [view for view in VIEWS if view != BETWEEN or "between" in result.volumes]


def list_pairs(result: Result) -> list[str]:
    """The pairs of images there are of a result."""
    return [name for name, both in PAIRS.items() if OTHER not in both or "warped_b" in result.volumes]


class RegistrationSlice:
    """The plane of a result through a point in RAS+ millimetres."""

    def __init__(self, result: Result, plane: Plane, mm: Sequence[float]) -> None:
        self.result, self.plane, self.mm = result, plane, np.asarray(mm, float)
        self.maps = get_maps(result)

    @cached_property
    def grid(self) -> Grid:
        """The grid of the picture, one voxel thick."""
        extent = self.maps.extent
        across = max(np.delete(np.ptp(extent, axis=0), PLANE_NORMALS[self.plane]))
        return make_slice_grid(
            self.maps.fixed.grid, self.plane, self.mm, pixel=float(across) / PICTURE_SIZE, extent=extent
        )

    @property
    def span(self) -> tuple[int, int]:
        """The positions across the plane, whole millimetres, at which there is something to see."""
        low, high = self.maps.extent[:, PLANE_NORMALS[self.plane]]
        return int(np.ceil(low)), max(int(np.floor(high)), int(np.ceil(low)) + 1)

    def draw_image(self, name: str, corner: str = "lt") -> np.ndarray:
        """uint8 (H, W, 3) of one of the three images with its name, directions and scale."""
        picture = annotations.add_directions(self.draw_plain(name), self.grid, 18)
        return annotations.add_caption(picture, name, 18, corner)

    def draw_plain(self, name: str) -> np.ndarray:
        """uint8 (H, W, 3) of one of the images, with nothing on it."""
        role = {FIXED: "fixed", ALIGNED: "aligned", WARPED: "warped", OTHER: "warped_b"}[name]
        volume = self.maps.scaled(role)
        return planes.paint_layers([Layer(volume, window=self.maps.window)], self.grid)

    def draw_pair(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Two pictures, the name of each in its own upper corner."""
        first, second = PAIRS[name]
        return self.draw_image(first, "lt"), self.draw_image(second, "rt")

    def draw_view(self, view: str, chosen: str, way: str, step: float) -> np.ndarray:
        """The view as one picture; `chosen` is the pair, `way` and `step` (mm) the grid."""
        if view in PAIRED:
            first, second = (self.draw_plain(name) for name in PAIRS[chosen])
            draw = (
                image_comparison.draw_checkerboard if view == "Checkerboard" else image_comparison.draw_colour_overlay
            )
            both = draw(first, second)
            return annotations.add_caption(
                annotations.add_directions(both, self.grid, 18), chosen.replace("|", "and"), 18, "lt"
            )
        if view == "Difference":
            return image_comparison.draw_differences(
                self.draw_plain(FIXED), {"Before": self.draw_plain(ALIGNED), "After": self.draw_plain(WARPED)}
            )
        return self._draw_map(view, way, step)

    def _draw_map(self, view: str, way: str, step: float) -> np.ndarray:
        maps, onto, ends = self.maps, self.grid, self.maps.ends
        if view == GRID:
            base = self.draw_plain(WARPED if GRIDS[way] == "moving" else ALIGNED)
            drawn = deformation_maps.draw_grid(base, onto, maps.field, GRIDS[way], step=step)
            return annotations.add_caption(annotations.add_directions(drawn, onto, 18), f"every {step:g} mm", 16, "lt")
        fixed = self.draw_plain(FIXED)
        if view == LENGTH:
            drawn = deformation_maps.draw_magnitude(fixed, onto, maps.length, ends["length"], maps.mask)
            scale = deformation_maps.draw_magnitude_scale(ends["length"], "mm", len(drawn))
        elif view == LOG:
            drawn = deformation_maps.draw_jacobian(fixed, onto, maps.log_jacobian, ends["log"], maps.mask)
            scale = difference_maps.draw_signed_scale(ends["log"], "log J", len(drawn))
        elif view == BETWEEN:
            between = self.result.volumes["between"]
            drawn = deformation_maps.draw_magnitude(fixed, onto, between, ends["between"], maps.mask)
            scale = deformation_maps.draw_magnitude_scale(ends["between"], "mm", len(drawn))
        elif maps.jumps is not None:
            drawn = deformation_maps.draw_jump(fixed, onto, maps.jumps, ends["jump"])
            scale = deformation_maps.draw_magnitude_scale(ends["jump"], "mm", len(drawn), low=0.2)
        else:
            return annotations.add_caption(fixed // 2, NO_REGIONS_MESSAGE, 16, "lt")
        return difference_maps.join_pictures(
            [annotations.add_directions(annotations.add_crosshair(drawn, onto, self.mm), onto, 18), scale]
        )

    def plot_arrows(self, longer: float) -> Figure:
        """Where points of the fixed image go, `longer` times as long as they are."""
        return registration_charts.plot_arrows(self.draw_plain(FIXED), self.grid, self.maps.field, longer=longer)

    def find_position(self, x: float, y: float) -> np.ndarray | None:
        """(3,) RAS+ millimetres under a pixel of a picture, also of the second beside the first; None beside them."""
        h, w = self.grid.shape[:2]
        column = x % (w + 8)
        return self.grid.to_mm(np.array([y, column, 0.0])) if column < w and 0 <= y < h and x < 2 * w + 8 else None

    def read_values(self, mm: np.ndarray) -> list[tuple[str, str]]:
        """What is known at a point, by name."""
        maps, volumes = self.maps, self.result.volumes
        vector = (maps.field.transform_points(mm[None]) - mm)[0]
        ways = zip("RAS", "LPI", vector, strict=True)
        rows = [
            (
                "Position",
                ", ".join(f"{'RAS'[n] if c >= 0 else 'LPI'[n]} {abs(c):.0f}" for n, c in enumerate(mm)) + " mm",
            )
        ]
        if "labels" in volumes and (label := _value(volumes["labels"], mm)) is not None:
            rows.append(("Region", volumes["labels"].labels.get(int(label), "none")))
        rows.append(("Displacement", ", ".join(f"{p if c >= 0 else n} {abs(c):.1f}" for p, n, c in ways) + " mm"))
        rows.append(("Length", f"{np.linalg.norm(vector):.2f} mm"))
        if (log := _value(maps.log_jacobian, mm)) is not None:
            folds = log <= np.log(deformation_maps.MIN_DETERMINANT) + 1e-4
            rows.append(("Log Jacobian", "folding" if folds else f"{log:+.3f}: volume × {np.exp(log):.2f}"))
        if maps.jumps is not None and (jump := _value(maps.jumps, mm)):
            rows.append(("Jump to the next region", f"{jump:.2f} mm"))
        return rows


def render_flicker(first: np.ndarray, second: np.ndarray) -> str:
    """Two pictures by turns, as HTML."""
    return html.render_flicker(_address(first), _address(second))


def _address(picture: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _value(volume: Volume, mm: np.ndarray) -> float | None:
    value = planes.read_value(volume, mm)
    return None if value is None else float(value)
