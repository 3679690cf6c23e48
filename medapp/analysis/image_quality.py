"""Image quality: a restored image compared with a clean one, and the noise before and after."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from PIL import Image
from scipy import ndimage
from skimage.metrics import structural_similarity

from medapp.errors import InputError
from medapp.imaging.geometry import covered_fraction, is_flat, resample, slice_axis, to_display_slices
from medapp.imaging.volume import Grid, Volume
from medapp.result import Metric, Result

HU_RANGE = (-1024.0, 3071.0)  # the range of 12 bits; values beyond are padding or metal
SSIM_SLICES = 64  # evenly spaced ones represent a longer stack
NOISE_SLICES = 16
NOISE_WINDOW = 7  # pixels a side of the windows in which noise is measured
QUALITY_METRICS = (
    "psnr_before", "psnr", "ssim_before", "ssim", "rmse_before", "rmse", "bias_before", "bias", "data_range",
    "noise_before", "noise",
)  # fmt: skip


def compare_images(result: Result, reference: Volume | None = None) -> Result:
    """Return the result with the quality metrics of `restored` (and `image`) against the clean image.

    The clean image is `reference`, resampled to the grid of `restored`; in a result whose image was degraded by
    simulation it is the image before that, and `reference` is ignored. PSNR, SSIM, RMSE and bias (mean of restored
    minus clean) before and after, in the unit of the image, with the data range they refer to; an image that was
    smaller is upsampled bicubically for "before". Noise is always estimated, unless the image was upsampled or is in
    colour. Raises InputError for a reference with other channels or in another place.
    """
    volumes = dict(result.volumes)
    image, restored = volumes["image"], volumes["restored"]
    is_simulated = result.settings.get("degrade", "no") != "no"
    original = volumes.pop("reference", None)
    if is_simulated:
        truth = original
    else:
        truth = None if reference is None else resample_reference(reference, restored)
    metrics = {name: metric for name, metric in result.metrics.items() if name not in QUALITY_METRICS}
    if truth is not None:
        volumes["reference"] = truth
        unit = "of 255" if truth.is_colour else image.unit
        before = upsample_to_grid(image, restored.grid)
        quality_before = compute_quality(before, truth.array, image.unit, truth.grid)
        quality = compute_quality(restored.array, truth.array, image.unit, truth.grid)
        for name in ("psnr", "ssim", "rmse", "bias"):
            of = {"psnr": "dB", "ssim": ""}.get(name, unit)
            metrics[f"{name}_before"], metrics[name] = (
                Metric(_round_figures(quality_before[name]), of),
                Metric(_round_figures(quality[name]), of),
            )
        metrics["data_range"] = Metric(_round_figures(quality["data_range"]), unit)
    if not image.is_colour and restored.grid.is_same(image.grid):
        noise = estimate_noise(image), estimate_noise(restored, image)
        for name, value in zip(("noise_before", "noise"), noise, strict=True):
            metrics[name] = Metric(_round_figures(value), image.unit)
    return replace(result, volumes=volumes, metrics=metrics)


def compute_quality(
    answer: np.ndarray, truth: np.ndarray, unit: str = "", grid: Grid | None = None
) -> dict[str, float | None]:
    """Compute `psnr` (dB), `ssim`, `rmse`, `bias` and their `data_range`, of two (I, J, K) or (I, J, K, 3).

    SSIM: Wang et al. 2004, Gaussian window of sigma 1.5 pixels, mean over slices across the slice axis of `grid`, by
    default the third. None where a metric is not defined.
    """
    span = find_data_range(truth, unit)
    square, total = 0.0, 0.0
    for a, b in zip(_iterate_slices(answer, grid), _iterate_slices(truth, grid), strict=True):
        error = a.astype(np.float64) - b
        square, total = square + float((error**2).sum()), total + float(error.sum())
    rmse = (square / truth.size) ** 0.5
    return {
        "psnr": 20 * float(np.log10(span / rmse)) if rmse > 0 and span > 0 else None,
        "ssim": _compute_ssim(answer, truth, span, grid),
        "rmse": rmse,
        "bias": total / truth.size,
        "data_range": span,
    }


def find_data_range(truth: np.ndarray, unit: str = "") -> float:
    """Find the data range of PSNR and SSIM: 255 in colour, for CT its range within 12 bits, else the maximum."""
    if truth.ndim == 4:
        return 255.0
    low, high = float(truth.min()), float(truth.max())
    if unit == "HU":
        return min(high, HU_RANGE[1]) - max(low, HU_RANGE[0])
    return high - min(low, 0.0) if unit == "Bq/ml" or low >= 0 else high - low


def estimate_noise(volume: Volume, guide: Volume | None = None) -> float | None:
    """Estimate the standard deviation of the noise in the volume's unit: the mode of those in 7 × 7 pixels.

    Measured in soft tissue in CT and in the brighter part of other images, as in Christianson et al. 2015,
    doi:10.2214/AJR.14.13613. `guide`, on the same grid, tells where that is; by default it is the volume itself. None
    for a volume in colour and where there is nothing to measure.
    """
    guide = guide or volume
    if volume.is_colour:
        return None
    depth = slice_axis(guide.grid)
    values, where = (
        to_display_slices(volume.array, volume.grid, depth),
        to_display_slices(guide.array, guide.grid, depth),
    )
    numbers = _space_evenly(len(values), NOISE_SLICES)
    where = where[numbers].astype(np.float32)
    if volume.unit == "HU":
        low, high = -100.0, 200.0
    else:
        dark, bright = np.percentile(where, (1, 99.5))
        low, high = float(dark + 0.15 * (bright - dark)), float("inf")
    deviations = []
    for number, guide_slice in zip(numbers, where, strict=True):
        mean = ndimage.uniform_filter(guide_slice, NOISE_WINDOW)
        image = values[number].astype(np.float32)
        residual = image - ndimage.uniform_filter(image, NOISE_WINDOW)
        spread = np.sqrt(np.maximum(ndimage.uniform_filter(residual**2, NOISE_WINDOW), 0))
        deviations.append(spread[(mean > low) & (mean < high)])
    values = np.concatenate(deviations)
    if len(values) < 100:
        return None
    mode, least = float(np.percentile(values, 90)) / 2, 1e-6 * float(np.abs(where).max())
    for _ in range(3):  # finer and finer around the mode
        if mode > least:
            counts, _ = np.histogram(values, 60, (0.0, 2 * mode))
            mode *= (int(ndimage.gaussian_filter1d(counts.astype(float), 2).argmax()) + 0.5) / 30
    return mode * NOISE_WINDOW / (NOISE_WINDOW**2 - 1) ** 0.5 if mode > least else 0.0


def resample_reference(reference: Volume, restored: Volume) -> Volume:
    """Resample the reference to the grid of `restored`.

    A single slice of the same shape is taken pixel by pixel. Raises InputError for other channels or another place.
    """
    require_same_channels(reference, restored)
    if reference.grid.is_same(restored.grid, tolerance_mm=0.01):
        return restored.new_like(reference.array, name="reference")
    if is_flat(restored.grid) and reference.shape == restored.shape:  # pictures need not have a position
        return restored.new_like(reference.array, name="reference")
    require_overlap(reference, restored)
    return restored.new_like(resample(reference, restored.grid).array, name="reference")


def require_same_channels(reference: Volume, image: Volume) -> None:
    """Raise InputError if one of the two is in colour and the other grey."""
    if reference.is_colour != image.is_colour:
        names = {True: "in colour", False: "grey"}
        raise InputError(f"The reference is {names[reference.is_colour]}, the image {names[image.is_colour]}.")


def require_overlap(reference: Volume, image: Volume) -> None:
    """Raise InputError unless the reference covers at least half of the image."""
    share = covered_fraction(image.grid, reference.grid)
    if share < 0.5:
        raise InputError(
            f"The reference has {' × '.join(map(str, reference.shape))} voxels and covers only {share:.0%} of the "
            f"image, which has {' × '.join(map(str, image.shape))}: choose a reference of the same scan."
        )


def upsample_to_grid(image: Volume, grid: Grid) -> np.ndarray:
    """Return the image's values on `grid`: as they are, or those of a smaller slice upsampled bicubically."""
    if image.grid.is_same(grid) or image.shape == tuple(grid.shape):
        return image.array
    depth = slice_axis(grid)
    out = np.empty((*grid.shape, *image.array.shape[3:]), image.array.dtype)
    source, target = to_display_slices(image.array, image.grid, depth), to_display_slices(out, grid, depth)
    for small, large in zip(source, target, strict=True):
        picture = Image.fromarray(np.ascontiguousarray(small))
        large[...] = np.asarray(picture.resize((large.shape[1], large.shape[0]), Image.Resampling.BICUBIC))
    return out


def _iterate_slices(array: np.ndarray, grid: Grid | None) -> Iterator[np.ndarray]:
    """Yield the slices across the slice axis of `grid`, by default the third axis."""
    yield from np.moveaxis(array, 2 if grid is None else slice_axis(grid), 0)


def _compute_ssim(answer: np.ndarray, truth: np.ndarray, span: float, grid: Grid | None) -> float | None:
    axis = 2 if grid is None else slice_axis(grid)
    a, b = np.moveaxis(answer, axis, 0), np.moveaxis(truth, axis, 0)
    if min(a.shape[1:3]) < 11 or span <= 0:
        return None
    values = [
        structural_similarity(
            a[n].astype(np.float32), b[n].astype(np.float32), data_range=span, gaussian_weights=True, sigma=1.5,
            use_sample_covariance=False, channel_axis=2 if truth.ndim == 4 else None,
        )
        for n in _space_evenly(len(a), SSIM_SLICES)
    ]  # fmt: skip
    return float(np.mean(values))


def _space_evenly(count: int, most: int) -> np.ndarray:
    """At most `most` of the numbers below `count`, evenly spaced."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int))


def _round_figures(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.5g}")
