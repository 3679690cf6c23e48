"""A brain of another contrast is made like the other, where the tissues are known."""

import numpy as np
import pytest
from scipy import ndimage

from medapp.algorithms.contrast_matching import imitate_contrast, render_tissues
from medapp.imaging.volume import Volume

WHITE, CORTEX, VENTRICLE = 1, 2, 3
T1_LEVELS = {WHITE: 1.0, CORTEX: 0.65, VENTRICLE: 0.2}
OTHER_LEVELS = {
    "T2": {WHITE: 0.4, CORTEX: 0.6, VENTRICLE: 1.0},
    "FLAIR": {WHITE: 0.7, CORTEX: 0.9, VENTRICLE: 0.15},
}


@pytest.fixture(scope="module")
def regions() -> Volume:
    """Shells of tissue round a ventricle, 1 mm."""
    radius = np.linalg.norm(np.indices((48, 48, 48)) - 23.5, axis=0)
    classes = np.select([radius < 8, radius < 16, radius < 21], [VENTRICLE, WHITE, CORTEX], 0).astype(np.uint8)
    return Volume(classes, np.eye(4), labels={1: "region"})


def scan(regions: Volume, levels: dict[int, float]) -> Volume:
    """A brain with soft borders and fluid round it, 0 outside."""
    table = np.full(36, levels[VENTRICLE])
    table[list(levels)] = list(levels.values())
    soft = ndimage.gaussian_filter(table[regions.array], 0.7).astype(np.float32)
    brain = ndimage.binary_dilation(regions.array > 0, iterations=2)
    return regions.new_like(np.where(brain, soft, 0), labels={})


@pytest.mark.parametrize("contrast", OTHER_LEVELS)
def test_another_contrast_becomes_that_of_the_model(regions, contrast):
    t1, other = scan(regions, T1_LEVELS), scan(regions, OTHER_LEVELS[contrast])
    bent = regions.new_like(np.roll(regions.array, 2, 0))  # the model is another brain
    made = imitate_contrast(other, regions, scan(bent, T1_LEVELS), bent)
    inside = regions.array > 0
    assert np.corrcoef(made.array[inside], t1.array[inside])[0, 1] > 0.97
    assert np.abs(made.array - t1.array)[inside].mean() < 0.05
    outside = other.array == 0
    assert (made.array[outside] == 0).all() and (made.array[~outside] > 0).all() and made.array.max() <= 1


@pytest.mark.parametrize("contrast", OTHER_LEVELS)
def test_folds_that_no_label_map_has_are_shown(regions, contrast):
    folded = regions.array.copy()
    folded[22:26, 3:12, 10:38][folded[22:26, 3:12, 10:38] == CORTEX] = VENTRICLE  # a furrow
    folded[36:42, 22:26, 10:38][folded[36:42, 22:26, 10:38] == CORTEX] = WHITE
    true = regions.new_like(folded)
    t1, other = scan(true, T1_LEVELS), scan(true, OTHER_LEVELS[contrast])
    made = imitate_contrast(other, regions, t1, true).array
    missed = folded != regions.array
    assert np.corrcoef(made[missed], t1.array[missed])[0, 1] > 0.9


def test_without_a_tissue_in_common_the_image_stays(regions):
    image = scan(regions, T1_LEVELS)
    elsewhere = regions.new_like(np.where(regions.array > 0, 13, 0).astype(np.uint8))
    made = imitate_contrast(image, regions, image, elsewhere)
    np.testing.assert_allclose(made.array, image.array, atol=1e-3)


def test_regions_are_drawn_like_t1(regions):
    drawn = render_tissues(regions)
    level = {n: drawn.array[regions.array == n].mean() for n in (0, WHITE, CORTEX, VENTRICLE)}
    assert level[0] == 0 < level[VENTRICLE] < level[CORTEX] < level[WHITE] and not drawn.labels
