"""Heads to learn brain extraction from: skull-stripped brains, whole heads, and surroundings fitted to brains.

The brain includes the fluid of its sulci and ventricles: it is what is marked as brain, closed by CLOSING_MM. What is
made of DATA is kept in `runs/data`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from nilearn.datasets import load_mni152_brain_mask
from scipy import ndimage
from torch import Tensor

from medapp.algorithms.parcellation import fill_holes
from medapp.analysis.mask_metrics import find_bounding_box, label_components
from medapp.imaging.geometry import reorient, resample, with_isotropic_spacing
from medapp.imaging.volume import Volume
from medapp.io import files
from medapp.networks.unet3d import split_blocks
from medapp.serving import runtime
from training.core.data_cache import cache_folder
from training.data import labelled_brains, template_head
from training.data.brain_tissues import RIM
from training.data.package_files import COLIN27

CLOSING_MM = 3.0  # mm
STEP_MM = 0.25  # of kept distances
FAR_MM = 31.75  # mm, from where distances are kept no longer
FIRST_OUTSIDE_CODE = (
    43  # the first of CLUSTERS codes for what lies outside the brain in a real head, from dark to bright
)
CLUSTERS = 7
VENTRICLES = (3, 4, 11, 12, 22, 23)
PUSH_DECAY_MM = 12.0  # mm in which the push of widened ventricles fades


class Head(NamedTuple):
    """A head, axes along RAS; arrays (X, Y, Z) uint8, voxels of `step` mm, voxel 0 at (step - 1) / 2 mm of its box.

    `tissue` has the codes of `brain_tissues`, and those from FIRST_OUTSIDE_CODE on outside where `whole`; `near` is
    FAR_MM minus the signed distance from the brain, `inner` the depth below the surface of what is not fluid, both in
    steps of STEP_MM.
    `push` (3, ...) at 4 mm points away from the ventricles. `around` has other heads fitted round, at 2 mm.
    """

    image: Tensor
    tissue: Tensor
    near: Tensor
    inner: Tensor
    push: Tensor
    around: dict[str, Tensor]
    step: int
    whole: bool
    middle: Tensor  # mm, of the box round the brain
    half: Tensor  # mm, half its sides
    tail: Tensor  # mm, where the brain ends downwards


def close_mask(mask: np.ndarray, mm: float = CLOSING_MM) -> np.ndarray:
    """Close gaps narrower than twice `mm` millimetres in (X, Y, Z) bool at 1 mm, and fill holes."""
    out = np.zeros_like(mask)
    box = tuple(slice(max(s.start - 8, 0), s.stop + 8) for s in find_bounding_box(mask))
    part = np.pad(mask[box], 8)
    grown = ndimage.distance_transform_edt(~part) <= mm
    shrunk = (ndimage.distance_transform_edt(grown) > mm) | part
    out[box] = fill_holes(shrunk)[8:-8, 8:-8, 8:-8]
    return out


def signed_distance(mask: np.ndarray) -> np.ndarray:
    """Return the distance from the border of (X, Y, Z) bool in voxels, negative inside, 0 at the faces between."""
    out, within = ndimage.distance_transform_edt(~mask), ndimage.distance_transform_edt(mask)
    return np.where(mask, 0.5 - within, out - 0.5).astype(np.float32)


def read_stripped_brain(data: Path, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return T1, tissue and brain of a scan in `brain_t1`, (X, Y, Z) each, with a margin."""
    scan = labelled_brains.load_scan(data / "brain_t1", name)
    tissue = scan.tissue.numpy()
    return scan.image.numpy(), tissue, close_mask(tissue > 0)


