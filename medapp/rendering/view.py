"""View: what the stage of the page shows of a result, besides its layers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from medapp.imaging.deformation import Deformation
from medapp.imaging.volume import Volume
from medapp.rendering.colour import Window
from medapp.rendering.layers import Layer

Colour = tuple[int, int, int]
UNIT_WINDOW = Window(0.0, 1.0)
Plane = Literal["axial", "coronal", "sagittal", "render"]
Comparison = Literal["bottom", "top", "swipe", "checkerboard", "difference", "blink", "overlay"]


@dataclass(frozen=True, eq=False)
class Surface:
    """A surface of the 3-D view: vertices (N, 3) in RAS+ mm, and triangles (M, 3) of vertex numbers, facing outwards.

    `colour` is one for all, or (N, 3) uint8. Where there are `values` (N,), they colour it by `colour_map` between the
    ends of `window`, in `unit`. `is_seen_through`: it also shines through what covers it, such as a lesion in a brain.
    """

    name: str
    vertices: np.ndarray
    faces: np.ndarray
    colour: Colour | np.ndarray = (205, 200, 195)
    values: np.ndarray | None = None
    window: Window = UNIT_WINDOW
    colour_map: str = "plasma"
    unit: str = ""
    is_seen_through: bool = False


@dataclass(frozen=True, eq=False)
class LiveMask:
    """Probabilities by title, 0 to 1 on the image's grid, which the browser fuses and thresholds by itself.

    It draws the mask named `caption` among the layers. `settings` are the values of the options by name: "threshold",
    "min_lesion_ml", and for several probabilities "fusion" ("mean", "vote" or "weighted"); `switches` and `weights`
    name the options of each probability, in their order. `colours` are those of the single probabilities. `noun` is
    what is counted, "" for nothing. The page can correct the mask by hand. A mask that follows no threshold is its own
    probability, 0 or 1, and not called so unless `is_probability`.
    """

    caption: str
    probabilities: Mapping[str, Volume]
    settings: Mapping[str, float | str | bool]
    switches: Sequence[str] = ()
    weights: Sequence[str] = ()
    colours: Sequence[Colour] = ()
    noun: str = "lesion"
    is_probability: bool = True


@dataclass(frozen=True, eq=False)
class Warp:
    """A deformation that the stage plays from 0 to 100 % on the layer named `caption`: the moving image, aligned.

    `mask` (I, J, K) bool on the field's grid is where arrows are drawn. `log_jacobian`, the natural logarithm of the
    Jacobian determinant on the same grid, is computed where it is not given.
    """

    caption: str
    deformation: Deformation
    mask: np.ndarray | None = None
    log_jacobian: Volume | None = None


@dataclass(frozen=True)
class Tile:
    """One picture of an arrangement: a plane, its box as shares (left, top, width, height) of the stage, what it shows.

    `shows`: "" for what is chosen, the caption of an image layer, "difference", "map" for the first image with the map,
    which no other tile has then, or for a live mask of several probabilities "agreement" or the title of one. `warp` is
    the share of the deformation, 0 to 1; None for what is chosen.
    """

    plane: Plane
    box: tuple[float, float, float, float]
    shows: str = ""
    warp: float | None = None
    caption: str = ""


def lay_out_columns(
    pictures: Sequence[tuple[str, str, float | None]], rows: Mapping[Plane, float] | None = None
) -> list[Tile]:
    """Lay out a column for each picture (caption, what it shows, share of the warp), all equally wide.

    `rows` are the planes from the top with their shares of the height; they should add up to 1.
    """
    tiles, top, width = [], 0.0, 1 / len(pictures)
    for plane, height in (rows or {"axial": 0.55, "coronal": 0.45}).items():
        for number, (caption, shows, warp) in enumerate(pictures):
            tiles.append(Tile(plane, (number * width, top, width, height), shows, warp, caption))
        top += height
    return tiles


@dataclass(frozen=True, eq=False)
class View:
    """The layers by caption, the image at the bottom first, and what can be done with them.

    Further image layers can be compared with the first one, heat layers are maps of which one is shown at a time. The
    3-D view shows the image inside `brain`, a mask on its grid, else all of it; and the surfaces. `compared` is the
    caption of the layer that is compared at first, in the way of `comparison`; `map` that of the first map.
    `arrangements` are further layouts by title; `arrangement` is the one to begin with, "" for planes and 3-D. `kind`
    tells it from other views of the same method, within which what is switched off stays so.
    """

    layers: Mapping[str, Layer]
    brain: Volume | None = None
    surfaces: Sequence[Surface] = ()
    live: LiveMask | None = None
    warp: Warp | None = None
    compared: str = ""
    comparison: Comparison = "bottom"
    map: str = ""
    arrangements: Mapping[str, Sequence[Tile]] = field(default_factory=dict)
    arrangement: str = ""
    kind: str = ""
