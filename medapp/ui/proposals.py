"""Proposals: what a visitor's clicks on the stage may mean, as regions that the browser shows and lays on the mask."""

import base64
import zlib
from typing import Any, TypeGuard

import gradio as gr
import numpy as np

from medapp.algorithms.click_crops import Clicked
from medapp.algorithms.lesion_proposals import (
    Click,
    Proposals,
    Region,
    propose_addition,
    propose_removal,
    refine_proposal,
)
from medapp.analysis.mask_metrics import find_bounding_box
from medapp.errors import InputError
from medapp.imaging.geometry import resample
from medapp.imaging.volume import Grid, Volume
from medapp.presenters import get_presenter
from medapp.result import Result
from medapp.serving import runtime
from medapp.ui.corrections import OTHER_RESULT_MESSAGE, unpack_bytes
from medapp.ui.payload import MalformedRequestError
from medapp.ui.session import Session, parse_position
from medapp.ui.viewer.texture_files import turn_from_ras, turn_to_ras
from medapp.ui.viewer.volume_files import limit_grid, place_on_grid

MAX_CLICKS = 30
MAX_NUMBER = 1_000_000_000


def propose_regions(session: Session, sent: dict[str, Any]) -> dict[str, Any]:
    """Return an update of a viewer with what the clicks that a browser has sent may mean on the session's result.

    `sent` holds `case`, the session that it belongs to; `number`, which comes back; `removes`, whether a piece of the
    mask is meant; `clicks`, each with `mm` (RAS+) and `is_wanted`; and after the first `shown`, the region that the
    last one was made on, as `pack_regions` packs one. What comes back besides is a `message`, or the `first` region to
    be shown and what `pack_regions` gives. Raises InputError for another result's or a malformed one, or where the
    method has no mask to correct.
    """
    case, number, removes, shown = (sent.get(name) for name in ("case", "number", "removes", "shown"))
    if (
        not isinstance(case, str)
        or type(number) is not int
        or not 0 <= number < MAX_NUMBER
        or type(removes) is not bool
    ):
        raise MalformedRequestError("it does not say what is asked")
    clicks = parse_clicks(sent.get("clicks"))
    if case != session.case:
        raise InputError(OTHER_RESULT_MESSAGE)
    clicked = find_clicked(session.result)
    grid = clicked.image.grid
    if shown is not None:
        proposals = refine_proposal(clicked, clicks, unpack_region(shown, grid), removes=removes)
    else:
        proposals = (propose_removal if removes else propose_addition)(clicked, clicks[-1].mm)
    return gr.update(proposals={"case": case, "number": number, "removes": removes, **pack_proposals(proposals, grid)})


def pack_proposals(proposals: Proposals, grid: Grid) -> dict[str, Any]:
    """Return the message, or the first region to be shown and the regions on a grid."""
    if not proposals.regions:
        return {"message": proposals.message}
    return {"message": "", "first": proposals.first, **pack_regions(proposals.regions, grid)}


def parse_clicks(sent: object) -> list[Click]:
    """Convert the clicks that a browser sends, the first of them wanted. Raises InputError for anything else."""
    if (
        not isinstance(sent, list)
        or not 0 < len(sent) <= MAX_CLICKS
        or not all(isinstance(each, dict) for each in sent)
    ):
        raise MalformedRequestError(f"it has no clicks, or more than {MAX_CLICKS}")
    clicks = [Click(parse_position(each.get("mm")), each.get("is_wanted") is not False) for each in sent]
    if not clicks[0].is_wanted:
        raise MalformedRequestError("its first click is not wanted")
    return clicks


def find_clicked(result: Result) -> Clicked:
    """Return what is clicked on in a result. Raises InputError where the method has no mask to correct."""
    presenter = get_presenter(runtime.find_card_of(result))
    mask, image = result.volumes[presenter.require_mask_role()], presenter.image(result)

    def read(volume: Volume | None) -> np.ndarray | None:
        return None if volume is None else place_on_grid(volume, image.grid).array

    probability, brain = read(result.volumes.get("probability")), read(presenter.brain(result))
    return Clicked(image, place_on_grid(mask, image.grid).array > 0, probability, brain)


def pack_regions(regions: list[Region], grid: Grid) -> dict[str, Any]:
    """Return regions on a grid as the stage holds voxels: a box of bytes, of which each region has a bit.

    `low` and `shape` (3,) are the box on the grid of the stage, its axes towards R, A and S; `voxels` is the base64 of
    the zlib of its bytes, x fastest.
    """
    bits = np.zeros(grid.shape, np.uint8)
    for number, region in enumerate(regions):
        bits[region.box][region.voxels] |= 1 << number
    shown = limit_grid(grid)
    if not shown.is_same(grid):
        bits = resample(Volume(bits, grid.affine, labels={1: "region"}), onto=shown).array
    turned = turn_to_ras(bits, shown.affine)
    box = find_bounding_box(turned > 0)
    part = turned[box]
    text = base64.b64encode(zlib.compress(part.tobytes(order="F"), 1)).decode()
    return {"low": [int(side.start or 0) for side in box], "shape": list(part.shape), "voxels": text}


def unpack_region(sent: object, grid: Grid) -> np.ndarray:
    """Return one region as `pack_regions` packs it, its bytes 0 or 1: bool on the grid.

    Raises MalformedRequestError for anything else.
    """
    low, shape, text = (sent.get(name) for name in ("low", "shape", "voxels")) if isinstance(sent, dict) else [None] * 3
    stage = limit_grid(grid)
    turned = np.zeros(turn_to_ras(np.empty(stage.shape, bool), stage.affine).shape, np.uint8)
    if not (is_corner(low) and is_corner(shape)) or any(
        n < 1 or a + n > most for a, n, most in zip(low, shape, turned.shape, strict=True)
    ):
        raise MalformedRequestError("the region that was shown lies nowhere")
    box = tuple(slice(a, a + n) for a, n in zip(low, shape, strict=True))
    turned[box] = unpack_bytes(text, int(np.prod(shape))).reshape(shape, order="F")
    region = turn_from_ras(turned.ravel(order="F"), stage)
    if not stage.is_same(grid):
        region = resample(Volume(region, stage.affine, labels={1: "region"}), onto=grid).array
    return region > 0


def is_corner(sent: object) -> TypeGuard[list[int]]:
    """Whether three whole numbers were sent, none negative."""
    return isinstance(sent, list) and len(sent) == 3 and all(type(each) is int and 0 <= each < 1e6 for each in sent)
