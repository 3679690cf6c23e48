"""Makes the cases in examples/restoration: `python -m training.examples.make_restoration [--out DIR] [--only NAME]`.

Every case is made from its own seed and from what dependencies ship, so the command gives the same images again.
"""

import gzip
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import nibabel as nib
import numpy as np
from PIL import Image
from scipy import ndimage

from medapp.imaging.geometry import resample, to_display_slices
from medapp.imaging.volume import Grid, Volume
from medapp.simulation import low_count_pet, low_dose_ct, microscopy
from training.data.torso import draw_abdomen
from training.examples.make_synthetic_heads import requested_recipes, write_facts

OUT = Path(__file__).resolve().parents[2] / "examples" / "restoration"
OURS = "Apache-2.0"
MNI = "Apache-2.0; the template is copyright 1993-2009 Louis Collins, McConnell Brain Imaging Centre (see NOTICE)"
SKIMAGE = "scikit-image's sample picture immunohistochemistry: colonic glands, a gift of the Center for Microscopy " + (
    "and Molecular Imaging (CMMI)"
)
FREE = "No known copyright restrictions"
Files = dict[str, Volume | Path]


@dataclass(frozen=True)
class Recipe:
    """A case before it is made; `make(folder)` gives its files by name; "reference" is what to compare with."""

    name: str
    pipeline: str
    title: str
    about: str
    source: str
    licence: str
    make: Callable[[], Files]
    synthetic: bool = True
    settings: dict[str, str] = field(default_factory=dict)


def make_phantom_ct(sharp: bool) -> Files:
    """A slice of the abdomen at a quarter of the dose, and the same slice without noise."""
    pixel = 0.72
    clean = draw_abdomen(512, pixel, seed=3 if sharp else 1)
    kernel, photons = ("sharp", 2e6) if sharp else ("soft", 1.2e6)
    noisy = low_dose_ct.lower_dose(clean, pixel, 0.25, kernel, seed=5, photons=photons)
    return {"image": to_slab(noisy, pixel, 3.0, "HU"), "reference": to_slab(clean, pixel, 3.0, "HU")}


def make_small_ct() -> Files:
    """The DICOM slice that pydicom ships."""
    from pydicom.data import get_testdata_file

    return {"image": Path(str(get_testdata_file("CT_small.dcm", download=False)))}


def make_brain_pet(fraction: float, slices: tuple[int, ...]) -> Files:
    """Slices of a brain's uptake at a share of the counts, and at all of them."""
    activity = draw_uptake()
    stack = np.moveaxis(to_display_slices(activity.array, activity.grid), 0, 0)[list(slices)]
    full = low_count_pet.lower_counts(stack, 2.0, 0.999, counts=2e6, seed=7)
    few = low_count_pet.lower_counts(full, 2.0, fraction, counts=2e6, seed=9)
    step = float(slices[1] - slices[0]) * 2.0 if len(slices) > 1 else 4.0
    return {n: to_slab(a, 2.0, step, "Bq/ml") for n, a in (("image", few), ("reference", full))}


def draw_uptake() -> Volume:
    """Glucose uptake (Bq/ml) on voxels of 2 mm from the tissue maps that nilearn ships, smoothed as a scanner would."""
    from nilearn.datasets import load_mni152_gm_template, load_mni152_template, load_mni152_wm_template

    maps = [f(resolution=1) for f in (load_mni152_gm_template, load_mni152_wm_template, load_mni152_template)]
    grey, white, head = (np.asarray(m.dataobj, np.float32) for m in maps)
    grey, white = grey / grey.max(), white / white.max()
    scalp = ndimage.binary_dilation(head > 0.1 * head.max(), iterations=7) & ~(head > 0.1 * head.max())
    activity = 22_000 * grey + 6_000 * white + 2_000 * scalp
    lesion = sum(((a - c) / 7) ** 2 for a, c in zip(np.indices(grey.shape), (128, 150, 100), strict=True)) < 1
    activity = np.where(lesion & (grey + white > 0.5), 1.5 * activity + 4_000, activity)
    fine = Volume(ndimage.gaussian_filter(activity, 2.2), maps[0].affine, unit="Bq/ml")
    low = fine.grid.to_mm(np.zeros(3))
    return resample(
        fine, Grid((100, 118, 96), np.array([[2, 0, 0, low[0]], [0, 2, 0, low[1]], [0, 0, 2, low[2]], [0, 0, 0, 1.0]]))
    )


def restain(corner: tuple[int, int], side: int) -> np.ndarray:
    """(side, side, 3) float32, 0 to 1: a part of the IHC picture, its brown stain drawn as the pink of eosin."""
    from skimage import color, data

    part = data.immunohistochemistry()[corner[0] : corner[0] + side, corner[1] : corner[1] + side]
    stains = color.rgb2hed(part)
    eosin = np.array([0.07, 0.99, 0.11])
    nuclei = np.array([0.65, 0.70, 0.29])
    density = 1.25 * stains[..., :1] * nuclei + (1.1 * stains[..., 2:] + 0.25 * stains[..., :1]) * eosin
    return np.clip(np.exp(-density * 7.5), 0, 1).astype(np.float32)


def make_pathology(corner: tuple[int, int], side: int, scale: int, stain: bool = True) -> Files:
    """A picture with pixels `scale` times larger, and the sharp one."""
    from skimage import data

    whole = data.immunohistochemistry()[corner[0] : corner[0] + side, corner[1] : corner[1] + side]
    sharp = restain(corner, side) if stain else whole.astype(np.float32) / 255
    return {"image": to_picture(microscopy.degrade_picture(sharp, scale)), "reference": to_picture(sharp)}


