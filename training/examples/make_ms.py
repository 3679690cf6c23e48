"""Makes the examples for multiple sclerosis: `python -m training.examples.make_ms [--out DIR] [--only NAME]`.

FLAIR and T1 are made of the template, bent at random; lesions are painted where they often lie, some of them at one
time alone. No person's scan or mask is in it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from nibabel.affines import from_matvec
from scipy.spatial.transform import Rotation

from medapp.imaging.geometry import reorient, resample
from medapp.imaging.intensity import STANDARD_RANGE
from medapp.imaging.volume import Grid, Volume
from training.core.random_source import RandomSource
from training.data.random_contrast import box_blur, map_contrast
from training.data.scanner import simulate_scan
from training.data.stroke_heads import sample_scan, scan_points
from training.data.synthetic_head import FLAIR, PRE, simulate_scanner, surround_brain
from training.examples.make_stroke import ragged_ellipsoid, template_scan
from training.examples.make_synthetic_heads import axial_grid, requested_recipes, write_case

SOURCE = "training/examples/make_ms.py, from the ICBM 152 nonlinear symmetric 2009a template that nilearn ships"
BRIGHTEST = 600  # of what is written
SIGNAL_LEVEL = 2.5  # the signal beside the noise of the other examples
LESION = {"flair": 0.98, "t1": 0.7}  # where white matter is 0.5 and 1
Spot = tuple[tuple[float, float, float], tuple[float, float, float]]
"""Where a lesion lies, RAS+ millimetres of the template, and its half axes in mm."""
LASTING: tuple[Spot, ...] = (
    ((24, 22, 18), (5, 8, 4)),
    ((-25, 18, 20), (4, 7, 4)),
    ((26, -48, 24), (5, 9, 5)),
    ((-27, -50, 22), (4, 6, 4)),
    ((-20, -22, 32), (3, 5, 3)),
    ((30, -10, 34), (3, 3, 3)),
    ((-16, -60, -36), (4, 4, 3)),
)
NEW: tuple[Spot, ...] = (((-28, -4, 31), (4, 5, 4)), ((-34, -34, 30), (3, 4, 3)))
GROWN: tuple[Spot, ...] = (((26, -48, 24), (8, 12, 8)),)
GONE: tuple[Spot, ...] = (((27, 8, 28), (4, 5, 4)),)
BASELINE_POSE = from_matvec(Rotation.from_euler("xyz", (5, -4, 7), degrees=True).as_matrix(), (6, -5, 4))


@dataclass(frozen=True)
class Recipe:
    """A case before it is made: lesions now, and then if there is an earlier scan; `grids` by input."""

    name: str
    seed: int
    now: tuple[Spot, ...]
    then: tuple[Spot, ...]
    skull: bool
    grids: dict[str, Grid]
    title: str
    about: str
    settings: Mapping[str, float] = field(default_factory=dict)


RECIPES = (
    Recipe(
        "sclerosis_flair",
        85,
        LASTING,
        (),
        False,
        {"flair": axial_grid(170, 1.2, 54, 3.0, (8, -3, 5), (0, -18, 8))},
        "MS lesions: FLAIR alone",
        "Seven lesions are painted beside the ventricles, in deep white matter and in the cerebellum of an average "
        "brain, on oblique slices of 1.2 × 1.2 × 3 mm.",
    ),
    Recipe(
        "sclerosis_since",
        82,
        (*LASTING, *GROWN, *NEW),
        (*LASTING, *GONE),
        True,
        {
            "flair": axial_grid(200, 1.2, 66, 2.5, (-6, 3, 4), (0, -18, 6)),
            "t1": reorient(axial_grid(150, 1.5, 130, 1.6, (0, 0, 0), (0, -18, 0)), "PSR"),
            "baseline": axial_grid(200, 1.2, 54, 3.0, (4, -5, 2), (6, -22, 10)),
        },
        "MS lesions: what changed",
        "A made-up head twice, the second time with two lesions more, one that has grown and one less; the earlier "
        "FLAIR is turned and moved, a T1 lies on a grid of its own. Lesions under 0.1 ml are left out: below that, "
        "specks found at one time only would count as new or gone.",
        {"min_lesion_ml": 0.1},
    ),
)


def lesion_shares(
    spots: tuple[Spot, ...], grid: Grid, bend: torch.Tensor, room: torch.Tensor, seed: int
) -> torch.Tensor:
    """(X, Y, Z) share of lesion: ragged ellipsoids, each always the same, that keep to `room`."""
    mask = np.zeros(grid.shape, bool)
    for centre, axes in spots:
        rng = RandomSource(seed + sum(abs(int(c)) for c in centre))
        reach = np.ceil(np.multiply(axes, 1.8)).astype(int)
        middle = np.rint(grid.to_index(np.array(centre))).astype(int)
        middle -= np.rint(bend[(slice(None), *middle)].numpy()).astype(int)
        box = tuple(slice(a, b) for a, b in zip((middle - reach).tolist(), (middle + reach + 1).tolist(), strict=True))
        mask[box] |= ragged_ellipsoid(tuple(2 * reach + 1), axes, rng)
    return torch.from_numpy(mask).float() * room


def make_case(recipe: Recipe) -> tuple[dict[str, Volume], Volume, Volume | None]:
    """The images by input, the mask of what was painted now, and that of then; each on its own grid."""
    rng = RandomSource(recipe.seed)
    scan, grid = template_scan()
    bend = rng.smooth_field(grid.shape, 45, 3) * 2.2 + rng.smooth_field(grid.shape, 18, 3) * 0.6
    image, tissue, distance = sample_scan(scan, scan_points(np.eye(4), grid.shape, []) + bend)
    t1 = image / image[tissue == 1].median()
    bare = {"flair": map_contrast(t1, tissue, (0.08, 0.58, 0.5, 0.47), rng, 0.01) * (tissue > 0), "t1": t1}
    room = box_blur((tissue == 1).float()) > 0.4
    images, masks = {}, {}
    for time, spots, roles in (("now", recipe.now, ("flair", "t1")), ("then", recipe.then, ("baseline",))):
        soft = lesion_shares(spots, grid, bend, room, recipe.seed)
        lesioned = {role: torch.lerp(bare[role], torch.tensor(level), box_blur(soft)) for role, level in LESION.items()}
        masks[time] = Volume(soft.numpy().astype(np.uint8), grid.affine, labels={1: "painted lesion"})
        for role in roles:
            if role not in recipe.grids:
                continue
            whole = lesioned["flair" if role == "baseline" else role]
            place = BASELINE_POSE @ grid.affine if role == "baseline" else grid.affine
            if recipe.skull:
                white, around = (1.0, PRE) if role == "t1" else (0.5, FLAIR)
                random = np.random.default_rng(recipe.seed)
                signal = surround_brain((whole / white).numpy(), distance.numpy() == 0, grid.affine, around, random)
                images[role] = simulate_scanner(random, SIGNAL_LEVEL * signal, place, recipe.grids[role])
                continue
            array = (simulate_scan(whole, rng, noise=0.03, shade=0.08).numpy() - STANDARD_RANGE[0]) * (
                BRIGHTEST / (STANDARD_RANGE[1] - STANDARD_RANGE[0])
            )
            array = np.clip(array - np.median(array[:4]), 0, BRIGHTEST)
            resampled = resample(Volume(array, place), recipe.grids[role])
            images[role] = resampled.new_like(np.rint(resampled.array))
    return images, resample(masks["now"], recipe.grids["flair"]), masks["then"] if recipe.then else None


def main() -> None:
    for folder, recipe in requested_recipes(__doc__, RECIPES):
        images, reference, _ = make_case(recipe)
        texts = recipe.title, recipe.about, SOURCE
        more = {"settings": recipe.settings} if recipe.settings else {}
        write_case(folder, "segment_ms_rsanet", texts, images, reference, **more)
        print(f"{recipe.name}: {float(reference.array.sum()) * reference.grid.voxel_ml:.1f} ml painted")


if __name__ == "__main__":
    main()
