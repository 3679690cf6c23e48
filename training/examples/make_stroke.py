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
from training.core.random_source import Luck
from training.data.brain_tissues import FLUID
from training.data.labelled_brains import STEP_MM, Scan
from training.data.scanner import scanned
from training.data.stroke_heads import points, sampled
from training.data.stroke_lesions import CORTEX, VENTRICLE, WHITE, ageing, fluid_and_white, paint
from training.data.synthetic_head import MARGIN, PRE, acquired, covered
from training.examples.make_synthetic_heads import asked, axial, keep

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
        reorient(axial(160, 1.25, 126, 1.25, (9, -6, 12), (0, -18, 8)), "PSR"),
        "Stroke: an average brain, no skull",
        "A lesion in the territory of the right middle cerebral artery is painted into the average of 152 brains, on "
        "sagittal slices of 1.25 mm, turned.",
    ),
    Recipe(
        "stroke_whole_head",
        72,
        (-24, -74, 6),
        (13, 19, 15),
        True,
        axial(200, 1.15, 66, 2.5, (-10, 4, -5), (0, -18, 6)),
        "Stroke: whole head, 2.5 mm slices",
        "A lesion in the territory of the left posterior cerebral artery is painted into a brain bent at random, in a "
        "made-up head, on axial slices of 1.15 × 1.15 × 2.5 mm.",
    ),
)


def average() -> tuple[Scan, Grid]:
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
    return Scan(*(torch.from_numpy(part.astype(np.uint8)) for part in parts)), grid


def blob(shape: tuple[int, ...], axes: tuple[float, float, float], luck: Luck) -> np.ndarray:
    """(X, Y, Z) bool of 1 mm: an ellipsoid with a ragged border, in the middle."""
    steps = np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in shape), indexing="ij")
    far = np.sqrt(sum((step / axis) ** 2 for step, axis in zip(steps, axes, strict=True)))
    return far + 0.22 * luck.field(shape, 12)[0].numpy() + 0.1 * luck.field(shape, 5)[0].numpy() < 1


def make(recipe: Recipe) -> tuple[Volume, Volume]:
    """The image and the mask of what was painted, on the recipe's grid."""
    luck = Luck(recipe.seed)
    scan, grid = average()
    bend = luck.field(grid.shape, 45, 3) * 2.2 + luck.field(grid.shape, 18, 3) * 0.6
    image, tissue, distance = sampled(scan, points(np.eye(4), grid.shape, []) + bend)
    ageing(image, tissue, luck, fluid_and_white(image, tissue))
    reach = np.ceil(np.multiply(recipe.axes, 1.8)).astype(int)
    middle = np.rint(grid.to_index(np.array(recipe.centre))).astype(int)
    box = tuple(slice(a, b) for a, b in zip((middle - reach).tolist(), (middle + reach + 1).tolist(), strict=True))
    wanted = blob(tuple(2 * reach + 1), recipe.axes, luck)
    mask = np.zeros(grid.shape, np.uint8)
    mask[box] = paint(image[box], tissue[box], wanted, luck, fluid_and_white(image, tissue))
    painted = resample(Volume(mask, grid.affine, labels={1: "painted lesion"}), recipe.grid)
    if recipe.skull:
        fluid, white = fluid_and_white(image, tissue)
        dark = PRE["fluid"] / PRE["white"]
        bare = (dark + (image - fluid) / (white - fluid) * (1 - dark)).clamp(min=0).numpy()
        random = np.random.default_rng(recipe.seed)
        whole = covered(bare, distance.numpy() == 0, grid.affine, PRE, random)
        return acquired(random, whole, grid.affine, recipe.grid), painted
    image = (scanned(image, luck).numpy() - STANDARD_RANGE[0]) * (BRIGHTEST / (STANDARD_RANGE[1] - STANDARD_RANGE[0]))
    image -= np.median(image[:4])  # air
    drawn = resample(Volume(np.clip(image, 0, BRIGHTEST), grid.affine), recipe.grid)
    return drawn.new_like(np.rint(drawn.array)), painted


def main() -> None:
    for folder, recipe in asked(__doc__, RECIPES):
        image, reference = make(recipe)
        told = recipe.title, recipe.about, SOURCE
        keep(folder, "segment_stroke_raxnet", told, {"image": image}, reference)
        print(f"{recipe.name}: {float(reference.array.sum()) * reference.grid.voxel_ml:.1f} ml painted")


if __name__ == "__main__":
    main()
