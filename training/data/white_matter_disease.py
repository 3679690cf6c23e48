"""White-matter disease of the old in T1: caps and bands round the ventricles that flow together, and patches."""

from torch import Tensor

from training.core.random_source import RandomSource
from training.data.brain_tissues import TISSUE_GROUP
from training.data.random_contrast import box_blur
from training.data.stroke_lesions import CORTEX, VENTRICLE, WHITE, spread_mask


def paint_disease(
    image: Tensor, tissue: Tensor, amount: float, dark: float, rng: RandomSource, levels: tuple[float, float]
) -> None:
    """Paint white-matter disease into (X, Y, Z) float32, in place.

    `amount` from 0 (hardly any) to 1 (most of the deep white matter), `dark` from 0 (as white matter) to 1 (as fluid);
    `levels` are those of `stroke_lesions.reference_levels`.
    """
    group = TISSUE_GROUP[tissue.long()]
    size = tuple(image.shape)
    near, cortex = spread_mask(group == VENTRICLE, 2), spread_mask(group == CORTEX, 1)
    patches = rng.smooth_field(size, 8)[0] * 0.6 + rng.smooth_field(size, 20)[0] * 0.6
    reach = 5 * amount * near / near.max().clamp(min=1e-3) + patches - 2.2 + 1.2 * amount - 3 * cortex
    share = box_blur((1.5 * reach).clamp(0, 1) * (group == WHITE)) * (group == WHITE)
    fluid, white = levels
    image.sub_(share * dark * (white - fluid) * (1 + 0.1 * rng.smooth_field(size, 6)[0]))
