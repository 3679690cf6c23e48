"""Makes the synthetic brain MRI in examples/segmentation.

`python -m training.examples.make_synthetic_heads [--out DIR]`.

Every case is made from its own seed, so the command gives the same images again.
"""

import argparse
import gzip
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.affines import from_matvec
from nibabel.eulerangles import euler2mat
from PIL import Image
from scipy import ndimage

from medapp.imaging.geometry import resample
from medapp.imaging.volume import Grid, Volume
from training.data.synthetic_head import FLAIR, POST, PRE, Lesion, make_head, simulate_sequence

OUT = Path(__file__).resolve().parents[2] / "examples" / "segmentation"
SOURCE = (
    "training/examples/make_synthetic_heads.py, from the ICBM 152 nonlinear symmetric 2009a template that nilearn ships"
)
LICENCE = "Apache-2.0; the template is copyright 1993-2009 Louis Collins, McConnell Brain Imaging Centre (see NOTICE)"


def axial_grid(
    side: int, pixel: float, slices: int, thick: float, turn: Sequence[float], centre: Sequence[float]
) -> Grid:
    """A stack as a scanner stores it: columns to the left, rows to the back; `turn` is degrees about x, y and z."""
    x, y, z = np.deg2rad(turn)
    matrix = euler2mat(z, y, x) @ np.diag([-pixel, -pixel, thick])
    shape = (side, side, slices)
    return Grid(shape, from_matvec(matrix, np.array(centre) - matrix @ (np.array(shape) - 1) / 2))


@dataclass(frozen=True)
class Recipe:
    """A case before it is made; `sequences` maps an input's name to brightness, grid and uptake at the rim."""

    name: str
    seed: int
    lesion: Lesion | None
    sequences: dict[str, tuple[dict[str, float], Grid, float]]
    title: str
    about: str


STRAIGHT = axial_grid(240, 1.0, 26, 5.0, (6, 1, -2), (1, -17, 14))
OBLIQUE = axial_grid(192, 1.2, 21, 6.0, (-14, 4, 6), (0, -14, 12))
OBLIQUE_FINER = axial_grid(208, 1.08, 25, 5.0, (-14, 4, 6), (1, -15, 13))
RECIPES = (
    Recipe(
        "flair_frontal",
        11,
        Lesion((28, 32, 26), (21, 27, 21)),
        {"flair": (FLAIR, STRAIGHT, 0)},
        "FLAIR alone, right frontal",
        "26 axial slices of 1 × 1 × 5 mm; an abnormality is painted in the right frontal lobe.",
    ),
    Recipe(
        "three_sequences_temporal",
        23,
        Lesion((-46, -14, -14), (17, 29, 18), push=0.15),
        {"t1": (PRE, OBLIQUE, 0), "flair": (FLAIR, OBLIQUE_FINER, 0), "t1ce": (POST, OBLIQUE, 70)},
        "Three sequences, left temporal",
        "Oblique slices, T1 before and after contrast on another grid than FLAIR; an abnormality that takes up a "
        "little contrast is painted in the left temporal lobe.",
    ),
    Recipe(
        "no_lesion",
        37,
        None,
        {"flair": (FLAIR, STRAIGHT, 0)},
        "FLAIR alone, nothing to find",
        "26 axial slices of 1 × 1 × 5 mm of a brain in which nothing is painted: the right answer is 0 ml.",
    ),
)


def make_case(recipe: Recipe) -> tuple[dict[str, Volume], Volume]:
    """The sequences of a case, and the reference on the grid of its FLAIR."""
    random = np.random.default_rng(recipe.seed)
    anatomy = make_head(random, recipe.lesion)
    images = {name: simulate_sequence(random, anatomy, *sequence) for name, sequence in recipe.sequences.items()}
    painted = resample(Volume(outline_lesion(anatomy.tissue["lesion"]), anatomy.affine), images["flair"].grid)
    return images, painted.new_like((painted.array >= 0.5).astype(np.uint8), labels={1: "painted abnormality"})


def outline_lesion(lesion: np.ndarray) -> np.ndarray:
    """The largest piece of the painted lesion as a person would outline it: with the folds and vessels inside it."""
    closed = ndimage.binary_fill_holes(ndimage.binary_closing(lesion >= 0.5, iterations=3))
    pieces, count = ndimage.label(closed)
    return (
        (pieces == 1 + np.argmax(np.bincount(pieces.ravel())[1:])) * np.float32(1) if count else np.zeros_like(lesion)
    )


