"""Steering of a refinement: voxels that are not matched, regions that are matched more, parts that keep their shape."""

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor


class Steering(NamedTuple):
    """What is asked of a refinement.

    `ignored` (D, H, W) bool of the moving and of the fixed image, or None: voxels that are not matched, as in
    cost-function masking (Brett et al. 2001, doi:10.1006/nimg.2001.0845); the field continues smoothly there. `matched`
    are classes of regions whose own maps are matched, too. `hold` changes the field (3, D, H, W), in voxels, after each
    level.
    """

    ignored: tuple[Tensor, Tensor] | None = None
    matched: tuple[int, ...] = ()
    hold: Callable[[Tensor], Tensor] | None = None


NO_STEERING = Steering()
