"""Corrections by hand: what a visitor has painted and erased on the stage, checked and laid on their result.

The browser sends the whole correction after each stroke, so that one that was lost costs nothing.
"""

import base64
import binascii
import zlib
from typing import Any

import numpy as np

from medapp.analysis.hand_correction import CORRECTION_LABELS, make_correction
from medapp.errors import InputError
from medapp.imaging.geometry import resample
from medapp.imaging.volume import Grid, Volume
from medapp.presenters import get_presenter
from medapp.serving import runtime
from medapp.ui.payload import MalformedRequestError
from medapp.ui.session import Session
from medapp.ui.viewer.texture_files import turn_from_ras
from medapp.ui.viewer.volume_files import limit_grid

MAX_TEXT_LENGTH = 900_000  # characters; a hundred strokes take a few thousand
MAX_STROKES = 1_000_000_000
OTHER_RESULT_MESSAGE = "This correction belongs to a result that is no longer shown. Nothing was changed."
TOO_LONG_MESSAGE = "This correction is too large to be sent. Undo the last strokes."


def correct_session(session: Session, sent: dict[str, Any]) -> None:
    """Lay the correction that a browser has sent on the session's result.

    `sent` holds `case`, the session that it belongs to; `strokes`, their number; and `voxels`, see `unpack_voxels`.
    Raises InputError for another result's or a malformed one, or where the method has no mask to correct.
    """
    case, strokes, text = (sent.get(name) for name in ("case", "strokes", "voxels"))
    if not isinstance(case, str) or type(strokes) is not int or not 0 <= strokes < MAX_STROKES:
        raise MalformedRequestError("it does not say which result it corrects")
    if case != session.case:
        raise InputError(OTHER_RESULT_MESSAGE)
    result = session.result
    presenter = get_presenter(runtime.find_card_of(result))
    mask, image = result.volumes[presenter.require_mask_role()], presenter.image(result)
    correction = unpack_voxels(text, limit_grid(image.grid), mask) if text else None
    session.result, session.strokes = presenter.correct(result, correction, session.reference), strokes


def unpack_voxels(text: object, grid: Grid, mask: Volume) -> Volume:
    """Return the correction on the grid of `mask` from a browser's text: base64 of zlib of bytes on `grid`.

    A byte for each voxel, 0 or one of CORRECTION_LABELS, x fastest, axes towards R, A and S. Raises InputError for
    anything else; no more is unpacked than the grid has voxels.
    """
    voxels = unpack_bytes(text, int(np.prod(grid.shape, dtype=np.int64)))
    if voxels.max() > max(CORRECTION_LABELS):
        raise MalformedRequestError("its voxels are neither painted nor erased")
    array = turn_from_ras(voxels, grid)
    like = mask.new_like(array, affine=grid.affine)
    return resample(make_correction(array, like), onto=mask.grid)


def unpack_bytes(text: object, count: int) -> np.ndarray:
    """Return (count,) uint8 from a browser's text, base64 of zlib of bytes. Raises InputError for anything else."""
    if not isinstance(text, str):
        raise MalformedRequestError("its voxels are no text")
    if len(text) > MAX_TEXT_LENGTH:
        raise InputError(TOO_LONG_MESSAGE)
    try:
        unpacker = zlib.decompressobj()
        content = unpacker.decompress(base64.b64decode(text, validate=True), count + 1)
    except (binascii.Error, ValueError, zlib.error) as error:
        raise MalformedRequestError("its voxels cannot be unpacked") from error
    if len(content) != count or not unpacker.eof:
        raise MalformedRequestError("it has not as many voxels as the image")
    return np.frombuffer(content, np.uint8)