def write_glioma_case(folder: Path, recipe: Recipe, images: dict[str, Volume], reference: Volume) -> None:
    """Write the images, the reference and `case.json` of a case of glioma."""
    write_case(folder, "segment_glioma_ar2unet", (recipe.title, recipe.about, SOURCE), images, reference)


def write_case(
    folder: Path,
    pipeline: str,
    texts: tuple[str, str, str],
    images: Mapping[str, Volume],
    reference: Volume | None = None,
    **more: Any,
) -> None:
    """Write the images, the painted reference if there is one, and `case.json`.

    `texts` are the title, what the case is about, and where it comes from; `more` goes into `case.json` as it is.
    """
    title, about, source = texts
    folder.mkdir(parents=True, exist_ok=True)
    case: dict[str, Any] = {
        "pipeline": pipeline,
        "title": title,
        "about": f"Synthetic. {about}",
        "files": {name: f"{name}.nii.gz" for name in images},
    }
    if reference is not None:
        images = {**images, "reference": reference}
        case |= {
            "reference": "reference.nii.gz",
            "reference_about": "The outline of what was painted; no person drew it.",
        }
    case |= {**more, "synthetic": True, "source": source, "licence": LICENCE}
    for name, volume in images.items():
        write_nifti(volume, folder / f"{name}.nii.gz")
    write_facts(folder, case)


def write_facts(folder: Path, case: dict[str, Any]) -> None:
    """Write `case.json`; what to look at, which is written by hand, stays."""
    file = folder / "case.json"
    look = json.loads(file.read_text(encoding="utf-8")).get("look") if file.exists() else None
    facts = case | ({"look": look} if look else {})
    file.write_text(json.dumps(facts, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def write_nifti(volume: Volume, path: Path) -> None:
    """Write a volume as int16, gzip without a time stamp, so that the bytes repeat."""
    image = nib.Nifti1Image(np.asarray(volume.array, np.int16), volume.affine)
    image.header.set_xyzt_units("mm")
    image.set_qform(volume.affine, 1)
    image.set_sform(volume.affine, 1)
    path.write_bytes(gzip.compress(image.to_bytes(), 9, mtime=0))


def write_sheet(path: Path, images: dict[str, Volume], reference: Volume) -> None:
    """A sheet of slices to look at: a row per sequence, and one of FLAIR with the outline of what is painted."""
    columns = np.linspace(1, reference.shape[2] - 2, 8).round().astype(int)
    rows = []
    for volume in (*images.values(), images["flair"]):
        grey = resample(volume, reference.grid).array.astype(np.float32)
        grey = np.clip(grey / np.percentile(grey, 99.5), 0, 1)
        rows.append(np.hstack([grey[:, :, k].T for k in columns]))
    outline = reference.array - ndimage.binary_erosion(reference.array, np.ones((3, 3, 1)))
    rows[-1] = np.maximum(rows[-1], np.hstack([outline[:, :, k].T for k in columns]))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((np.vstack(rows) * 255).astype(np.uint8)).save(path)


def requested_recipes(about: str, recipes: Sequence[Any], out: Path = OUT) -> Iterator[tuple[Path, Any]]:
    """The folder of each case and its recipe, which has a `name`: all, or the one that the command line names."""
    parser = argparse.ArgumentParser(description=about.splitlines()[0])
    parser.add_argument("--out", type=Path, default=out)
    parser.add_argument("--only", help="the name of one case")
    args = parser.parse_args()
    for recipe in recipes:
        if args.only in (None, recipe.name):
            yield args.out / recipe.name, recipe


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--pictures", type=Path, help="also write sheets of slices there")
    parser.add_argument("--only", help="the name of one case")
    args = parser.parse_args()
    for recipe in RECIPES:
        if args.only in (None, recipe.name):
            images, reference = make_case(recipe)
            write_glioma_case(args.out / recipe.name, recipe, images, reference)
            print(f"{recipe.name}: {reference.array.sum() * reference.grid.voxel_ml:.1f} ml painted")
            if args.pictures:
                write_sheet(args.pictures / f"{recipe.name}.png", images, reference)


if __name__ == "__main__":
    main()
