"""PET activity drawn from anatomy: brains from label maps, torsos from CT slices. Numpy and scipy; unit: grey matter is
about 4, muscle about 1, and what the tracer does is drawn at random around the textbook."""

import numpy as np
from scipy import ndimage

WHITE = (40, 41, 44, 45, 35, 69)  # Neuromorphometrics: cerebellar and cerebral white matter, brain stem, chiasm
FLUID = (4, 11, 15, 46, 49, 50, 51, 52, 63, 64)
STRIATUM = (23, 30, 36, 37, 57, 58)


def smooth_field(shape: tuple[int, ...], scale: float, rng: np.random.Generator) -> np.ndarray:
    """A smooth random field of mean 0 and standard deviation 1; `scale` in pixels."""
    noise = rng.standard_normal([int(np.ceil(n / scale)) + 3 for n in shape]).astype(np.float32)
    for n in shape:  # the first axis is refined and becomes the last
        c = noise.shape[0]
        spline = ndimage.map_coordinates(np.eye(c), np.meshgrid(np.linspace(1, c - 2, n), np.arange(c), indexing="ij"))
        noise = np.tensordot(noise, spline.T.astype(np.float32), (0, 0))
    return ((noise - noise.mean()) / (noise.std() + 1e-6)).astype(np.float32)


def ellipsoid(shape: tuple[int, ...], centre: np.ndarray, radii: np.ndarray) -> np.ndarray:
    """Where an ellipsoid is, bool of `shape`; centre and radii in pixels."""
    axes = [((np.arange(n) - c) / r) ** 2 for n, c, r in zip(shape, centre, radii, strict=True)]
    return sum(np.ix_(*axes)) < 1


def brain_uptake(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Uptake of a brain (I, J, K) float32 from its labels at 1 mm, with scalp around it and hot and cold lesions."""
    amyloid = rng.random() < 0.2  # white matter above grey
    grey, white = (rng.uniform(2, 4), 4.0) if amyloid else (4.0, rng.uniform(0.7, 1.6))
    table = np.zeros(int(labels.max()) + 1, np.float32)
    for label in np.unique(labels)[1:]:
        base = white if label in WHITE else rng.uniform(0.05, 0.3) if label in FLUID else grey
        if label in STRIATUM:
            base *= rng.uniform(0.9, 1.4)
        table[label] = base * rng.normal(1, 0.03 if label in WHITE or label in FLUID else 0.12)
    table = np.maximum(table, 0.02)
    table[0] = 0
    activity = table[labels]
    inside = labels > 0
    head = ndimage.binary_closing(inside[::2, ::2, ::2], iterations=3)
    distance = ndimage.zoom(ndimage.distance_transform_edt(~head) * 2, 2, order=1)[
        : labels.shape[0], : labels.shape[1], : labels.shape[2]
    ]
    distance = np.pad(distance, [(0, n - d) for n, d in zip(labels.shape, distance.shape, strict=True)], mode="edge")
    activity = np.where(inside, activity, np.where(distance < 2, 0.1, 0.0))  # fluid, skull, scalp
    activity[(distance > 8) & (distance < 13)] = rng.uniform(0.3, 0.9)
    activity *= 1 + 0.06 * smooth_field(labels.shape, 25, rng)
    where = np.argwhere(inside[::3, ::3, ::3]) * 3
    for _ in range(rng.integers(0, 9)):
        centre = where[rng.integers(len(where))]
        lesion = ellipsoid(labels.shape, centre, rng.uniform(2.5, 12, 3)) & inside
        activity[lesion] *= rng.uniform(1.3, 3) if rng.random() < 0.6 else rng.uniform(0.2, 0.8)
    return activity.astype(np.float32).clip(0)


def torso_uptake(hu: np.ndarray, pixel_mm: float, rng: np.random.Generator) -> np.ndarray:
    """Uptake (H, W) float32 of a CT slice (H, W): tissue classes, organ-like patches, small hot spots."""
    smooth = ndimage.gaussian_filter(hu, 1.5 / pixel_mm)
    body = ndimage.binary_fill_holes(ndimage.binary_opening(smooth > -300, iterations=3))
    lung, fat, bone = (smooth < -400) & body, (smooth >= -400) & (smooth < -20), smooth > 180
    soft = body & ~lung & ~fat & ~bone
    activity = np.zeros(hu.shape, np.float32)
    for tissue, low, high in ((lung, 0.2, 0.6), (fat, 0.15, 0.5), (soft, 0.6, 1.4), (bone, 0.7, 2.2)):
        activity[tissue & body] = rng.uniform(low, high)
    patch = np.digitize(
        smooth_field(hu.shape, rng.uniform(25, 70) / pixel_mm, rng), np.sort(rng.normal(0, 1, rng.integers(1, 6)))
    )
    uptake = np.where(
        rng.random(patch.max() + 1) < 0.6, 1.0, np.exp(rng.uniform(np.log(0.8), np.log(5), patch.max() + 1))
    )
    activity[soft] *= uptake[patch[soft]]
    activity *= 1 + 0.1 * smooth_field(hu.shape, 20 / pixel_mm, rng)
    where = np.argwhere((soft | lung)[::3, ::3]) * 3
    for _ in range(rng.integers(1, 10) if len(where) else 0):
        radii = np.exp(rng.uniform(np.log(3), np.log(18))) * rng.uniform(0.7, 1.4, 2) / pixel_mm
        spot = ellipsoid(hu.shape, where[rng.integers(len(where))], radii) & body
        peak = rng.uniform(2, 15) if rng.random() < 0.8 else rng.uniform(0.1, 0.5)
        activity[spot] = peak
        if rng.random() < 0.2:
            activity[ellipsoid(hu.shape, where[rng.integers(len(where))], radii * 0.6) & spot] *= 0.3  # necrotic core
    return activity.clip(0)


def resample_uptake(
    image: np.ndarray, pixel_mm: float, fwhm_mm: float, side: int, new_mm: float, turn: float = 0.0
) -> np.ndarray:
    """An activity image (H, W) blurred by the scanner's resolution, on a grid of side × side pixels about its centre.

    `turn` rotates by that many degrees.
    """
    sigma = np.hypot(fwhm_mm / 2.3548, 0.3 * new_mm) / pixel_mm  # a coarse pixel averages too
    blurred = ndimage.gaussian_filter(image, sigma)
    cos, sin = np.cos(np.deg2rad(turn)), np.sin(np.deg2rad(turn))
    matrix = np.array([[cos, -sin], [sin, cos]]) * (new_mm / pixel_mm)
    offset = (np.array(image.shape) - 1) / 2 - matrix @ np.full(2, (side - 1) / 2)
    return ndimage.affine_transform(blurred, matrix, offset, (side, side), order=1).astype(np.float32)


def drift_slices(
    image: np.ndarray, count: int, size: float, scale: float, rng: np.random.Generator
) -> list[np.ndarray]:
    """`count` images (H, W) that follow each other as slices do: `image`, bent by `size` pixels more each time."""
    place = np.stack(np.meshgrid(*(np.arange(n, dtype=np.float32) for n in image.shape), indexing="ij"))
    out = [image]
    for _ in range(count - 1):
        place += size * np.stack([smooth_field(image.shape, scale, rng) for _ in range(2)])
        out.append(ndimage.map_coordinates(image, place, order=1, mode="nearest").astype(np.float32))
    return out
