"""Makes the examples for stroke: `python -m training.examples.make_stroke [--out DIR] [--only NAME]`.

The template, bent at random, gets a made-up lesion with the look of an old infarct. No person's scan or mask is in it.
"""

from dataclasses import dataclass

import numpy as np
import torch
from nilearn.datasets import load_mni152_gm_template, load_mni152_wm_template
from scipy import ndimage

from medapp.algorithms.mni_template import load_template
from medapp.imaging.geometry import crop_grid, reorient, resample
from medapp.imaging.intensity import STANDARD_RANGE
from medapp.imaging.volume import Grid, Volume
from training.core.random_source import RandomSource
from training.data.brain_tissues import FLUID
from training.data.labelled_brains import STEP_MM, LabelledScan
from training.data.scanner import simulate_scan
from training.data.stroke_heads import sample_scan, scan_points
from training.data.stroke_lesions import CORTEX, VENTRICLE, WHITE, paint_ageing, paint_infarct, reference_levels
from training.data.synthetic_head import MARGIN, PRE, simulate_scanner, surround_brain
from training.examples.make_synthetic_heads import axial_grid, requested_recipes, write_case

SOURCE = "training/examples/make_stroke.py, from the ICBM 152 nonlinear symmetric 2009a template that nilearn ships"
DEEP = 22  # mm inside the brain, from which fluid is that of the ventricles
BRIGHTEST = 250  # of what is written


@dataclass(frozen=True)
class Recipe:
    """A case before it is made: where its lesion lies (RAS+ millimetres of the template), its half axes in mm."""

    name: str
    seed: int
    centre: tuple[float, float, float]
    axes: tuple[float, float, float]
    skull: bool
    grid: Grid
    title: str
    about: str


RECIPES = (
    Recipe(
        "stroke_template",
        71,
        (42, -8, 22),
        (17, 27, 19),
        False,
        reorient(axial_grid(160, 1.25, 126, 1.25, (9, -6, 12), (0, -18, 8)), "PSR"),
        "Stroke: average brain",
        "A lesion in the territory of the right middle cerebral artery is painted into the average of 152 brains, on "
        "sagittal slices of 1.25 mm, turned.",
    ),
    Recipe(
        "stroke_whole_head",
        72,
        (-24, -74, 6),
        (13, 19, 15),
        True,
        axial_grid(200, 1.15, 66, 2.5, (-10, 4, -5), (0, -18, 6)),
        "Stroke: head, 2.5 mm slices",
        "A lesion in the territory of the left posterior cerebral artery is painted into a brain bent at random, in a "
        "made-up head, on axial slices of 1.15 × 1.15 × 2.5 mm.",
    ),
)


def template_scan() -> tuple[LabelledScan, Grid]:
    """The template as a scan in which strokes can be painted, and where its voxels lie."""
    grid = crop_grid(load_template().grid, np.full(3, -MARGIN), np.array(load_template().shape) + MARGIN)
    t1 = np.pad(load_template().array, MARGIN)
    grey, white = (
        np.pad(np.asarray(load(resolution=1).dataobj, np.float32), MARGIN)
        for load in (load_mni152_gm_template, load_mni152_wm_template)
    )
    brain = ndimage.binary_fill_holes(t1 > 0)
    inside = ndimage.distance_transform_edt(brain)
    tissue = np.where(inside > DEEP, VENTRICLE, FLUID)
    solid = np.maximum(grey, white) > 0.4
    tissue = np.where(solid, np.where(white > grey, WHITE, CORTEX), tissue) * brain
    distance = np.clip(ndimage.distance_transform_edt(~brain) / STEP_MM, 0, 255)
    parts = (np.rint(t1 / t1.max() * 255), tissue, distance)
    return LabelledScan(*(torch.from_numpy(part.astype(np.uint8)) for part in parts)), grid


def ragged_ellipsoid(shape: tuple[int, ...], axes: tuple[float, float, float], rng: RandomSource) -> np.ndarray:
    """(X, Y, Z) bool of 1 mm: an ellipsoid with a ragged border, in the middle."""
    steps = np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in shape), indexing="ij")
    far = np.sqrt(sum((step / axis) ** 2 for step, axis in zip(steps, axes, strict=True)))
    return far + 0.22 * rng.smooth_field(shape, 12)[0].numpy() + 0.1 * rng.smooth_field(shape, 5)[0].numpy() < 1


def make_case(recipe: Recipe) -> tuple[Volume, Volume]:
    """The image and the mask of what was painted, on the recipe's grid."""
    rng = RandomSource(recipe.seed)
    scan, grid = template_scan()
    bend = rng.smooth_field(grid.shape, 45, 3) * 2.2 + rng.smooth_field(grid.shape, 18, 3) * 0.6
    image, tissue, distance = sample_scan(scan, scan_points(np.eye(4), grid.shape, []) + bend)
    paint_ageing(image, tissue, rng, reference_levels(image, tissue))
    reach = np.ceil(np.multiply(recipe.axes, 1.8)).astype(int)
    middle = np.rint(grid.to_index(np.array(recipe.centre))).astype(int)
    box = tuple(slice(a, b) for a, b in zip((middle - reach).tolist(), (middle + reach + 1).tolist(), strict=True))
    shape_mask = ragged_ellipsoid(tuple(2 * reach + 1), recipe.axes, rng)
    mask = np.zeros(grid.shape, np.uint8)
    mask[box] = paint_infarct(image[box], tissue[box], shape_mask, rng, reference_levels(image, tissue))
    painted = resample(Volume(mask, grid.affine, labels={1: "painted lesion"}), recipe.grid)
    if recipe.skull:
        fluid, white = reference_levels(image, tissue)
        dark = PRE["fluid"] / PRE["white"]
        bare = (dark + (image - fluid) / (white - fluid) * (1 - dark)).clamp(min=0).numpy()
        random = np.random.default_rng(recipe.seed)
        whole = surround_brain(bare, distance.numpy() == 0, grid.affine, PRE, random)
        return simulate_scanner(random, whole, grid.affine, recipe.grid), painted
    image = (simulate_scan(image, rng).numpy() - STANDARD_RANGE[0]) * (
        BRIGHTEST / (STANDARD_RANGE[1] - STANDARD_RANGE[0])
    )
    image -= np.median(image[:4])  # air
    resampled = resample(Volume(np.clip(image, 0, BRIGHTEST), grid.affine), recipe.grid)
    return resampled.new_like(np.rint(resampled.array)), painted


def main() -> None:
    for folder, recipe in requested_recipes(__doc__, RECIPES):
        image, reference = make_case(recipe)
        texts = recipe.title, recipe.about, SOURCE
        write_case(folder, "segment_stroke_raxnet", texts, {"image": image}, reference)
        print(f"{recipe.name}: {float(reference.array.sum()) * reference.grid.voxel_ml:.1f} ml painted")


if __name__ == "__main__":
    main()
