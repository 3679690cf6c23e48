"""Makes the examples of brain extraction: `python -m training.examples.make_brain [--out DIR] [--only NAME]`.

One is a real head that a package ships, on other voxels; the other is synthetic.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from nibabel.affines import from_matvec
from nibabel.eulerangles import euler2mat

from medapp.imaging.volume import Grid, Volume
from training.data.package_files import COLIN27
from training.data.synthetic_head import FLAIR, make_head, simulate_sequence
from training.examples.make_real import draw_head
from training.examples.make_synthetic_heads import (
    LICENCE,
    SOURCE,
    axial_grid,
    requested_recipes,
    write_facts,
    write_nifti,
)

PIPELINE = "segment_brain_unet"


@dataclass(frozen=True)
class Recipe:
    """A case before it is made; `make()` gives its image."""

    name: str
    make: Callable[[], Volume]
    title: str
    about: str
    source: str
    licence: str
    synthetic: bool


def draw_real_head() -> Volume:
    """Colin27 on sagittal slices of 2 mm in a turned position, with fewer levels of grey."""
    turn = euler2mat(*np.deg2rad((7, -4, 10))) @ np.array([[0, 0, 2.0], [1.25, 0, 0], [0, -1.25, 0]])
    shape = (168, 160, 84)
    middle = np.array([0.0, -18, 12])
    return draw_head(Grid(shape, from_matvec(turn, middle - turn @ (np.array(shape) - 1) / 2)))


def draw_synthetic_flair() -> Volume:
    """A synthetic head in FLAIR on oblique slices of 6 mm, int16."""
    random = np.random.default_rng(71)
    grid = axial_grid(200, 1.15, 30, 6.0, (-11, 5, 6), (2, -16, 6))
    return simulate_sequence(random, make_head(random), FLAIR, grid)


RECIPES = (
    Recipe(
        "whole_head_colin27",
        draw_real_head,
        "Brain mask: a real head, T1",
        "One man, 27 scans averaged (Colin27), on sagittal slices of 1.25 × 1.25 × 2 mm in a turned position. The "
        "networks were trained on this head: it shows what they do and is no evidence of quality.",
        f"training/examples/make_brain.py, from {COLIN27}",
        COLIN27.licence,
        synthetic=False,
    ),
    Recipe(
        "whole_head_thick_flair",
        draw_synthetic_flair,
        "Brain mask: FLAIR, 6 mm slices",
        "Oblique slices of 1.15 × 1.15 × 6 mm of a brain bent at random, in a made-up head.",
        SOURCE.replace("make_synthetic_heads", "make_brain"),
        LICENCE,
        synthetic=True,
    ),
)


def write_recipe(folder: Path, recipe: Recipe) -> None:
    """Write the image and `case.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    write_nifti(recipe.make(), folder / "image.nii.gz")
    case = {
        "pipeline": PIPELINE,
        "title": recipe.title,
        "about": f"Synthetic. {recipe.about}" if recipe.synthetic else recipe.about,
        "files": {"image": "image.nii.gz"},
        "synthetic": recipe.synthetic,
        "source": recipe.source,
        "licence": recipe.licence,
    }
    write_facts(folder, case)


if __name__ == "__main__":
    for folder, recipe in requested_recipes(__doc__, RECIPES):
        write_recipe(folder, recipe)
