"""Affine alignment of two heads by correlation: many starts on a coarse grid, the best descended to a fine one."""

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
from torch import Tensor

from medapp.errors import InputError
from medapp.hardware import run_in_threads
from medapp.imaging.geometry import resample, with_isotropic_spacing
from medapp.imaging.volume import Volume

START_ROTATIONS = (-30, -15, 0, 15, 30)  # degrees about each axis, from which the search starts
START_SHIFTS = (0, 25)  # mm along each axis, either way, likewise
REFINED_STARTS = 8  # starts that are descended
ROTATION_ARM = 80.0  # mm: a turn by 1 rad and a shift by ARM count alike in the descent
COARSE_SPACING = 8.0  # mm
COARSE_STEPS = 40  # of Adam on the coarse grid
LEARNING_RATE = 0.04  # the first, of Adam
FINE_LEVELS = ((4.0, 25), (2.0, 12))  # mm, and at most so many steps of L-BFGS
MAX_POINTS = 30_000  # of the fixed image, at most, that are compared
HEAD_MARGIN = 12.0  # mm around the head within which they lie
MIN_OVERLAP = 0.6  # share of them in the moving field of view below which a start counts less
TOP_PERCENTILE = 99.5  # percentile of the head's intensities that becomes 1


class Scan(NamedTuple):
    """A coarse image: `values` (D, H, W) from 0 to 1, `head` (D, H, W) bool, `affine` (4, 4) voxel index to RAS+ mm."""

    values: Tensor
    head: Tensor
    affine: Tensor

    @property
    def centre(self) -> Tensor:
        """(3,) centre of mass in RAS+ millimetres."""
        index = self.head.nonzero().float()
        weight = self.values[self.head][:, None]
        return self.affine[:3, :3] @ ((index * weight).sum(0) / weight.sum()) + self.affine[:3, 3]


def register_affine(
    moving: Volume,
    fixed: Volume,
    device: str = "cpu",
    progress: Callable[[float], None] = lambda share: None,
    start: np.ndarray | None = None,
    reach: float = HEAD_MARGIN,
) -> np.ndarray:
    """(4, 4) that sends fixed to moving points, RAS+ millimetres to RAS+ millimetres, with 12 parameters.

    Any two grids of heads of like contrast, both with the skull or both without. After the centres of mass lie upon
    each other the heads may still be 30° and 30 mm apart; with an affine to `start` from, nothing else is tried.
    `progress` is told the share that is done. Within a short `reach` (mm) around the fixed one, fluid and bone are as
    dark as nothing: then it may be without skull and the other with. Raises InputError for an image that is empty.
    """
    with torch.inference_mode(False), torch.no_grad():
        finest = FINE_LEVELS[-1][0]
        drawn = run_in_threads(
            *(partial(resample, volume, with_isotropic_spacing(volume.grid, finest)) for volume in (fixed, moving))
        )
        target, source = (_to_scan(volume, COARSE_SPACING, device) for volume in drawn)
        centres = target.centre, source.centre
        best = _search_starts(target, source, centres, reach) if start is None else _affine_to_state(start, centres)
        for number, (spacing, steps) in enumerate(FINE_LEVELS, 1):
            progress(0.3 * number)
            target, source = (_to_scan(volume, spacing, device) for volume in drawn)
            best = _descend_lbfgs(best, _sample_points(target, reach), source, centres, steps)
        progress(1.0)
        turn, shift = _state_to_affine(best, centres)
    return from_matvec(turn[0].cpu().numpy().astype(float), shift[0].cpu().numpy().astype(float))


def _search_starts(target: Scan, source: Scan, centres: tuple[Tensor, Tensor], reach: float) -> Tensor:
    """(1, 12): the best of the starts, those that look well descended without stretching."""
    starts = _starting_states(target.values.device)
    looks = *_sample_points(target, reach), source, centres
    score = torch.cat([_correlate(part, *looks) for part in starts.split(64)])
    best, score = _descend_adam(starts[score.topk(REFINED_STARTS).indices], *looks)
    return best[score.argmax()][None]


