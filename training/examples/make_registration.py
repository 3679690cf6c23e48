"""Makes the examples for registration: `python -m training.examples.make_registration [--out DIR]`.

Every case is made from its own seed, so the command gives the same images again.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from nibabel.affines import from_matvec
from nibabel.eulerangles import euler2mat
from nilearn.datasets import load_mni152_template
from scipy import ndimage

from medapp.imaging.deformation import Deformation
from medapp.imaging.geometry import resample
from medapp.imaging.volume import Grid, Volume
from training.data.synthetic_head import PRE, make_head, simulate_sequence
from training.examples.make_synthetic_heads import axial_grid, write_case

OUT = Path(__file__).resolve().parents[2] / "examples" / "registration"
SOURCE = (
    "training/examples/make_registration.py, from the ICBM 152 nonlinear symmetric 2009a template that nilearn ships"
)
LANDMARKS = 200  # landmarks
BRAIN_CENTRE = (0.0, -17.0, 8.0)  # of the template's brain, RAS+ millimetres
SMOOTH = ((20.0, 2.6), (10.0, 1.1))  # what bends a brain: millimetres of smoothing, standard deviation in millimetres
ExamplePair = tuple[dict[str, Volume], dict[str, Any]]


def load_template() -> Volume:
    """The average of 152 brains without a skull, from 0 to 1, on voxels of 1 mm with room around."""
    image = load_mni152_template(resolution=1)
    array = np.pad(np.asarray(image.dataobj, np.float32), 12)
    return Volume(array / array.max(), image.affine @ from_matvec(np.eye(3), [-12.0] * 3))


def draw_deformation(random: np.random.Generator, grid: Grid) -> tuple[Deformation, Deformation]:
    """A smooth diffeomorphism on every second voxel of `grid`, and its inverse: a velocity at random, integrated."""
    grid = Grid(tuple((n + 1) // 2 for n in grid.shape), grid.affine @ np.diag([2.0, 2, 2, 1]))  # type: ignore[arg-type]
    velocity = np.zeros((3, *grid.shape), np.float32)
    for length, size in SMOOTH:
        sigma = [length / s for s in grid.spacing]
        waves = np.stack([ndimage.gaussian_filter(random.standard_normal(grid.shape), sigma) for _ in range(3)])
        velocity += size * (waves / waves.std()).astype(np.float32)
    return integrate_velocity(velocity, grid), integrate_velocity(-velocity, grid)


def integrate_velocity(velocity: np.ndarray, grid: Grid, steps: int = 7) -> Deformation:
    """The flow of a stationary velocity (3, I, J, K) in RAS+ millimetres after one unit of time: scaling and squaring
    (Arsigny et al., MICCAI 2006)."""
    flow = Deformation(velocity / 2**steps, grid.affine)
    for _ in range(steps):
        flow = flow.compose(flow)
    return flow


def rigid_about_brain(degrees: tuple[float, float, float], shift: tuple[float, float, float]) -> np.ndarray:
    """(4, 4): a turn about `BRAIN_CENTRE`, in degrees about x, y and z, and then a shift in millimetres."""
    x, y, z = np.deg2rad(degrees)
    turn = euler2mat(z, y, x)
    return from_matvec(turn, np.array(BRAIN_CENTRE) - turn @ BRAIN_CENTRE + shift)


def simulate_scan(
    random: np.random.Generator, brain: Volume, grid: Grid, gamma: float, white: float, noise: float
) -> Volume:
    """A scan of `brain`, from 0 to 1, on `grid`, int16: another contrast, uneven coils, Rician noise, no air."""
    clean = resample(brain, grid).array
    inside = clean > 0.05
    share = [
        np.linspace(-1, 1, n).reshape([-1 if a == axis else 1 for a in range(3)]) for axis, n in enumerate(grid.shape)
    ]
    slope = sum(random.uniform(-0.12, 0.12) * s for s in share)
    signal = white * np.clip(clean, 0, 1) ** gamma * np.exp(slope)
    real, other = noise * random.standard_normal((2, *grid.shape))
    return Volume(np.rint(np.hypot(signal + real, other) * inside).astype(np.int16), grid.affine)


def make_known_deformation() -> ExamplePair:
    """The template, and the template bent, turned and shifted, with the truth at points in the brain."""
    random = np.random.default_rng(71)
    brain = load_template()
    forth, back = draw_deformation(random, brain.grid)
    move = rigid_about_brain((5, -4, 12), (6, -9, 14))
    bent = back.resample(brain.grid).warp(brain)
    bent = bent.new_like(bent.array, affine=move @ bent.affine)
    fixed = simulate_scan(random, brain, axial_grid(150, 1.5, 116, 1.5, (0, 0, 0), BRAIN_CENTRE), 1.0, 160, 2.0)
    moved_centre = (move @ (*BRAIN_CENTRE, 1))[:3]
    moving = simulate_scan(random, bent, axial_grid(184, 1.2, 84, 2.2, (-12, 5, 4), moved_centre), 1.5, 700, 12.0)
    inside = np.argwhere(ndimage.binary_erosion(fixed.array > 40, iterations=2))
    points = fixed.grid.to_mm(random.choice(inside, LANDMARKS, replace=False))
    truth = forth.transform_points(points) @ move[:3, :3].T + move[:3, 3]
    lines = "\n".join(", ".join(f"{v:.2f}" for v in (*a, *b)) for a, b in zip(points, truth, strict=True))
    return {"fixed": fixed, "moving": moving}, {"landmarks": lines}


def make_other_prompts() -> ExamplePair:
    """A bent brain, and the template to be laid onto it, with words for a second registration."""
    random = np.random.default_rng(83)
    brain = load_template()
    bent = draw_deformation(random, brain.grid)[1].resample(brain.grid).warp(brain)
    fixed = simulate_scan(random, bent, axial_grid(150, 1.4, 120, 1.4, (4, 2, -6), BRAIN_CENTRE), 1.3, 400, 6.0)
    moving = simulate_scan(random, brain, axial_grid(144, 1.5, 116, 1.5, (0, 0, 0), BRAIN_CENTRE), 1.0, 160, 2.0)
    words = "left hippocampus = right hippocampus; left thalamus = right putamen"
    return {"fixed": fixed, "moving": moving}, {"prompts_b": words, "refine": False}


def make_raw_heads() -> ExamplePair:
    """Two made-up heads around the template, each bent at random, in other positions."""
    random = np.random.default_rng(97)
    fixed = simulate_sequence(random, make_head(random), PRE, axial_grid(150, 1.4, 124, 1.6, (5, -3, 4), (0, -16, -4)))
    moving = simulate_sequence(
        random,
        make_head(random),
        {**PRE, "grey": 60, "white": 88, "fat": 150},
        axial_grid(176, 1.2, 80, 2.4, (-9, 4, -8), (4, -12, -4)),
    )
    return {"fixed": fixed, "moving": moving}, {}


CASES: tuple[tuple[str, Callable[[], ExamplePair], str, str], ...] = (
    (
        "known_deformation",
        make_known_deformation,
        "A known deformation",
        f"An average brain, and the same bent by up to 10 mm, turned by 13° and shifted, on oblique slices of 2.2 mm "
        f"with another contrast. The truth is known at {LANDMARKS} points, so the error of the registration is too.",
    ),
    (
        "other_words",
        make_other_prompts,
        "One pair, two sets of words",
        "An average brain onto a bent one, twice: with the usual words (A), and with those of other regions for the "
        "left hippocampus and the left thalamus (B). Not refined, since refinement knows no words. Look at the view A "
        "to B.",
    ),
    (
        "raw_heads",
        make_raw_heads,
        "Whole heads from the scanner",
        "Two average brains, each bent at random, in made-up heads with skull and scalp, in different positions.",
    ),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--only", help="the name of one case")
    args = parser.parse_args()
    for name, make, title, about in CASES:
        if args.only not in (None, name):
            continue
        images, settings = make()
        write_case(args.out / name, "register_brain_textscf", (title, about, SOURCE), images, settings=settings)


if __name__ == "__main__":
    main()
