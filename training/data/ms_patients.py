"""Patients with MS, heads with a glioma and healthy brains, cached at 1 mm along RAS.

DATA/ms holds patients at 1 mm without skull, DATA/ms_thick others as clinics scan them, with the skull in thick slices:
`SET_PERSON_flair.nii.gz` and `_mask`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from nilearn.datasets import load_mni152_wm_template
from scipy import ndimage
from torch import Tensor

from medapp.algorithms.anatomical_priors import TISSUE_TABLE, template_transform
from medapp.algorithms.brain_pair import CLOSING_ITERATIONS, brain_mask
from medapp.algorithms.parcellation import make_working_grid
from medapp.algorithms.slice_slabs import split_slices
from medapp.analysis.mask_metrics import find_bounding_box
from medapp.imaging.background import zero_background
from medapp.imaging.geometry import reorient, resample, with_isotropic_spacing
from medapp.imaging.intensity import correct_bias_field
from medapp.imaging.volume import Volume
from medapp.io import files
from medapp.serving import runtime
from training.core.data_cache import cache_folder
from training.core.random_source import RandomSource
from training.data import glioma_flair, labelled_brains
from training.data.brain_heads import close_mask
from training.data.brain_tissues import TISSUE_CLASS
from training.data.labelled_brains import MARGIN, STEP_MM
from training.data.ms_lesions import CORNER, VENTRICLE, WHITE, transplant_lesions
from training.data.scanner import resample_thick

TRANSPLANTS = 10  # patients whose lesions each brain is given in turn


class TransplantBrain(NamedTuple):
    """A brain without lesions, and where other people's would lie in it; all (X, Y, Z) as in `LabelledScan`."""

    scan: labelled_brains.LabelledScan
    depth: Tensor  # from the ventricles, in steps of STEP_MM
    transplants: dict[str, Tensor]  # patient -> indices (N, 3) of lesion voxels
    template_affine: Tensor | None  # (4, 4) from voxels to RAS+ mm of the template


class RealPatient(NamedTuple):
    """A real head: (X, Y, Z) uint8 each, 1 mm, axes along RAS, MARGIN voxels around the brain.

    `t1` is zeros where there is none. `slice_mm` is how thick its slices are; heads in thick ones have the skull.
    """

    patient: str
    flair: Tensor
    t1: Tensor
    lesions: Tensor  # 0 or 255
    white: Tensor  # probability of white matter, 255 = 1
    unknown: Tensor  # 255 where nothing is learned
    lesion_points: Tensor  # (M, 3), a voxel of each of its lesions
    regions: dict[str, Tensor]  # classes as the parcellation network finds them in FLAIR, "thick" slices of it, and T1
    transplants: dict[str, Tensor]  # as of a `TransplantBrain`
    template_affine: Tensor | None
    distance: Tensor  # from the brain, in steps of STEP_MM
    slice_mm: float = 1.0


def list_patients(data: Path) -> list[str]:
    """Return the scans of real patients, SET_PATIENT or SET_PATIENT_TIME each: FLAIR, T1 and mask, in MNI space."""
    return sorted(file.name.removesuffix("_flair.nii.gz") for file in (data / "ms").glob("*_flair.nii.gz"))


def person_of(name: str) -> str:
    """Return the person of a scan: `P14` for `mslesseg_P14_T2`."""
    return name.split("_")[1]


def list_clinical(data: Path) -> list[str]:
    """Return the scans of DATA/ms_thick, SET_PERSON each."""
    return sorted(file.name.removesuffix("_flair.nii.gz") for file in (data / "ms_thick").glob("*_flair.nii.gz"))


def read_clinical(data: Path, name: str) -> tuple[Volume, Volume]:
    """Return FLAIR and mask of a person in DATA/ms_thick."""
    flair, mask = (files.read([data / "ms_thick" / f"{name}_{role}.nii.gz"]) for role in ("flair", "mask"))
    return flair, mask.new_like((mask.array > 0).astype(np.uint8), labels={1: "lesion"})