def _to_scan(volume: Volume, spacing: float, device: str) -> Scan:
    drawn = resample(volume, with_isotropic_spacing(volume.grid, spacing))
    values = torch.tensor(drawn.array, dtype=torch.float32, device=device)
    values = (values - values.flatten().kthvalue(1 + values.numel() // 200).values).clamp_(min=0)
    head = values > 0.5 * values.mean()
    if not head.any():
        raise InputError(f"The {volume.name} is empty: every voxel has the same value.")
    inside = values[head]
    values = (values / inside.kthvalue(max(1, int(TOP_PERCENTILE / 100 * len(inside)))).values).clamp_(max=1)
    return Scan(values, head, torch.tensor(drawn.affine, dtype=torch.float32, device=device))


def _starting_states(device: torch.device) -> Tensor:
    """(S, 12): every combination of turns, and each of them shifted along one axis."""
    shifts = {
        tuple(sign * mm * (axis == a) for a in range(3)) for mm in START_SHIFTS for sign in (1, -1) for axis in range(3)
    }
    rows = [
        [*np.radians(t), *np.divide(s, ROTATION_ARM), *[0] * 6]
        for t in product(START_ROTATIONS, repeat=3)
        for s in sorted(shifts)
    ]
    return torch.tensor(np.array(rows), dtype=torch.float32, device=device)


def _state_to_affine(state: Tensor, centres: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Matrices (B, 3, 3) and shifts (B, 3) in millimetres, from (B, 12): turn, shift / ARM, log stretch, log shear."""
    x, y, z, _, _, _, a, b, c, d, e, f = state.unbind(1)
    rows = [torch.stack(row, 1) for row in ((a, d - z, e + y), (d + z, b, f - x), (e - y, f + x, c))]
    turn = torch.linalg.matrix_exp(torch.stack(rows, 1))
    return turn, centres[1] + ROTATION_ARM * state[:, 3:6] - turn @ centres[0]


def _affine_to_state(affine: np.ndarray, centres: tuple[Tensor, Tensor]) -> Tensor:
    """(1, 12) whose `_moves` are an affine (4, 4); raises ValueError for one that mirrors."""
    if np.linalg.det(affine[:3, :3]) <= 0:
        raise ValueError("an affine that mirrors or flattens is no start")
    m = np.real(logm(affine[:3, :3]))
    one, other = (centre.cpu().numpy() for centre in centres)
    shift = affine[:3, :3] @ one + affine[:3, 3] - other
    odd, even = (m - m.T) / 2, (m + m.T) / 2
    turn, shear = (odd[2, 1], odd[0, 2], odd[1, 0]), (even[1, 0], even[0, 2], even[2, 1])
    row = [*turn, *(shift / ROTATION_ARM), *np.diag(m), *shear]
    return torch.tensor([row], dtype=torch.float32, device=centres[0].device)


def _sample_points(target: Scan, reach: float) -> tuple[Tensor, Tensor]:
    """Points (N, 3) in millimetres in and around the head of the fixed image, and its values there (N,)."""
    voxels = round(reach / float(target.affine[:3, 0].norm()))
    near = ndimage.maximum_filter(target.head.cpu().numpy(), 2 * voxels + 1)
    index = torch.tensor(np.argwhere(near), device=target.head.device)
    index = index[:: max(1, len(index) // MAX_POINTS)]
    values = target.values[index[:, 0], index[:, 1], index[:, 2]]
    return index.float() @ target.affine[:3, :3].T + target.affine[:3, 3], values


def _correlate(state: Tensor, points: Tensor, fixed: Tensor, source: Scan, centres: tuple[Tensor, Tensor]) -> Tensor:
    """(B,) correlation of fixed and moving values under each of the states (B, 12), less where little overlaps."""
    turn, shift = _state_to_affine(state, centres)
    index = torch.linalg.inv(source.affine)
    last = torch.tensor(source.values.shape, device=state.device) - 1
    turn = 2 / last[:, None] * (index[:3, :3] @ turn)
    shift = 2 / last * (shift @ index[:3, :3].T + index[:3, 3]) - 1
    place = points @ turn.mT + shift[:, None]  # (B, N, 3), from -1 to 1 over the moving image
    there = (place.detach().abs() <= 1).all(-1)
    moved = F.grid_sample(source.values[None, None], place.flip(-1)[None, :, :, None], align_corners=True)[0, 0, ..., 0]
    count = there.sum(1, keepdim=True).clamp(min=1)
    a = torch.where(there, fixed - (fixed * there).sum(1, keepdim=True) / count, 0)
    b = torch.where(there, moved - (moved * there).sum(1, keepdim=True) / count, 0)
    score = (a * b).sum(1) / (a.square().sum(1) * b.square().sum(1) + 1e-12).sqrt()
    return score * (there.float().mean(1) / MIN_OVERLAP).clamp(max=1)


def _descend_adam(
    state: Tensor, points: Tensor, fixed: Tensor, source: Scan, centres: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor]:
    """States (B, 12), turned and shifted by so many steps of Adam at a falling rate, and their correlation (B,)."""
    with torch.enable_grad():
        state = state.clone().requires_grad_()
        adam = torch.optim.Adam([state], LEARNING_RATE, betas=(0.8, 0.9))
        fall = torch.optim.lr_scheduler.CosineAnnealingLR(adam, COARSE_STEPS)
        for _ in range(COARSE_STEPS):
            adam.zero_grad()
            score = _correlate(state, points, fixed, source, centres)
            (-score.sum()).backward()
            state.grad[:, 6:] = 0
            adam.step()
            fall.step()
    return state.detach(), score.detach()


def _descend_lbfgs(
    state: Tensor, looks: tuple[Tensor, Tensor], source: Scan, centres: tuple[Tensor, Tensor], steps: int
) -> Tensor:
    """The state (1, 12) where the correlation is highest nearby, by at most so many steps of L-BFGS."""

    def missing(row: np.ndarray) -> tuple[float, np.ndarray]:
        with torch.enable_grad():
            x = torch.tensor(row[None], dtype=torch.float32, device=state.device, requires_grad=True)
            (gradient,) = torch.autograd.grad(score := -_correlate(x, *looks, source, centres).sum(), x)
        return score.item(), gradient[0].cpu().numpy().astype(float)

    found = optimize.minimize(missing, state[0].cpu().numpy(), jac=True, method="L-BFGS-B", options={"maxiter": steps})
    return torch.tensor(found.x[None], dtype=torch.float32, device=state.device)
