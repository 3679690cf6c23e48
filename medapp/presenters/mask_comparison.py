"""Masks compared with each other alone, without an image or a method."""

from collections.abc import Sequence

import numpy as np

from medapp.analysis.rater_agreement import AGREEMENT, CONSENSUS, MAX_RATERS, add_comparison, place_raters
from medapp.errors import InputError
from medapp.imaging.volume import Volume
from medapp.presenters.raters import check_rater
from medapp.result import Result

WRITTEN_ROLES = (AGREEMENT, CONSENSUS)


def compare_masks_alone(masks: Sequence[Volume]) -> Result:
    """Return the agreement of two or more masks, named by `name`, on the grid of the first.

    See `analysis.rater_agreement`. Raises InputError for a single mask, too many, or what is no mask or lies elsewhere.
    """
    if not 2 <= len(masks) <= MAX_RATERS:
        raise InputError(f"Two to {MAX_RATERS} masks can be compared, not {len(masks)}.")
    first = masks[0]
    result = place_raters(Result({}), [check_rater(mask, {first.name: first}) for mask in masks], first)
    placed = list(result.volumes.values())
    like = placed[0].new_like(placed[0].array, headers=first.headers)
    return add_comparison(result, {mask.name: np.asarray(mask.array) > 0 for mask in placed}, like)
