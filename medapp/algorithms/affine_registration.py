"""Affine registration of two heads by correlation, from many starts on a coarse grid to the best on a fine one."""

from collections.abc import Callable
from functools import partial
from itertools import product
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from nibabel.affines import from_matvec
from scipy import ndimage, optimize
from scipy.linalg import logm
from scipy.spatial.transform import Rotation
from torch import Tensor

from medapp.errors import InputError
from medapp.hardware import run_in_threads
from medapp.imaging.geometry import resample, with_isotropic_spacing
from medapp.imaging.volume import Volume

START_ROTATIONS = (-30, -15, 0, 15, 30)  # degrees about each axis
START_SHIFTS = (0, 25)  # mm along each axis, in both directions
REFINED_STARTS = 8  # the best starts, which are optimised
TURNED_STARTS = 24  # the same where the head may lie in any orientation
TURNED_ROTATIONS = (-20, 0, 20)  # degrees about each axis of each of the 24 orientations
ROTATION_ARM = 80.0  # mm of shift that weigh as much as a rotation by 1 rad
COARSE_SPACING = 8.0  # mm
COARSE_STEPS = 40  # of Adam on the coarse grid
LEARNING_RATE = 0.04  # the first, of Adam
FINE_LEVELS = ((4.0, 25), (2.0, 12))  # mm, and at most so many steps of L-BFGS
MAX_POINTS = 30_000  # at most, of the fixed image, that are compared
HEAD_MARGIN = 12.0  # mm around the head within which the points lie
MAX_IGNORED = 0.1  # share of a voxel that may be ignored for it to be compared
MIN_OVERLAP = 0.6  # share of points in the moving field of view, below which the score is reduced
TOP_PERCENTILE = 99.5  # of the head's intensities, that becomes 1


class Scan(NamedTuple):
    """A coarse image: `values` (D, H, W) from 0 to 1, `head` (D, H, W) bool, `affine` (4, 4) voxel index to RAS+ mm.

    `ignored` (D, H, W) is the share of each voxel that is not compared, None where all is.
    """

    values: Tensor
    head: Tensor
    affine: Tensor
    ignored: Tensor | None = None

    @property
    def centre(self) -> Tensor:
        """Centre of mass, (3,) in RAS+ mm."""
        index = self.head.nonzero().float()
        weight = self.values[self.head][:, None]
        return self.affine[:3, :3] @ ((index * weight).sum(0) / weight.sum()) + self.affine[:3, 3]


def register_affine(
    moving: Volume,
    fixed: Volume,
    device: str = "cpu",
    progress: Callable[[float], None] = lambda share: None,
    start: np.ndarray | None = None,
    margin: float = HEAD_MARGIN,
    ignored: tuple[Volume | None, Volume | None] = (None, None),
    *,
    in_any_orientation: bool = False,
) -> np.ndarray:
    """Estimate the affine (4, 4), 12 parameters, that maps fixed points to moving points, both in RAS+ mm.

    The images may lie on any grids; they need like contrast, both with or both without the skull. Once their centres of
    mass coincide, the heads may still be 30° and 30 mm apart, or lie `in_any_orientation`. With `start` (4, 4) no other
    start is tried. `margin` is how far (mm) around the fixed head images are compared: where it is short, a
    skull-stripped image can be registered to one with the skull, since fluid and bone are dark. `ignored` are masks of
    the moving and of the fixed image, in which nothing is compared. `progress` receives the share that is done. Raises
    InputError for an image that is empty.
    """
    with torch.inference_mode(False), torch.no_grad():
        finest = FINE_LEVELS[-1][0]
        resampled = run_in_threads(
            *(partial(resample, volume, with_isotropic_spacing(volume.grid, finest)) for volume in (fixed, moving))
        )
        inputs = list(zip(resampled, reversed(ignored), strict=True))
        target, source = (_to_scan(volume, COARSE_SPACING, device, mask) for volume, mask in inputs)
        centres = target.centre, source.centre
        if start is None:
            best = _search_starts(target, source, centres, margin, in_any_orientation)
        else:
            best = _affine_to_state(start, centres)
        for number, (spacing, steps) in enumerate(FINE_LEVELS, 1):
            progress(0.3 * number)
            target, source = (_to_scan(volume, spacing, device, mask) for volume, mask in inputs)
            best = _descend_lbfgs(best, _sample_points(target, margin), source, centres, steps)
        progress(1.0)
        matrix, shift = _state_to_affine(best, centres)
    return from_matvec(matrix[0].cpu().numpy().astype(float), shift[0].cpu().numpy().astype(float))