def load_brain(data: Path, name: str) -> TransplantBrain:
    """Return a brain and transplanted lesions, made anew or from the cache."""
    scan = labelled_brains.load_scan(data / "brain_t1", name)
    kept = cache_folder("ms", data) / f"{name}.npz"
    if not kept.exists():
        rng = RandomSource(int(name))
        tissue = scan.tissue.numpy()
        ventricle = VENTRICLE.numpy()[tissue]
        box, depth = find_bounding_box(tissue > 0), np.full(tissue.shape, np.inf)
        depth[box] = ndimage.distance_transform_edt(~ventricle[box])
        arrays = {"depth": (depth / STEP_MM).clip(0, 255).astype(np.uint8)}
        arrays |= transplant_lesions(data, tissue, depth, TRANSPLANTS, rng)
        np.savez_compressed(kept, **arrays)
    arrays = {k: torch.from_numpy(v) for k, v in np.load(kept).items()}
    return TransplantBrain(scan, arrays.pop("depth"), arrays, _template_affine(TISSUE_CLASS[scan.tissue.long()]))


def parcellation_cache(data: Path) -> Path:
    """Return the cache folder for real heads with the regions that the current weights find in them."""
    return cache_folder("ms", data, runtime.find_card("segment_anatomy_unet").weights.sha256)


def read_patient(data: Path, name: str) -> tuple[Volume, Volume, Volume]:
    """Return FLAIR, T1 and mask of a real patient."""
    flair, t1, mask = (files.read([data / "ms" / f"{name}_{role}.nii.gz"]) for role in ("flair", "t1", "mask"))
    return flair, t1, mask.new_like((mask.array > 0).astype(np.uint8), labels={1: "lesion"})


def load_patient(data: Path, name: str, bank: Mapping[str, np.ndarray] | None = None) -> RealPatient:
    """Return a patient, read anew or from the cache; `bank` has the lesions of others, see `read_mask_bank`."""
    kept = parcellation_cache(data) / f"{name}.npz"
    if not kept.exists():
        scans = dict(zip(("flair", "t1", "mask"), read_patient(data, name), strict=True))
        grid = with_isotropic_spacing(reorient(scans["flair"].grid), 1.0)
        image = load_mni152_wm_template(resolution=1)
        scans["white"] = Volume(np.asarray(image.dataobj, np.float32) * 255, image.affine)
        for role in ("flair", "t1"):
            scans[f"regions_{role}"] = runtime.run("segment_anatomy_unet", scans[role]).volumes["labels"]
        scans["regions_thick"] = runtime.run("segment_anatomy_unet", resample_thick(scans["flair"])).volumes["labels"]
        resampled = {role: resample(volume, grid).array for role, volume in scans.items()}
        resampled["mask"] = resampled["mask"] * 255
        box = find_bounding_box(resampled["flair"] > 0)
        arrays = {k: np.pad(np.rint(v[box]).clip(0, 255).astype(np.uint8), MARGIN) for k, v in resampled.items()}
        low = grid.affine[:3, 3] + [s.start - MARGIN for s in box] - CORNER
        np.savez_compressed(kept, low=low.round().astype(int), **arrays)
    arrays = np.load(kept)
    others = {who: torch.from_numpy(index - arrays["low"]) for who, index in (bank or {}).items()}
    regions = {role: torch.from_numpy(arrays[f"regions_{role}"]) for role in ("flair", "t1", "thick")}
    flair, t1 = (correct_shading(arrays[role], regions[role].numpy()) for role in ("flair", "t1"))
    mask, white = (torch.from_numpy(arrays[role]) for role in ("mask", "white"))
    unknown, home = torch.zeros_like(mask), _template_affine(regions["flair"])
    far = encode_distance(arrays["regions_flair"] > 0)
    return RealPatient(
        person_of(name), flair, t1, mask, white, unknown, lesion_points(mask), regions, others, home, far
    )


