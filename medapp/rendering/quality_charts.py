"""Charts that compare the values and the noise of images: histograms and power spectra."""

from collections.abc import Mapping

import numpy as np
import plotly.graph_objects as go
from scipy import ndimage

from medapp.imaging.volume import Volume
from medapp.rendering import colour
from medapp.rendering.lesion_charts import CHART_INK, CHART_TEMPLATE, explain, plot_message
from medapp.rendering.slice_grids import slice_axis

PATCH_PIXELS = 64  # a side of the squares whose power is averaged
SPECTRUM_SLICES = 8
REMOVED_HELP = (
    "The power of what was removed, from coarse to fine. Much at the coarse end, at the left, would be structure of "
    "the image that was removed with the noise."
)
LEFT_HELP = "The power of the error against the reference, from coarse to fine: the lower the line, the better."
SERIES_COLOURS = (CHART_INK, colour.to_css(colour.get_label_colour(1)), colour.to_css(colour.get_label_colour(2)))


def plot_histograms(volumes: Mapping[str, Volume]) -> go.Figure:
    """Plot the histogram of each volume as a line, by name; colours by their brightness."""
    samples = {name: _sample_values(volume) for name, volume in volumes.items()}
    low = min(float(np.percentile(s, 0.2)) for s in samples.values())
    high = max(float(np.percentile(s, 99.8)) for s in samples.values())
    if not high > low:
        return plot_message("Every voxel has the same value")
    figure = go.Figure()
    for (name, sample), tint in zip(samples.items(), SERIES_COLOURS, strict=False):
        counts, edges = np.histogram(sample, 128, (low, high))
        share = ndimage.gaussian_filter1d(counts / len(sample) * 100, 0.7)
        figure.add_scatter(
            x=np.float32(edges[:-1] + np.diff(edges) / 2), y=np.float32(share), mode="lines", name=name,
            line={"color": tint, "width": 2}, hovertemplate="%{x:.4g}: %{y:.2f} %<extra></extra>",
        )  # fmt: skip
    first = next(iter(volumes.values()))
    unit = "brightness, of 255" if first.is_colour else first.unit
    figure = _set_layout(figure, f"Value ({unit})" if unit else "Value", "Voxels (%)")
    return explain(
        figure, "How often each value occurs. Even tissue is a peak, which noise widens: restored it is narrower."
    )


def plot_noise_power(noise: Mapping[str, Volume]) -> go.Figure:
    """Plot the power spectrum of noise images as lines on a logarithmic axis, over cycles per mm.

    One alone is what has been removed, several are the noise that is left.
    """
    figure = go.Figure()
    for (name, volume), tint in zip(noise.items(), SERIES_COLOURS, strict=False):
        frequency, power = compute_spectrum(volume)
        if len(power):
            figure.add_scatter(
                x=np.float32(frequency), y=np.float32(power), mode="lines", name=name, line={"color": tint, "width": 2},
                hovertemplate="%{x:.3g} per mm: %{y:.3g}<extra></extra>",
            )  # fmt: skip
    if not figure.data:
        return plot_message("The image is too small for a power spectrum")
    figure.update_yaxes(type="log", rangemode="normal", exponentformat="power", nticks=6)
    unit = next(iter(noise.values())).unit
    figure = _set_layout(figure, "Coarse to fine (cycles per mm)", f"Power ({unit or 'value'}² mm²)")
    return explain(figure, REMOVED_HELP if len(noise) == 1 else LEFT_HELP)


def compute_spectrum(volume: Volume) -> tuple[np.ndarray, np.ndarray]:
    """Compute frequencies (cycles per mm) and their mean power (unit² mm²), from tapered squares in a few slices.

    For white noise of variance v on pixels of a mm the power is v a²; structure shows at the low frequencies.
    """
    axis = slice_axis(volume.grid)
    spacing = np.delete(volume.spacing, axis)
    slices = np.moveaxis(volume.array, axis, 0)
    side = min(PATCH_PIXELS, *slices.shape[1:3])
    if side < 16:
        return np.empty(0), np.empty(0)
    taper = np.hanning(side)[:, None] * np.hanning(side)
    total, count = np.zeros((side, side)), 0
    for n in np.unique(np.linspace(0, len(slices) - 1, min(len(slices), SPECTRUM_SLICES)).round().astype(int)):
        picture = _compute_brightness(slices[n])
        for i in range(0, picture.shape[0] - side + 1, side):
            for j in range(0, picture.shape[1] - side + 1, side):
                square = picture[i : i + side, j : j + side]
                total += np.abs(np.fft.fft2((square - square.mean()) * taper)) ** 2
                count += 1
    power = total / count / (taper**2).sum() * spacing.prod()
    frequency = np.hypot(np.fft.fftfreq(side, spacing[0])[:, None], np.fft.fftfreq(side, spacing[1]))
    step = 1 / (side * float(spacing.max()))
    ring = np.rint(frequency / step).astype(int).ravel()
    inside = (ring > 0) & (ring <= side // 2)
    counts = np.bincount(ring[inside])
    sums = np.bincount(ring[inside], power.ravel()[inside])
    filled = np.flatnonzero(counts)
    return filled * step, np.maximum(sums[filled] / counts[filled], 1e-12)


def _sample_values(volume: Volume, most: int = 200_000) -> np.ndarray:
    flat = volume.array.reshape(-1, 3) if volume.is_colour else volume.array.ravel()
    return _compute_brightness(flat[:: max(1, len(flat) // most)])


def _compute_brightness(values: np.ndarray) -> np.ndarray:
    values = np.asarray(values, np.float32)
    return values.mean(axis=-1) if values.ndim in (2, 3) and values.shape[-1] == 3 else values


def _set_layout(figure: go.Figure, across: str, up: str) -> go.Figure:
    return figure.update_layout(
        template=CHART_TEMPLATE, height=280, showlegend=True, xaxis_title=across, yaxis_title=up
    )
