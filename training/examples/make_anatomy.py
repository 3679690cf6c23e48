"""Makes the examples for the regions of the brain: `python -m training.examples.make_anatomy [--out DIR]`."""

import argparse
from pathlib import Path

import numpy as np
from nibabel.affines import from_matvec
from nibabel.eulerangles import euler2mat
from nilearn.datasets import load_mni152_template

from medapp.imaging.geometry import resample
from medapp.imaging.volume import Grid, Volume
from training.data.synthetic_head import PRE, make_head, simulate_sequence
from training.examples.make_synthetic_heads import OUT, axial_grid, write_case

SOURCE = "training/examples/make_anatomy.py, from the ICBM 152 nonlinear symmetric 2009a template that nilearn ships"


def draw_template() -> Volume:
    """The template, without its skull, on sagittal slices of 1.2 mm in a turned position, int16."""
    image = load_mni152_template(resolution=1)
    volume = Volume(np.asarray(image.dataobj, np.float32), image.affine)
    turn = euler2mat(*np.deg2rad((6, -5, 12))) @ np.array([[0, 0, 1.2], [1.2, 0, 0], [0, -1.2, 0]])
    shape = (160, 136, 128)
    middle = np.array([0.0, -16, 12])
    grid = Grid(shape, from_matvec(turn, middle - turn @ (np.array(shape) - 1) / 2))
    resampled = resample(volume, grid).array
    return Volume(np.rint(resampled / resampled.max() * 200).astype(np.int16), grid.affine)


def draw_whole_head() -> Volume:
    """A made-up head around the template, bent at random, on axial slices of 1.1 × 1.1 × 3 mm, int16."""
    random = np.random.default_rng(51)
    return simulate_sequence(random, make_head(random), PRE, axial_grid(208, 1.1, 58, 3.0, (-8, 3, -4), (0, -16, 0)))


CASES = (
    (
        "regions_template",
        draw_template,
        "Regions: average brain",
        "The average of 152 brains on sagittal slices of 1.2 mm, turned: what is found should be even on both sides.",
    ),
    (
        "regions_thick_slices",
        draw_whole_head,
        "Regions: head, 3 mm slices",
        "Axial slices of 1.1 × 1.1 × 3 mm of a brain bent at random, in a made-up head.",
    ),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    for name, make, title, about in CASES:
        write_case(args.out / name, "segment_anatomy_unet", (title, about, SOURCE), {"image": make()})


if __name__ == "__main__":
    main()