def load_clinical(data: Path, name: str) -> RealPatient:
    """Return a person of DATA/ms_thick with regions and shading as when served, read anew or from the cache."""
    kept = parcellation_cache(data) / f"{name}.npz"
    if not kept.exists():
        flair, mask = read_clinical(data, name)
        flair = zero_background(flair)
        grid = make_working_grid(flair)
        regions = resample(runtime.run("segment_anatomy_unet", flair).volumes["labels"], grid).array
        inside = brain_mask(regions > 0)
        image = correct_bias_field(resample(split_slices(flair), grid).array.clip(0), TISSUE_TABLE[0][regions])
        white = ndimage.gaussian_filter(WHITE.numpy()[regions].astype(np.float32), 0.8)
        share = resample(split_slices(Volume(mask.array.astype(np.float32), mask.affine)), grid).array
        pictures = {"flair": image / np.median(image[white > 0.6]) * 100, "mask": share * 255, "white": white * 255}
        arrays = {role: np.rint(array).clip(0, 255).astype(np.uint8) for role, array in pictures.items()}
        box = find_bounding_box(inside)
        arrays = {role: np.pad(array, MARGIN)[grow_box(box)] for role, array in (arrays | {"regions": regions}).items()}
        depth = ndimage.distance_transform_edt(~VENTRICLE.numpy()[arrays["regions"]])
        moved = transplant_lesions(data, arrays["regions"], depth, TRANSPLANTS, RandomSource(int(person_of(name))))
        arrays |= {f"lesions {who}": index for who, index in moved.items()}
        np.savez_compressed(kept, slice_mm=max(flair.spacing), **arrays)
    arrays = {role: torch.from_numpy(array) for role, array in np.load(kept).items()}
    slice_mm = float(arrays.pop("slice_mm"))
    flair, mask, white, regions = (arrays.pop(role) for role in ("flair", "mask", "white", "regions"))
    others = {role.split()[1]: index for role, index in arrays.items()}
    none, home, far = torch.zeros_like(flair), _template_affine(regions), encode_distance(regions.numpy() > 0)
    return RealPatient(
        person_of(name), flair, none, mask, white, none, lesion_points(mask), {"flair": regions}, others, home, far,
        slice_mm,
    )  # fmt: skip


def grow_box(box: tuple[slice, ...]) -> tuple[slice, ...]:
    """Return a box of an array with MARGIN voxels around it, in the array padded by as many."""
    return tuple(slice(side.start, side.stop + 2 * MARGIN) for side in box)


def load_glioma(data: Path, name: str) -> RealPatient | None:
    """Return a head with a glioma, in whose surroundings nothing is known; None if the set has too few slices of it."""
    arrays = glioma_flair.load_head(data, name, parcellation_cache(data) / f"{name}.npz")
    if arrays is None:
        return None
    flair, t1 = (correct_shading(arrays.pop(role), arrays["regions"]) for role in ("flair", "t1"))
    white, unknown, regions = (torch.from_numpy(arrays.pop(role)) for role in ("white", "unknown", "regions"))
    others = {role.split()[1]: torch.from_numpy(index) for role, index in arrays.items()}
    region_maps = {"flair": regions, "t1": regions}
    none, home, far = torch.zeros_like(flair), _template_affine(regions), encode_distance(regions.numpy() > 0)
    return RealPatient(name, flair, t1, none, white, unknown, lesion_points(none), region_maps, others, home, far)


def correct_shading(image: np.ndarray, regions: np.ndarray) -> Tensor:
    """Return (X, Y, Z) uint8 without shading, as the pipeline corrects it."""
    return torch.from_numpy(np.rint(correct_bias_field(image, TISSUE_TABLE[0][regions])).clip(0, 255).astype(np.uint8))


def encode_distance(brain: np.ndarray) -> Tensor:
    """Return the distance (X, Y, Z) uint8 from a brain, bool, its gaps and holes filled, in steps of STEP_MM."""
    closed = close_mask(brain, CLOSING_ITERATIONS)
    return torch.from_numpy((ndimage.distance_transform_edt(~closed) / STEP_MM).clip(0, 255).astype(np.uint8))


def lesion_points(lesions: Tensor) -> Tensor:
    """Return a voxel (M, 3) of each lesion of (X, Y, Z) 0 or 255."""
    labels, count = ndimage.label(lesions.numpy())
    places = ndimage.maximum_position(labels, labels, np.arange(1, count + 1)) if count else []
    return torch.tensor(places, dtype=torch.long).reshape(-1, 3)


def _template_affine(regions: Tensor) -> Tensor | None:
    """(4, 4) from voxels to RAS+ mm of the template; classes (X, Y, Z)."""
    matrix = template_transform(Volume(regions.numpy(), np.eye(4)))
    return None if matrix is None else torch.from_numpy(matrix).float()