def _search_starts(
    target: Scan, source: Scan, centres: tuple[Tensor, Tensor], margin: float, in_any_orientation: bool
) -> Tensor:
    """Return the best start (1, 12), after a rigid optimisation of the most promising ones."""
    starts = _starting_states(target.values.device, in_any_orientation)
    comparison = *_sample_points(target, margin), source, centres
    score = torch.cat([_correlate(part, *comparison) for part in starts.split(64)])
    count = TURNED_STARTS if in_any_orientation else REFINED_STARTS
    best, score = _descend_adam(starts[score.topk(count).indices], *comparison)
    return best[score.argmax()][None]


def _to_scan(volume: Volume, spacing: float, device: str, ignored: Volume | None = None) -> Scan:
    """Resample to isotropic voxels of `spacing` mm, and find the head. Raises InputError if there is none.

    `ignored` is a mask of what is not compared.
    """
    resampled = resample(volume, with_isotropic_spacing(volume.grid, spacing))
    values = torch.tensor(resampled.array, dtype=torch.float32, device=device)
    values = (values - values.flatten().kthvalue(1 + values.numel() // 200).values).clamp_(min=0)
    head = values > 0.5 * values.mean()
    if not head.any():
        raise InputError(f"The {volume.name} is empty: every voxel has the same value.")
    inside = values[head]
    values = (values / inside.kthvalue(max(1, int(TOP_PERCENTILE / 100 * len(inside)))).values).clamp_(max=1)
    affine = torch.tensor(resampled.affine, dtype=torch.float32, device=device)
    if ignored is None:
        return Scan(values, head, affine)
    shares = resample(ignored.new_like(ignored.array.astype(np.float32), labels={}), resampled.grid)
    return Scan(values, head, affine, torch.tensor(shares.array, dtype=torch.float32, device=device))


def _starting_states(device: torch.device, in_any_orientation: bool) -> Tensor:
    """Return (S, 12): every combination of rotations, each of them shifted along one axis."""
    turns = [np.radians(angles) for angles in product(START_ROTATIONS, repeat=3)]
    if in_any_orientation:
        tilts = [Rotation.from_rotvec(angles, degrees=True) for angles in product(TURNED_ROTATIONS, repeat=3)]
        turns = [(tilt * turn).as_rotvec() for turn in Rotation.create_group("O") for tilt in tilts]
    shifts = {
        tuple(sign * mm * (axis == a) for a in range(3)) for mm in START_SHIFTS for sign in (1, -1) for axis in range(3)
    }
    rows = [[*turn, *np.divide(shift, ROTATION_ARM), *[0] * 6] for turn in turns for shift in sorted(shifts)]
    return torch.tensor(np.array(rows), dtype=torch.float32, device=device)


def _state_to_affine(state: Tensor, centres: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Return matrices (B, 3, 3) and shifts (B, 3) in mm of states (B, 12): rotation, shift, log scale, log shear."""
    x, y, z, _, _, _, a, b, c, d, e, f = state.unbind(1)
    rows = [torch.stack(row, 1) for row in ((a, d - z, e + y), (d + z, b, f - x), (e - y, f + x, c))]
    matrix = torch.linalg.matrix_exp(torch.stack(rows, 1))
    return matrix, centres[1] + ROTATION_ARM * state[:, 3:6] - matrix @ centres[0]


def _affine_to_state(affine: np.ndarray, centres: tuple[Tensor, Tensor]) -> Tensor:
    """Return the state (1, 12) of an affine (4, 4). Raises ValueError for one that mirrors."""
    if np.linalg.det(affine[:3, :3]) <= 0:
        raise ValueError("an affine that mirrors or flattens cannot be a start")
    m = np.real(logm(affine[:3, :3]))
    fixed_centre, moving_centre = (centre.cpu().numpy() for centre in centres)
    shift = affine[:3, :3] @ fixed_centre + affine[:3, 3] - moving_centre
    odd, even = (m - m.T) / 2, (m + m.T) / 2
    rotation, shear = (odd[2, 1], odd[0, 2], odd[1, 0]), (even[1, 0], even[0, 2], even[2, 1])
    row = [*rotation, *(shift / ROTATION_ARM), *np.diag(m), *shear]
    return torch.tensor([row], dtype=torch.float32, device=centres[0].device)


def _sample_points(target: Scan, margin: float) -> tuple[Tensor, Tensor]:
    """Return points (N, 3) in mm in and around the head of the fixed image, and its values there (N,)."""
    voxels = round(margin / float(target.affine[:3, 0].norm()))
    near = ndimage.maximum_filter(target.head.cpu().numpy(), 2 * voxels + 1)
    if target.ignored is not None:
        near &= (target.ignored < MAX_IGNORED).cpu().numpy()
    index = torch.tensor(np.argwhere(near), device=target.head.device)
    index = index[:: max(1, len(index) // MAX_POINTS)]
    values = target.values[index[:, 0], index[:, 1], index[:, 2]]
    return index.float() @ target.affine[:3, :3].T + target.affine[:3, 3], values


def _correlate(state: Tensor, points: Tensor, fixed: Tensor, source: Scan, centres: tuple[Tensor, Tensor]) -> Tensor:
    """Return the correlation (B,) of fixed and moving values under states (B, 12), less where little overlaps."""
    matrix, shift = _state_to_affine(state, centres)
    index = torch.linalg.inv(source.affine)
    last = torch.tensor(source.values.shape, device=state.device) - 1
    matrix = 2 / last[:, None] * (index[:3, :3] @ matrix)
    shift = 2 / last * (shift @ index[:3, :3].T + index[:3, 3]) - 1
    positions = points @ matrix.mT + shift[:, None]  # (B, N, 3), from -1 to 1 over the moving image
    inside = (positions.detach().abs() <= 1).all(-1)
    moved = F.grid_sample(source.values[None, None], positions.flip(-1)[None, :, :, None], align_corners=True)[
        0, 0, ..., 0
    ]
    compared = inside
    if source.ignored is not None:
        places = positions.detach().flip(-1)[None, :, :, None]
        compared = (
            inside & (F.grid_sample(source.ignored[None, None], places, align_corners=True) < MAX_IGNORED)[0, 0, ..., 0]
        )
    count = compared.sum(1, keepdim=True).clamp(min=1)
    a = torch.where(compared, fixed - (fixed * compared).sum(1, keepdim=True) / count, 0)
    b = torch.where(compared, moved - (moved * compared).sum(1, keepdim=True) / count, 0)
    score = (a * b).sum(1) / (a.square().sum(1) * b.square().sum(1) + 1e-12).sqrt()
    return score * (inside.float().mean(1) / MIN_OVERLAP).clamp(max=1)


def _descend_adam(
    state: Tensor, points: Tensor, fixed: Tensor, source: Scan, centres: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor]:
    """Return states (B, 12) rotated and shifted by Adam at a falling rate, and their correlation (B,)."""
    with torch.enable_grad():
        state = state.clone().requires_grad_()
        adam = torch.optim.Adam([state], LEARNING_RATE, betas=(0.8, 0.9))
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(adam, COARSE_STEPS)
        for _ in range(COARSE_STEPS):
            adam.zero_grad()
            score = _correlate(state, points, fixed, source, centres)
            (-score.sum()).backward()
            state.grad[:, 6:] = 0
            adam.step()
            scheduler.step()
    return state.detach(), score.detach()


def _descend_lbfgs(
    state: Tensor, comparison: tuple[Tensor, Tensor], source: Scan, centres: tuple[Tensor, Tensor], steps: int
) -> Tensor:
    """Return the state (1, 12) of the highest correlation nearby, after at most `steps` steps of L-BFGS."""

    def loss(row: np.ndarray) -> tuple[float, np.ndarray]:
        with torch.enable_grad():
            x = torch.tensor(row[None], dtype=torch.float32, device=state.device, requires_grad=True)
            (gradient,) = torch.autograd.grad(score := -_correlate(x, *comparison, source, centres).sum(), x)
        return score.item(), gradient[0].cpu().numpy().astype(float)

    optimum = optimize.minimize(loss, state[0].cpu().numpy(), jac=True, method="L-BFGS-B", options={"maxiter": steps})
    return torch.tensor(optimum.x[None], dtype=torch.float32, device=state.device)
