"""The examples for multiple sclerosis hold what they say: bright lesions where they belong, new and gone ones."""

import numpy as np
import pytest
from scipy import ndimage

from medapp import examples
from medapp.algorithms.brain_pair import transform_header
from medapp.imaging.geometry import resample
from medapp.io import files
from medapp.pipelines.segment_ms_rsanet import CARD
from training.examples.make_ms import BASELINE_POSE, GONE, NEW, RECIPES, Recipe
from training.examples.make_synthetic_heads import OUT


def read(recipe: Recipe, role: str):
    return files.read([OUT / recipe.name / f"{role}.nii.gz"])


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda r: r.name)
def test_lesions_are_bright_and_lie_where_they_are_said_to(recipe):
    image, reference = read(recipe, "flair"), read(recipe, "reference")
    assert all(read(recipe, role).grid.is_same(grid) for role, grid in recipe.grids.items())
    assert reference.grid.is_same(image.grid) and 1 < reference.array.sum() * reference.grid.voxel_ml < 20
    lesion = reference.array > 0
    around = ndimage.binary_dilation(lesion, iterations=3) & ~ndimage.binary_dilation(lesion)
    assert np.median(image.array[lesion]) > 1.2 * np.median(image.array[around])
    points = reference.grid.to_mm(np.argwhere(lesion))
    for centre, axes in recipe.now:
        assert np.linalg.norm(points - centre, axis=1).min() < max(axes) + 5
    case = next(e for e in examples.of_task("segmentation") if e.name == recipe.name)
    assert case.synthetic and case.pipeline == CARD.name and {i.name for i in CARD.inputs} >= set(case.images)


def test_the_earlier_scan_lies_elsewhere_and_shows_what_was_there_then():
    recipe = RECIPES[1]
    now = read(recipe, "flair")
    then = resample(transform_header(read(recipe, "baseline"), BASELINE_POSE), now.grid).array
    for spots, (shown, hidden) in ((NEW, (now.array, then)), (GONE, (then, now.array))):
        for centre, axes in spots:
            away = now.grid.to_mm(np.moveaxis(np.indices(now.shape), 0, -1)) - centre
            near = np.linalg.norm(away, axis=-1) < max(axes) + 4
            bright = [np.percentile(each[near], 97) / np.median(each[near]) for each in (shown, hidden)]
            assert bright[0] > 1.25 and bright[0] > bright[1] + 0.15, centre
