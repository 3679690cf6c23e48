"""Synthetic heads: the MNI template deformed at random, with skull, scalp and lesion, and their simulated scans."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from nibabel.affines import from_matvec
from nilearn.datasets import load_mni152_gm_template, load_mni152_template, load_mni152_wm_template
from scipy import ndimage

from medapp.imaging.geometry import resample
from medapp.imaging.volume import Grid, Volume

NOISE = 2.2  # standard deviation in stored units; white matter lies near 60 to 85
MARGIN = 18  # voxels around the template, for skull and scalp

# Brightness of each tissue. FLAIR: fluid dark, grey matter a little over white. T1: white over grey; contrast agent
# brightens vessels and mucosa.
FLAIR: dict[str, float] = {
    "white": 62,
    "grey": 75,
    "fluid": 9,
    "bone": 8,
    "fat": 150,
    "muscle": 46,
    "vessel": 14,
    "lesion": 124,
}
PRE: dict[str, float] = {
    "white": 84,
    "grey": 65,
    "fluid": 20,
    "bone": 10,
    "fat": 185,
    "muscle": 50,
    "vessel": 24,
    "lesion": 53,
}
POST: dict[str, float] = PRE | {"grey": 68, "vessel": 120, "muscle": 66, "lesion": 56}


@dataclass(frozen=True)
class Lesion:
    """What is painted: centre (RAS+ millimetres of the template), half axes in millimetres, and how far it pushes."""

    centre: tuple[float, float, float]
    axes: tuple[float, float, float]
    push: float = 0.25


@dataclass(frozen=True, eq=False)
class SyntheticHead:
    """The share that each tissue has of every voxel, (I, J, K) float32 each, on 1 mm voxels placed by `affine`."""

    tissue: dict[str, np.ndarray]
    affine: np.ndarray


def make_head(random: np.random.Generator, lesion: Lesion | None = None) -> SyntheticHead:
    """A head like no other; the lesion, if there is one, keeps to one hemisphere and mostly out of the fluid."""
    template = load_mni152_template(resolution=1)
    images = (template, load_mni152_gm_template(resolution=1), load_mni152_wm_template(resolution=1))
    t1, grey, white = (np.pad(np.asarray(i.dataobj, np.float32), MARGIN) for i in images)
    affine = template.affine @ from_matvec(np.eye(3), [-MARGIN] * 3)
    shape = t1.shape
    index = np.indices(shape, dtype=np.float32)
    mm = index * _as_vector_field(np.diag(affine)[:3]) + _as_vector_field(
        affine[:3, 3]
    )  # RAS+ millimetres of the template

    shift = np.stack(
        [3.0 * _smooth_noise(random, shape, 55) + 1.1 * _smooth_noise(random, shape, 22) for _ in range(3)]
    )
    shift += mm * _as_vector_field(random.uniform(-0.04, 0.04, 3))
    if lesion:  # what lies around it has moved outwards
        away = mm - _as_vector_field(lesion.centre)
        reach = _as_vector_field(lesion.axes)
        shift -= lesion.push * away * np.exp(-((away / (1.5 * reach)) ** 2).sum(0))
    t1, grey, white = (ndimage.map_coordinates(a / a.max(), index + shift, order=1) for a in (t1, grey, white))

    brain = _smoothstep(ndimage.gaussian_filter((t1 > 0.05).astype(np.float32), 0.8), 0.35, 0.65)
    crisp = t1 + 1.2 * (t1 - ndimage.gaussian_filter(t1, 1.5)) + 0.05 * _smooth_noise(random, shape, 4)
    solid = brain * _smoothstep(crisp, 0.38, 0.60)
    white = _smoothstep(white + 0.5 * (white - ndimage.gaussian_filter(white, 2)), 0.25, 0.75)
    tissue = {"white": solid * white, "grey": solid * (1 - white), "fluid": brain - solid}
    _add_surroundings(tissue, brain, mm, random)

    vessel = tissue["fluid"] * 0.8 * _smoothstep(-np.abs(_smooth_noise(random, shape, 5)), -0.12, -0.02)
    tissue |= {"vessel": vessel, "fluid": tissue["fluid"] - vessel, "lesion": np.zeros(shape, np.float32)}
    if lesion:
        border = _ellipsoid_radius(mm, lesion.centre, lesion.axes)
        border = border + 0.15 * _smooth_noise(random, shape, 16) + 0.06 * _smooth_noise(random, shape, 6)
        inside = 1 - _smoothstep(border, 0.86, 1.10)
        inside *= _smoothstep(np.sign(lesion.centre[0]) * (mm[0] + shift[0]), 1, 4)  # it does not jump over the falx
        for name, share in (("white", 1.0), ("grey", 0.9), ("fluid", 0.12), ("vessel", 0.12)):
            taken = tissue[name] * inside * share
            tissue[name], tissue["lesion"] = tissue[name] - taken, tissue["lesion"] + taken
    return SyntheticHead(tissue, affine)


def surround_brain(
    image: np.ndarray, brain: np.ndarray, affine: np.ndarray, bright: dict[str, float], random: np.random.Generator
) -> np.ndarray:
    """The signal of a brain near the template's place within all that `head` has around it, (X, Y, Z).

    `image` (X, Y, Z) is the brain's brightness, 1 where white matter is sound; `brain` (X, Y, Z) bool tells where it
    is, `affine` (a diagonal one) sends voxels of 1 mm to RAS+ millimetres, `bright` is one of FLAIR, PRE and POST.
    """
    soft = np.clip(ndimage.gaussian_filter(brain.astype(np.float32), 0.8), 0, 1)
    mm = np.indices(brain.shape, dtype=np.float32) * _as_vector_field(np.diag(affine)[:3]) + _as_vector_field(
        affine[:3, 3]
    )
    tissue = {"fluid": np.zeros(brain.shape, np.float32)}
    _add_surroundings(tissue, soft, mm, random)
    return image * soft * bright["white"] + sum(share * bright[name] for name, share in tissue.items())


def _add_surroundings(
    tissue: dict[str, np.ndarray], brain: np.ndarray, mm: np.ndarray, random: np.random.Generator
) -> None:
    """Add fluid around the brain, bone, scalp, and something of a face and a neck: eyes, muscle, fat, airways."""
    shape, outside = brain.shape, 1 - brain
    grown = ndimage.distance_transform_edt(brain < 0.5) < 22
    hull = ndimage.distance_transform_edt(grown) > 21
    beyond = ndimage.distance_transform_edt(~hull).astype(np.float32) + 0.8 * _smooth_noise(random, shape, 30)
    inner = 2.5 + 0.4 * _smooth_noise(random, shape, 40)
    vault = _smoothstep(beyond, inner - 1, inner + 1)  # 0 inside the skull

    base = int(np.argmin(np.abs(mm[2, 0, 0] - -4)))  # below this slice the head is more than the brain's hull
    depth = ndimage.distance_transform_edt(hull[:, :, base])[:, :, None]
    full = hull | ((mm[2] < -4) & (depth > -0.10 * (mm[2] + 4)))
    full = ndimage.gaussian_filter(full.astype(np.float32), 3) > 0.5
    out = ndimage.distance_transform_edt(~full).astype(np.float32) + 0.8 * _smooth_noise(random, shape, 30)
    skin = 7.5 + 0.9 * _smooth_noise(random, shape, 60)
    scalp = _smoothstep(out, skin - 1, skin + 1) * (1 - _smoothstep(out, skin + 4, skin + 5.5))
    within = 1 - _smoothstep(out, skin - 1, skin + 1)

    kind = _smooth_noise(random, shape, 11) + 0.4 * _smooth_noise(
        random, shape, 5
    )  # what the skull base and the face are made of
    fat, muscle = _smoothstep(kind, 0.7, 1.2), _smoothstep(kind, -0.6, 0.0)
    for side in (-1, 1):
        eye = _ellipsoid_radius(mm, (31 * side, 58, -36), (12, 12.5, 12)) + 0.02 * _smooth_noise(random, shape, 9)
        orbit = _ellipsoid_radius(mm, (26 * side, 46, -36), (15, 26, 15)) + 0.06 * _smooth_noise(random, shape, 9)
        nerve = _ellipsoid_radius(mm, (24 * side, 38, -35), (4, 22, 3))
        filled = 0.8 * (1 - _smoothstep(orbit, 0.9, 1.05)) * (1 - 0.6 * (1 - _smoothstep(nerve, 0.8, 1.2)))
        fat = np.maximum(fat, filled) * _smoothstep(eye, 0.97, 1.08)
        muscle = muscle * _smoothstep(eye, 0.97, 1.08)
    nose = _ellipsoid_radius(mm, (0, 62, -42), (13, 24, 24))
    fat, muscle = fat * _smoothstep(nose, 0.9, 1.1), muscle * _smoothstep(nose, 0.8, 1.1)
    far = _smoothstep(beyond, inner + 4, inner + 6)  # beyond the bone
    soft = outside * vault * within * far
    low = 0.6 * _smoothstep(
        4 * _smooth_noise(random, shape, 25) - mm[2], 25, 45
    )  # muscle instead of fat towards the neck
    rim = outside * scalp * vault
    tissue["fluid"] = tissue["fluid"] + outside * (1 - vault)
    tissue["fat"] = soft * fat + rim * (1 - low)
    tissue["muscle"] = soft * muscle * (1 - fat) + rim * low
    tissue["bone"] = outside * vault * within - soft * (fat + muscle * (1 - fat))


def simulate_sequence(
    random: np.random.Generator, head: SyntheticHead, bright: dict[str, float], grid: Grid, rim: float = 0.0
) -> Volume:
    """One sequence on `grid`: the tissues as bright as `bright` says, a little uneven, through `simulate_scanner`.

    `rim` is what contrast agent adds, in patches, where the lesion borders on the brain.
    """
    shape = head.tissue["lesion"].shape
    uneven = {
        "lesion": 1 + 0.10 * _smooth_noise(random, shape, 12) + 0.05 * _smooth_noise(random, shape, 5),
        "fat": 1 + 0.12 * _smooth_noise(random, shape, 18),
        "bone": 1 + 0.5 * _smooth_noise(random, shape, 9),
    }
    signal = sum(share * bright[name] * uneven.get(name, 1) for name, share in head.tissue.items())
    if rim:
        edge = ndimage.gaussian_filter(head.tissue["lesion"], 1.5)
        patches = _smoothstep(_smooth_noise(random, shape, 14), 0.3, 1.3)
        signal = signal + rim * patches * 4 * edge * (1 - edge) * head.tissue["lesion"]
    signal = signal * (1 + 0.03 * _smooth_noise(random, shape, 7))
    return simulate_scanner(random, signal, head.affine, grid)


def simulate_scanner(random: np.random.Generator, signal: np.ndarray, affine: np.ndarray, grid: Grid) -> Volume:
    """What a scanner makes of a signal (X, Y, Z) placed by `affine`: slices of `grid`, coil shading, noise; int16."""
    clean = resample(Volume(signal.astype(np.float32), affine), grid).array
    clean = clean * np.exp(0.07 * _smooth_noise(random, (*grid.shape[:2], 1), max(grid.shape) / 2.5))
    noise = NOISE * random.standard_normal((2, *grid.shape))
    values = np.rint(np.hypot(clean + noise[0], noise[1])).astype(np.int16)
    return Volume(np.where(values > 3 * NOISE, values, np.int16(0)), grid.affine)  # as scanners do with air


def _smooth_noise(random: np.random.Generator, shape: tuple[int, ...], length: float) -> np.ndarray:
    """Smooth float32 noise of standard deviation 1, bumps of about `length` voxels: cubic B-splines, axis by axis."""
    out = random.standard_normal([int(np.ceil(n / length)) + 4 for n in shape]).astype(np.float32)
    for axis, n in enumerate(shape):
        place = np.arange(n)[:, None] / length + 1 + random.uniform()
        d = np.abs(place - np.arange(out.shape[axis])).astype(np.float32)
        spline = np.where(d < 1, 2 / 3 - d**2 + d**3 / 2, np.clip(2 - d, 0, None) ** 3 / 6)
        out = np.moveaxis(np.tensordot(spline, out, (1, axis)), 0, axis)
    return np.ascontiguousarray(out / out.std())


def _as_vector_field(vector: Sequence[float] | np.ndarray) -> np.ndarray:
    """(3,) as (3, 1, 1, 1) float32, to reckon with fields of vectors."""
    return np.array(vector, np.float32)[:, None, None, None]


def _ellipsoid_radius(mm: np.ndarray, centre: Sequence[float], axes: Sequence[float]) -> np.ndarray:
    """(I, J, K) distance from `centre` in units of an ellipsoid's half axes: below 1 inside."""
    return np.sqrt((((mm - _as_vector_field(centre)) / _as_vector_field(axes)) ** 2).sum(0))


def _smoothstep(x: np.ndarray, low: np.ndarray | float, high: np.ndarray | float) -> np.ndarray:
    """0 below `low`, 1 above `high`, smooth between."""
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)