def to_slab(array: np.ndarray, pixel: float, thick: float, unit: str) -> Volume:
    """(H, W) or (N, H, W) upright slices as a volume with columns to the left and rows to the back, in the middle."""
    stack = np.moveaxis(array.reshape(-1, *array.shape[-2:]), 0, 2).swapaxes(0, 1)
    spacing = np.array([-pixel, -pixel, thick])
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = -spacing * (np.array(stack.shape) - 1) / 2
    return Volume(stack, affine, unit=unit)


def to_picture(rgb: np.ndarray) -> Volume:
    """(H, W, 3) from 0 to 1 as a picture's volume."""
    return Volume(np.rint(rgb * 255).astype(np.uint8).swapaxes(0, 1)[:, :, None], np.diag([-1.0, -1, 1, 1]))


RECIPES = (
    Recipe(
        "ct_abdomen_quarter_dose", "restore_ct_rat", "Abdomen, quarter dose, soft",
        "A drawn abdomen, 512 × 512 pixels of 0.72 mm, with faint lesions in the liver; noise of a quarter of the "
        "dose, and the same slice without noise to compare with.",
        "training/examples/make_restoration.py, drawn from nothing", OURS, lambda: make_phantom_ct(False),
    ),
    Recipe(
        "ct_abdomen_sharp_kernel", "restore_ct_rat", "Abdomen, quarter dose, sharp",
        "Another drawn abdomen, reconstructed with a sharp kernel, so that the noise is finer and stronger.",
        "training/examples/make_restoration.py, drawn from nothing", OURS, lambda: make_phantom_ct(True),
    ),
    Recipe(
        "ct_small_dicom", "restore_ct_rat", "A real DICOM slice, 128 × 128",
        "A slice of a real CT as DICOM; there is no clean image to compare with.",
        "CT_small.dcm of pydicom's test files", "MIT, as pydicom", make_small_ct, synthetic=False,
    ),
    Recipe(
        "pet_brain_tenth", "restore_pet_rat", "Brain PET, 1/10 of the counts",
        "Uptake drawn on the tissue maps of a template brain, with one hot spot; a tenth of the counts, and all of "
        "them to compare with. Superpixels, so that the slices take seconds.",
        "training/examples/make_restoration.py, from the ICBM 152 tissue maps that nilearn ships", MNI,
        lambda: make_brain_pet(0.1, tuple(range(30, 66, 3))), settings={"regions": "superpixels", "counts": "1/10"},
    ),
    Recipe(
        "pet_brain_slice_twentieth", "restore_pet_rat", "PET slice, 1/20 of the counts",
        "One slice of the same drawn brain, through the hot spot, with a twentieth of the counts.",
        "training/examples/make_restoration.py, from the ICBM 152 tissue maps that nilearn ships", MNI,
        lambda: make_brain_pet(0.05, (50,)), settings={"counts": "1/20"},
    ),
    Recipe(
        "pathology_twice", "restore_pathology_rat", "H&E-like glands, 2 times finer",
        "A real section of colon, its brown stain redrawn as eosin; pixels twice as large as the sharp picture's, "
        "which is there to compare with.",
        SKIMAGE, FREE, lambda: make_pathology((0, 150), 360, 2),
    ),
    Recipe(
        "pathology_four_times", "restore_pathology_rat", "H&E-like glands, 4 times finer",
        "Another part of the same section; pixels four times as large as the sharp picture's.",
        SKIMAGE, FREE, lambda: make_pathology((152, 0), 360, 4), settings={"scale": "4"},
    ),
    Recipe(
        "pathology_other_stain", "restore_pathology_rat", "Not H&E: the warning",
        "The section in its own stains, haematoxylin and DAB, which the method was not trained on.",
        SKIMAGE, FREE, lambda: make_pathology((0, 150), 360, 2, stain=False), synthetic=False,
    ),
)  # fmt: skip


def write_case(folder: Path, recipe: Recipe) -> None:
    """Make the case and write it: int16 NIfTI without a time stamp, PNG, or a copy; and `case.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    names = {}
    for name, made in recipe.make().items():
        names[name] = f"{name}{made.suffix if isinstance(made, Path) else '.png' if made.is_colour else '.nii.gz'}"
        if isinstance(made, Path):
            shutil.copyfile(made, folder / names[name])
        elif made.is_colour:
            Image.fromarray(made.array[:, :, 0].swapaxes(0, 1)).save(folder / names[name], optimize=True)
        else:
            image = nib.Nifti1Image(np.rint(made.array).astype(np.int16), made.affine)
            image.header.set_xyzt_units("mm")
            (folder / names[name]).write_bytes(gzip.compress(image.to_bytes(), 9, mtime=0))
    case = {
        "pipeline": recipe.pipeline,
        "title": recipe.title,
        "about": f"{'Synthetic. ' if recipe.synthetic else ''}{recipe.about}",
        "files": {n: f for n, f in names.items() if n != "reference"},
        **({"reference": names["reference"]} if "reference" in names else {}),
        **({"settings": recipe.settings} if recipe.settings else {}),
        "synthetic": recipe.synthetic,
        "source": recipe.source,
        "licence": recipe.licence,
    }
    write_facts(folder, case)


def main() -> None:
    for folder, recipe in requested_recipes(__doc__, RECIPES, OUT):
        write_case(folder, recipe)
        print(recipe.name)


if __name__ == "__main__":
    main()
