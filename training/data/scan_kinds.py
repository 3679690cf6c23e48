"""Scans of known kind to learn scan recognition from: real ones, made-up heads in any sequence, and what is no head.

DATA is laid out as for the methods: `lgg`, `brain_t1`, `heads`, `ms`, `ms_thick`, `restoration`. People of one part are
in no other. What is made of DATA is kept in `runs/data`.
"""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from scipy import ndimage

from medapp.algorithms.scan_recognition import NO_HEAD
from medapp.imaging.geometry import reorient, resample, with_isotropic_spacing
from medapp.imaging.scan_kinds import FLAIR, T1, T1_CONTRAST, T2
from medapp.imaging.volume import Volume
from medapp.io import files
from training.core.data_cache import cache_folder, write_atomically
from training.data.glioma_flair import FIELD_OF_VIEW, HEAD_HEIGHT
from training.data.glioma_patients import estimate_brain, read_slices, split_patients
from training.data.labelled_brains import list_scans, split_scans
from training.data.package_files import COLIN27
from training.data.restoration_sets import part_of, read_ct_slice, read_index

STEP = 2.0  # mm, of what is kept
HEADS = {"train": ("mass_T8", "mass_T13"), "validation": (), "test": ("mass_T3", "mass_T4")}
MS = {
    "train": ("openms_p07", "mslesseg_P18"),
    "validation": ("openms_p19",),
    "test": ("mslesseg_P14",),
}
COPIED = 0.98  # correlation from which a sequence is FLAIR repeated in the place of a missing one
CT_WINDOWS = ((-1000, 1000), (-160, 240), (-1000, 400), (-20, 100), (-1024, 3000))  # HU


class KindScan(NamedTuple):
    """A scan of a known kind: (X, Y, Z) uint8 along RAS in voxels of `step` mm.

    `brain` (X, Y, Z) bool is what is left where the skull is taken off, None where it cannot be or is already.
    """

    kind: str
    person: str
    image: np.ndarray
    step: float = STEP
    brain: np.ndarray | None = None


def to_bytes(array: np.ndarray) -> np.ndarray:
    """Scale values, without the few most extreme ones, to uint8."""
    low, high = np.percentile(array, (0.1, 99.9))
    return np.rint((array - low) * (255 / max(high - low, 1e-6))).clip(0, 255).astype(np.uint8)