def read_whole_head(data: Path, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return T1, tissue by brightness and brain of "colin" or of a scan in `heads` ("mass_T3"), (X, Y, Z) each."""
    if name == "colin":
        image = files.read([COLIN27.find()])
        mask = runtime.run("segment_anatomy_unet", image).volumes["brain"]
        near = load_mni152_brain_mask(resolution=1)
        near = Volume(ndimage.binary_dilation(np.asarray(near.dataobj) > 0, iterations=3).astype(np.uint8), near.affine)
        inside = mask.array * (resample(near, mask.grid).array > 0.5)
        core = label_components(ndimage.distance_transform_edt(inside) > 4)[0] == 1
        mask = mask.new_like(ndimage.distance_transform_edt(~core) < 4.2)
    else:
        image = files.read([data / "heads" / f"{name}_t1.nii.gz"])
        mask = files.read([data / "heads" / f"{name}_brain.nii.gz"])
    grid = with_isotropic_spacing(reorient(image.grid), 1.0)
    t1 = resample(image, grid).array
    inside = resample(Volume(mask.array.astype(np.float32), mask.affine), grid).array > 0.5
    t1 = np.pad(t1 * (200 / np.percentile(t1[inside], 95)), 8).clip(0, 255)
    brain = close_mask(np.pad(inside, 8))
    dark, bright = kmeans_borders(t1[brain], 3)
    tissue = np.where(brain, np.digitize(t1, (dark, bright)), 0)
    tissue = np.array([RIM, 2, 1], np.uint8)[tissue] * brain
    borders = kmeans_borders(t1[~brain & (t1 > 8)], CLUSTERS - 1)
    outside = np.where(
        t1 > 8, FIRST_OUTSIDE_CODE + 1 + np.digitize(t1, borders), np.where(t1 > 0, FIRST_OUTSIDE_CODE, 0)
    )
    tissue = np.where(brain, tissue, outside).astype(np.uint8)
    return np.rint(t1).astype(np.uint8), tissue, brain


def kmeans_borders(values: np.ndarray, count: int) -> np.ndarray:
    """Return the `count` - 1 borders between k-means clusters of brightness."""
    few = np.sort(values[:: max(1, len(values) // 50_000)])
    centres = np.percentile(few, (np.arange(count) + 0.5) * 100 / count)
    for _ in range(30):
        which = np.abs(few[:, None] - centres).argmin(1)
        centres = np.array([few[which == k].mean() if (which == k).any() else centres[k] for k in range(count)])
    centres.sort()
    return (centres[1:] + centres[:-1]) / 2


def encode_distance(distance: np.ndarray) -> np.ndarray:
    """Return a signed distance in mm as uint8, in steps of STEP_MM from FAR_MM on."""
    return np.rint((FAR_MM - distance) / STEP_MM).clip(0, 255).astype(np.uint8)


def ventricle_push(tissue: np.ndarray) -> np.ndarray:
    """Return vectors (3, X/4, Y/4, Z/4) float32 that point away from the ventricles, 1 beside them and fading."""
    ventricle = np.isin(tissue, VENTRICLES)
    if ventricle.sum() < 2000:
        return np.zeros((3, *(n // 4 for n in tissue.shape)), np.float32)
    depth = ndimage.distance_transform_edt(~ventricle).astype(np.float32)
    depth = F.avg_pool3d(torch.from_numpy(depth)[None], 4)[0].numpy()
    slope = np.stack(np.gradient(ndimage.gaussian_filter(depth, 0.7))) / 4
    return (slope * np.exp(-depth / PUSH_DECAY_MM)).astype(np.float32)


def load_head(data: Path, name: str, step: int, around: Sequence[str] = (), whole: bool = False) -> Head:
    """Return a head at `step` mm with those of `around` fitted round it, read anew or from the cache."""
    kept = cache_folder("brain", data) / f"{name}.npz"
    if not kept.exists():
        t1, tissue, brain = (read_whole_head if whole else read_stripped_brain)(data, name)
        far = signed_distance(brain)
        solid = brain & ~np.isin(tissue, (0, RIM, 40, *VENTRICLES))
        inner = ndimage.distance_transform_edt(solid | (ndimage.distance_transform_edt(brain) > 12))
        end = np.argwhere(brain)
        end = end[end[:, 2] < end[:, 2].min() + 5].mean(0)
        np.savez_compressed(
            kept, image=t1, tissue=tissue, near=encode_distance(far),
            inner=(inner / STEP_MM).clip(0, 255).astype(np.uint8),
            push=ventricle_push(tissue), tail=end.astype(np.float32),
            box=np.array([(s.start, s.stop) for s in find_bounding_box(brain)]),
        )  # fmt: skip
    arrays = {k: torch.from_numpy(v) for k, v in np.load(kept).items()}
    others = {who: torch.from_numpy(_load_fitted_head(data, name, who, arrays["near"].numpy())) for who in around}
    low, high = arrays.pop("box").float().T
    fields = [arrays[k] for k in ("image", "tissue", "near", "inner")]
    if step == 2:
        fields = [_downsample(x, k == 1) for k, x in enumerate(fields)]
    image, tissue, near, inner = fields
    middle, half = (low + high - 1) / 2, (high - low) / 2
    return Head(image, tissue, near, inner, arrays["push"], others, step, whole, middle, half, arrays["tail"])


def _downsample(x: Tensor, labels: bool) -> Tensor:
    """(X, Y, Z) uint8 on voxels twice as large: means, or of labels one of eight, another for each voxel."""
    x = x[tuple(slice(0, n - n % 2) for n in x.shape)]
    if not labels:
        return F.avg_pool3d(x[None].float(), 2)[0].round().byte()
    parts = split_blocks(x[None, None])[0]  # (8, ...)
    pick = torch.randint(8, parts.shape[1:], generator=torch.Generator().manual_seed(0))
    return parts.gather(0, pick[None])[0]


def _load_fitted_head(data: Path, name: str, other: str, near: np.ndarray) -> np.ndarray:
    """The head `other` fitted round the brain `name`, at 2 mm with ROOM, 0 where the other ends; kept."""
    kept = cache_folder("brain", data) / f"{name}_in_{other}.npy"
    if not kept.exists():
        brain = near > FAR_MM / STEP_MM
        head = template_head.average_head() if other == "average" else load_surroundings(data, other)
        np.save(kept, template_head.fit_head(brain, head))
    return np.load(kept)


def load_surroundings(data: Path, other: str) -> tuple[np.ndarray, np.ndarray]:
    """Return a real head and the signed distance from its brain, as `template_head.average_head` does."""
    whole = load_head(data, other, 1, whole=True)
    image, distance = whole.image.numpy().astype(np.float32), signed_distance(whole.near.numpy() > FAR_MM / STEP_MM)
    white = np.percentile(image[distance < -5], 75)
    return image * np.float32(template_head.WHITE_LEVEL / white), distance
