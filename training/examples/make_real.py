"""Makes the examples of real people: `python -m training.examples.make_real [--out DIR] [--only NAME]`.

They come from images that packages ship under licences that allow it (`training.data.package_files`): a whole head,
a section stained with H&E, a CT slice. What is simulated about them, dose or pixel size, the case says.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from nibabel.affines import from_matvec
from nibabel.eulerangles import euler2mat
from PIL import Image

from medapp.imaging.geometry import resample, to_display_slices
from medapp.imaging.volume import Grid, Volume
from medapp.io import files
from medapp.simulation import low_dose_ct, microscopy
from training.data.package_files import ABDOMEN_CT, COLIN27, SKIN_SLIDE, PackageFile
from training.examples.make_restoration import to_picture, to_slab
from training.examples.make_synthetic_heads import axial_grid, requested_recipes, write_facts, write_nifti

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
LEVELS = 127  # of grey, in the brightest percentile of a head
FIELD = (880, 1620, 360)  # of the slide: left, top and side in pixels
SLICE_MM = 1.0  # between the slices of the CT series
Images = dict[str, Volume]


@dataclass(frozen=True)
class Recipe:
    """A case before it is made; `make()` gives its images by name, "reference" is what to compare with."""

    name: str  # of the folder, below that of the task
    pipeline: str
    title: str
    look: str
    about: str
    origin: PackageFile
    make: Callable[[], Images]
    settings: dict[str, str] = field(default_factory=dict)


def draw_head(grid: Grid) -> Volume:
    """Colin27 on a grid, with fewer levels of grey so that the file is small."""
    head = files.read([COLIN27.find()])
    values = resample(head, grid).array * (LEVELS / np.percentile(head.array, 99))
    return Volume(np.rint(values).astype(np.int16), grid.affine)


def make_sagittal_head() -> Images:
    """The head on sagittal slices of 1.6 mm, turned."""
    turn = euler2mat(*np.deg2rad((-5, 6, -8))) @ np.array([[0, 0, 1.6], [1.6, 0, 0], [0, -1.6, 0]])
    shape = (128, 128, 102)
    middle = np.array([0.0, -18, 4])
    return {"image": draw_head(Grid(shape, from_matvec(turn, middle - turn @ (np.array(shape) - 1) / 2)))}


def make_axial_head() -> Images:
    """The head on oblique axial slices of 1.2 × 1.2 × 3 mm, and the empty mask of what there is to be found."""
    grid = axial_grid(176, 1.2, 56, 3.0, (-9, 3, 4), (0, -18, 2))
    nothing = Volume(np.zeros(grid.shape, np.int16), grid.affine)
    return {"image": draw_head(grid), "reference": nothing}


def make_quarter_dose() -> Images:
    """The CT slice at a quarter of its dose, and as it was taken."""
    scan = files.read([ABDOMEN_CT.find()])
    full = np.ascontiguousarray(to_display_slices(scan.array, scan.grid)[0].astype(np.float32))
    pixel = float(scan.grid.spacing[0])
    low = low_dose_ct.lower_dose(full, pixel, 0.25, seed=5)
    return {name: to_slab(a, pixel, SLICE_MM, "HU") for name, a in (("image", low), ("reference", full))}


def make_section() -> Images:
    """A field of the slide with pixels twice as large, and as it was scanned."""
    left, top, side = FIELD
    with Image.open(SKIN_SLIDE.find()) as slide:
        sharp = np.asarray(slide.convert("RGB").crop((left, top, left + side, top + side)), np.float32) / 255
    return {"image": to_picture(microscopy.degrade_picture(sharp, 2)), "reference": to_picture(sharp)}


RECIPES = (
    Recipe(
        "segmentation/regions_real_head", "segment_anatomy_unet", "Real head, healthy: regions",
        "A whole head as scanned, with its skull.",
        "One man, 27 scans averaged (Colin27), on turned sagittal slices of 1.6 mm. Nobody has drawn its regions; the "
        "network was not trained on it.",
        COLIN27, make_sagittal_head,
    ),
    Recipe(
        "segmentation/stroke_real_head", "segment_stroke_raxnet", "Real head, healthy: no stroke",
        "Nothing to find: the right answer is 0 ml.",
        "The same head (Colin27) on oblique axial slices of 1.2 × 1.2 × 3 mm. It has no stroke, and the networks were "
        "not trained on it.",
        COLIN27, make_axial_head,
    ),
    Recipe(
        "restoration/ct_real_quarter_dose", "restore_ct_rat", "Real CT, simulated 1/4 dose",
        "Noise simulated on a real slice, then removed.",
        "A slice of a person's abdomen with contrast agent, taken at full dose; the noise of a quarter of the dose is "
        "simulated, and the slice as it was taken is there to compare with. It has noise of its own.",
        ABDOMEN_CT, make_quarter_dose,
    ),
    Recipe(
        "restoration/pathology_real", "restore_pathology_rat", "Real H&E, 2 times finer",
        "Real skin: nuclei become sharper. Move the line.",
        "Skin, scanned at 20 times (half the magnification of the training data) and compressed; pixels made twice as "
        "large, and the field as it was scanned to compare with.",
        SKIN_SLIDE, make_section,
    ),
)  # fmt: skip


def write_case(folder: Path, recipe: Recipe) -> None:
    """Write the images, int16 NIfTI without a time stamp or PNG, and `case.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    names = {}
    for name, image in recipe.make().items():
        names[name] = f"{name}.png" if image.is_colour else f"{name}.nii.gz"
        if image.is_colour:
            Image.fromarray(image.array[:, :, 0].swapaxes(0, 1)).save(folder / names[name], optimize=True)
        else:
            write_nifti(image.new_like(np.rint(image.array)), folder / names[name])
    case = {
        "pipeline": recipe.pipeline,
        "title": recipe.title,
        "look": recipe.look,
        "about": recipe.about,
        "files": {"image": names["image"]},
        **({"reference": names["reference"]} if "reference" in names else {}),
        **({"settings": recipe.settings} if recipe.settings else {}),
        "synthetic": False,
        "source": f"training/examples/make_real.py, from {recipe.origin}",
        "sha256": recipe.origin.sha256,
        "licence": recipe.origin.licence,
    }
    write_facts(folder, case)


if __name__ == "__main__":
    for folder, recipe in requested_recipes(__doc__, RECIPES, EXAMPLES):
        write_case(folder, recipe)
        print(recipe.name)