def keep(data: Path, name: str, make: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Return arrays by name, made anew or from the cache."""
    kept = cache_folder("kinds", data) / f"{name}.npz"
    if not kept.exists():
        arrays = make()
        write_atomically(kept, lambda file: np.savez_compressed(file, **arrays))
    return dict(np.load(kept))


def read_image(file: Path) -> dict[str, np.ndarray]:
    """Read an image for `keep`."""
    return {"image": read_at_step(file)}


def read_at_step(file: Path) -> np.ndarray:
    """Read an image and return it along RAS in voxels of STEP, uint8."""
    volume = files.read([file])
    return to_bytes(resample(volume, with_isotropic_spacing(reorient(volume.grid), STEP)).array)


def read_glioma_patient(folder: Path) -> dict[str, np.ndarray]:
    """Return pre-contrast T1, FLAIR and post-contrast T1 of a patient of `lgg`, and the brain, in voxels of STEP.

    Slices that the set leaves out are interpolated; a study is taken to be HEAD_HEIGHT mm high.
    """
    names = sorted(folder.glob("[0-9][0-9][0-9].jpg"))
    number = np.array([int(name.stem) for name in names])
    step = HEAD_HEIGHT / (number[-1] + number[0])
    image, _ = read_slices(names)
    brain = estimate_brain(image[..., 1].transpose(2, 0, 1)).transpose(1, 2, 0)
    wanted = np.arange(number[0], number[-1] + 1e-6, STEP / step)
    after = np.searchsorted(number, wanted).clip(1, len(number) - 1)
    share = ((wanted - number[after - 1]) / (number[after] - number[after - 1])).astype(np.float32)

    def placed(array: np.ndarray) -> np.ndarray:
        between = array[..., after - 1] * (1 - share) + array[..., after] * share  # rows from the front, columns from R
        width = round(FIELD_OF_VIEW / STEP)
        zoom = (width / array.shape[0], width / array.shape[1], 1)
        small = ndimage.zoom(ndimage.gaussian_filter(between, (0.8, 0.8, 0)), zoom, order=1)
        return small.swapaxes(0, 1)[::-1, ::-1]

    arrays = {
        kind: to_bytes(placed(image[..., c].astype(np.float32))) for c, kind in enumerate((T1, FLAIR, T1_CONTRAST))
    }
    return arrays | {"brain": placed(brain.astype(np.float32)) > 0.5}


def glioma_scans(data: Path, part: str) -> Iterator[KindScan]:
    """Yield the sequences of `lgg` that were acquired, of each patient of a part."""
    names = sorted(p.name for p in (data / "lgg").iterdir() if p.is_dir())
    for name in split_patients(names)[part]:
        arrays = keep(data, f"{name}_whole", partial(read_glioma_patient, data / "lgg" / name))
        brain = arrays.pop("brain")
        for kind, image in arrays.items():
            others = [other for k, other in arrays.items() if k != kind and kind != FLAIR]
            if not any(np.corrcoef(image.ravel()[::7], other.ravel()[::7])[0, 1] > COPIED for other in others):
                yield KindScan(kind, name, image, STEP, brain)


def head_scans(data: Path, part: str) -> Iterator[KindScan]:
    """Yield T1 of brains and of whole heads, and what there is of MS."""
    for name in split_scans(list_scans(data / "brain_t1"))[part]:
        path = data / "brain_t1" / f"{name}_t1.nii.gz"
        yield KindScan(T1, name, keep(data, name, partial(read_image, path))["image"])
    for name in HEADS[part]:

        def read_head(name: str = name) -> dict[str, np.ndarray]:
            mask = read_at_step(data / "heads" / f"{name}_brain.nii.gz") > 127
            return {"image": read_at_step(data / "heads" / f"{name}_t1.nii.gz"), "brain": mask}

        arrays = keep(data, name, read_head)
        yield KindScan(T1, name, arrays["image"], STEP, arrays["brain"])
    if part == "train":
        yield KindScan(T1, "colin", keep(data, "colin", lambda: read_image(COLIN27.find()))["image"])
    for name in MS[part]:
        for word, kind in (("flair", FLAIR), ("t1", T1)):
            path = next((data / "ms").glob(f"{name}*_{word}.nii.gz"))
            yield KindScan(kind, name, keep(data, path.name, partial(read_image, path))["image"])
    thick = sorted((data / "ms_thick").glob("*_flair.nii.gz"))
    for path in {"train": thick[:1], "validation": [], "test": thick[1:]}[part]:
        image = keep(data, path.name, partial(read_image, path))["image"]
        yield KindScan(FLAIR, path.name.split("_flair")[0], image)


def t2_slices(data: Path) -> KindScan:
    """Return the one real T2 there is, every fourth of its slices, as a scan; it is only tested on."""
    names = sorted((data / "restoration" / "mri").glob("fnndsc_t2_*.jp2"))
    stack = np.stack([np.asarray(Image.open(name)).astype(np.float32) for name in names], 2)
    volume = Volume(stack.swapaxes(0, 1)[::-1, ::-1], np.diag([0.43, 0.43, 8.0, 1.0]))
    grid = with_isotropic_spacing(volume.grid, STEP)
    return KindScan(T2, "fnndsc_t2", to_bytes(resample(volume, grid).array))


def body_scans(data: Path, part: str) -> Iterator[KindScan]:
    """Yield CT of chests and abdomens in several windows and a PET, which are no heads."""
    entries = [e for e in read_index(data / "restoration", "ct") if part_of("ct", e["patient"]) == part]
    for person in sorted({e["patient"] for e in entries} - {"invesalius-Cranium"}):
        own = [e for e in entries if e["patient"] == person]
        slices = [read_ct_slice(data / "restoration" / e["file"]) for e in own]
        shape = np.max([s.shape for s in slices], axis=0)
        padded = [
            np.pad(s, [(0, n - m) for n, m in zip(shape, s.shape, strict=True)], constant_values=-1000) for s in slices
        ]
        stack = np.stack((padded * (1 + 24 // len(padded)))[: max(24, len(padded))], 2)
        stack = stack.swapaxes(0, 1)[::-1, ::-1]
        volume = Volume(stack, np.diag([own[0]["pixel_mm"], own[0]["pixel_mm"], 6.0, 1.0]))
        grid = with_isotropic_spacing(volume.grid, STEP)
        hu = resample(volume, grid, outside=-1000.0).array
        for number, window in enumerate(CT_WINDOWS):
            yield KindScan(NO_HEAD, f"{person}/{number}", to_bytes(hu.clip(*window)))
    if part == "train":
        (pet,) = (data / "restoration" / "pet").glob("*.npz")
        arrays = np.load(pet)
        values = next(arrays[k] for k in arrays.files if arrays[k].ndim == 3).astype(np.float32)
        yield KindScan(NO_HEAD, "pet", to_bytes(np.sqrt(values.transpose(2, 1, 0)[:, ::-1].clip(0))), 4.0)


def real_scans(data: Path, part: str) -> list[KindScan]:
    """Return all real scans of a part: "train", "validation" or "test"."""
    scans = [*glioma_scans(data, part), *head_scans(data, part), *body_scans(data, part)]
    return [*scans, t2_slices(data)] if part == "test" else scans
