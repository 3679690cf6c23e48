"""Real FLAIR of people without MS, to paint lesions into: heads with a low-grade glioma, which is masked out.

DATA holds `lgg`, see `segment_glioma_ar2unet`; of its split, the part that AR2-UNet is trained on. The set gives no
positions: 240 mm fields of view are assumed, and that each study is HEAD_HEIGHT mm high.
"""

from pathlib import Path

import numpy as np
from scipy import ndimage

from medapp.algorithms.brain_pair import brain_mask
from medapp.analysis.mask_metrics import find_bounding_box
from medapp.imaging.geometry import resample, with_isotropic_spacing
from medapp.imaging.volume import Volume
from medapp.serving import runtime
from training.core.random_source import RandomSource
from training.data.glioma_patients import read_slices, split_patients
from training.data.labelled_brains import MARGIN
from training.data.ms_lesions import VENTRICLE, WHITE, transplant_lesions

FIELD_OF_VIEW, HEAD_HEIGHT = 240.0, 150.0  # mm
LARGEST_GAP = 9.0  # mm between slices that are still joined
LEAST_HEIGHT = 125.0  # mm: a lower slab is left out, since regions are not found well in it
LEAST_BRAIN = 300_000  # voxels of 1 mm
UNKNOWN_MARGIN = 6  # voxels about a glioma that are left out with it
TRANSPLANTS = 6  # patients with MS whose lesions each is given in turn


def list_heads(data: Path) -> list[str]:
    """Return the names of the heads in the part that AR2-UNet is trained on."""
    names = sorted(p.name for p in (data / "lgg").iterdir() if p.is_dir())
    return sorted(split_patients(names)["train"])


def longest_slab(folder: Path) -> tuple[list[Path], float]:
    """Return the longest run of slices close enough to be joined, and the mm from one slice number to the next.

    Positions are the numbers of the files; slices missing within a run are filled in by `interpolate_volumes`.
    """
    files = sorted(folder.glob("[0-9][0-9][0-9].jpg"))
    number = np.array([int(f.stem) for f in files])
    step = HEAD_HEIGHT / (number[-1] + number[0])
    breaks = np.flatnonzero(np.diff(number) * step > LARGEST_GAP) + 1
    runs = np.split(np.arange(len(files)), breaks)
    longest = max(runs, key=lambda run: number[run[-1]] - number[run[0]])
    return [files[k] for k in longest], step


def interpolate_volumes(folder: Path) -> dict[str, Volume] | None:
    """Return `flair`, `t1` and `glioma` at 1 mm along RAS, missing slices interpolated; None for too few slices."""
    files, step = longest_slab(folder)
    number = np.array([int(f.stem) for f in files])
    if (number[-1] - number[0]) * step < LEAST_HEIGHT:
        return None
    image, mask = (array.astype(np.float32) for array in read_slices(files))
    every = np.arange(number[0], number[-1] + 1)
    after = np.searchsorted(number, every).clip(1)
    before = after - 1
    share = ((every - number[before]) / (number[after] - number[before])).astype(np.float32)
    affine = np.diag([-FIELD_OF_VIEW / image.shape[1], -FIELD_OF_VIEW / image.shape[0], step, 1.0])

    def filled(array: np.ndarray) -> Volume:
        whole = array[..., before] * (1 - share) + array[..., after] * share
        given = Volume(whole.swapaxes(0, 1)[::-1, ::-1].copy(), np.abs(affine))
        return given.new_like(
            resample(given, grid := with_isotropic_spacing(given.grid, 1.0)).array, affine=grid.affine
        )

    return {"flair": filled(image[..., 1]), "t1": filled(image[..., 0]), "glioma": filled(mask)}


def load_head(data: Path, name: str, kept: Path) -> dict[str, np.ndarray] | None:
    """Arrays of one head without its skull, MARGIN voxels around the brain, or what was kept of that: `flair`, `t1`,
    `white`, `unknown`, `regions` (X, Y, Z) uint8; `lesions <patient>` (N, 3). None where too little of a brain is seen.

    T1 is zeros where the set repeats FLAIR in its place.
    """
    if not kept.exists():
        images = interpolate_volumes(data / "lgg" / name)
        arrays = _prepare_head(images, RandomSource(int(name.split("_")[2], 36)), data) if images else {}
        kept.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(kept, **arrays)
    arrays = dict(np.load(kept))
    return arrays or None


def _prepare_head(images: dict[str, Volume], rng: RandomSource, data: Path) -> dict[str, np.ndarray]:
    result = runtime.run("segment_anatomy_unet", images["flair"]).volumes
    tissue = result["labels"].array
    if (tissue > 0).sum() < LEAST_BRAIN:
        return {}
    brain = brain_mask((tissue > 0) | (images["glioma"].array > 0.5))  # as when served
    box = find_bounding_box(brain)
    tissue, brain = (np.pad(array[box], MARGIN) for array in (tissue, brain))
    cropped = {role: np.pad(volume.array[box], MARGIN) * brain for role, volume in images.items()}
    glioma = cropped["glioma"] > 0.1
    unknown = ndimage.distance_transform_edt(~glioma) <= UNKNOWN_MARGIN if glioma.any() else glioma
    depth = ndimage.distance_transform_edt(~VENTRICLE.numpy()[tissue])
    white = ndimage.gaussian_filter(WHITE.numpy()[tissue].astype(np.float32), 0.8)
    flair, t1 = (cropped[role] / np.percentile(cropped[role][brain], 99.8) * 250 for role in ("flair", "t1"))
    copied = np.corrcoef(flair[brain], t1[brain])[0, 1] > 0.98
    pictures = {"flair": flair, "t1": t1 * (not copied), "white": white * 255, "unknown": unknown * 255}
    arrays = {role: np.rint(array).clip(0, 255).astype(np.uint8) for role, array in pictures.items()}
    known = {
        who: index[~unknown[tuple(index.T)]]
        for who, index in transplant_lesions(data, tissue, depth, TRANSPLANTS, rng).items()
    }
    return arrays | {"regions": tissue} | {f"lesions {who}": index for who, index in known.items()}
