"""Slicewise restoration: upright slices, their regions, the network, and the time left, for every restoration method.

Nothing is resampled: slices are views of the image with rows to the back and columns to the left, and the network's
output is written through such a view onto the image's own grid.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from medapp.algorithms.input_checks import require_overlap
from medapp.algorithms.segment_anything import SAM_NETWORKS
from medapp.algorithms.slice_regions import find_slice_regions, tabulate_regions
from medapp.algorithms.sliding_window import run_tiled
from medapp.analysis.image_quality import compare_images
from medapp.card import Input, Network
from medapp.errors import InputError
from medapp.imaging import index_maps
from medapp.imaging.geometry import is_flat, resample, slice_axis, to_display_slices, with_spacing
from medapp.imaging.volume import Grid, Volume
from medapp.options import Choice
from medapp.result import Metric, Result

MAX_UPLOADED_REGIONS = 4096
MAX_REGIONS = 65_535  # in a stack
Progress = Callable[[float, str], None]
Aid = Callable[[str], Any]


@dataclass(frozen=True)
class SliceCodec:
    """How one slice goes through the network.

    `encode` turns (H, W) or (H, W, 3) as stored into (C, sH, sW) float32, `region_picture` into the picture in which
    regions are found, on the grid of the output; `decode` turns the output (C, sH, sW) and the slice back. `encode`
    also receives the neighbouring slices in the order of `around`, or the slice itself where there is none; 1 is the
    next slice, -1 the one before.
    """

    encode: Callable[..., np.ndarray]
    region_picture: Callable[[np.ndarray], np.ndarray]
    decode: Callable[[np.ndarray, np.ndarray], np.ndarray]
    scale: int = 1
    dtype: type = np.float32
    around: tuple[int, ...] = ()


def restore_slices(
    net: Callable[..., torch.Tensor],
    image: Volume,
    region_map: Volume | None,
    codec: SliceCodec,
    *,
    method: str,
    points_per_side: int,
    get_network: Aid | None,
    progress: Progress,
    clean: Volume | None = None,
    settings: Mapping[str, Any],
    notes: tuple[str, ...] = (),
) -> Result:
    """Return the result of a method: `image`, `restored`, `regions` and, with `clean`, `reference`, and the metrics.

    Regions are those of `region_map`, or found by `method` in every slice; the one that overlaps most in the next slice
    keeps its number. `progress` is called before every step, with the time left; an exception from it ends the run.
    """
    depth = slice_axis(image.grid)
    grid = scale_grid(image.grid, depth, codec.scale)
    restored = np.empty((*grid.shape, *([3] if image.is_colour else [])), codec.dtype)
    index_map = np.empty(grid.shape, np.uint16)
    source, target, index_slices = (
        to_display_slices(a, g, depth) for a, g in ((image.array, image.grid), (restored, grid), (index_map, grid))
    )
    uploaded_slices = None if region_map is None else to_display_slices(*place_region_map(region_map, grid), depth)
    clock, labels = SliceClock(progress, len(source)), None
    for n, picture in enumerate(source):
        clock.report(n, 0.0, "Regions")
        if uploaded_slices is not None:
            labels = np.ascontiguousarray(uploaded_slices[n])
        else:
            slice_map = find_slice_regions(
                method, codec.region_picture(picture), get_network, points_per_side, partial(clock.report_finding, n)
            )
            labels = slice_map if labels is None else index_maps.match_neighbour_slice(labels, slice_map)
            labels = labels if labels.max() <= MAX_REGIONS else slice_map
        index_slices[n] = labels
        neighbours = (source[n + m] if 0 <= n + m < len(source) else picture for m in codec.around)
        x = torch.from_numpy(codec.encode(picture, *neighbours))[None]
        y = run_tiled(net, x, torch.from_numpy(labels)[None], partial(clock.report_restoring, n))
        target[n] = codec.decode(y[0].numpy(), picture)
    progress(0.95, "Measuring")
    numbers = np.unique(index_map)
    volumes = {
        "image": image,
        "restored": image.new_like(restored, affine=grid.affine, name="restored"),
        "regions": Volume(index_map, grid.affine, {int(v): f"region {v}" for v in numbers}, "regions"),
    }
    if clean is not None:
        volumes["reference"] = clean
    tables = {}
    if len(source) == 1:
        pixel = [float(s) for a, s in enumerate(grid.spacing) if a != depth]
        grey = to_luminance(target[0]) if image.is_colour else target[0]
        tables["regions"] = tabulate_regions(labels, grey, (pixel[0], pixel[1]), "" if image.is_colour else image.unit)
    method_used = "uploaded" if region_map is not None else method
    used = {**settings, "regions": method_used, "points_per_side": str(points_per_side)}
    result = Result(volumes, metrics={"regions": Metric(len(numbers))}, tables=tables, notes=notes, settings=used)
    return compare_images(result)


def place_region_map(region_map: Volume, grid: Grid) -> tuple[np.ndarray, Grid]:
    """Return an uploaded map (I, J, K) of whole numbers on `grid`, and the grid.

    It is taken voxel by voxel where the shapes agree, else resampled by nearest voxel; a colour counts as a number.
    Raises InputError for fractions, too many regions, and a map that lies elsewhere.
    """
    array = region_map.array
    if region_map.is_colour:
        array = (array.astype(np.int64) * (1, 256, 65_536)).sum(-1)
    if not np.array_equal(array, np.rint(array)):
        raise InputError("The region map holds fractions; upload one with a whole number for each region.")
    values, array = np.unique(array, return_inverse=True)
    if len(values) > MAX_UPLOADED_REGIONS:
        raise InputError(f"The region map holds {len(values)} regions; upload one with at most {MAX_UPLOADED_REGIONS}.")
    array = (array.reshape(region_map.shape) + 1).astype(np.int32)
    plain = Volume(array, region_map.affine, {1: "region"}, "region map")
    if plain.grid.is_same(grid, 0.01) or (is_flat(grid) and plain.shape == tuple(grid.shape)):
        return plain.array, grid
    require_overlap(plain, Volume(np.empty(grid.shape, np.uint8), grid.affine))
    return resample(plain, grid).array, grid


def scale_grid(grid: Grid, depth: int, scale: float) -> Grid:
    """Return the same box with `scale` times the pixels on either side; `depth` is the slice axis."""
    return with_spacing(grid, [s if axis == depth else s / scale for axis, s in enumerate(grid.spacing)])


def measure_pixel_mm(grid: Grid) -> float:
    """Return the mean size of a pixel in the slice, in mm."""
    return float(np.delete(grid.spacing, slice_axis(grid)).mean())


def to_luminance(rgb: np.ndarray) -> np.ndarray:
    """Convert RGB (..., 3) of any type to (...) float32, weighted as in ITU-R BT.601."""
    return rgb.astype(np.float32) @ np.float32([0.299, 0.587, 0.114])


def map_slices(
    volume: Volume, change: Callable[[int, np.ndarray], np.ndarray], progress: Progress, stage: str
) -> Volume:
    """Return the volume with every slice (H, W) replaced by `change(n, slice)`, float32."""
    changed = np.empty(volume.shape, np.float32)
    source, target = to_display_slices(volume.array, volume.grid), to_display_slices(changed, volume.grid)
    for n, picture in enumerate(source):
        progress(0.1 * n / len(source), f"{stage}, slice {n + 1} of {len(source)}")
        target[n] = change(n, picture.astype(np.float32))
    return volume.new_like(changed)


class SliceClock:
    """Reports how far the slices are and how long the rest will take."""

    def __init__(self, progress: Progress, count: int) -> None:
        """Start the clock for `count` slices."""
        self.progress, self.count, self.begun = progress, count, time.monotonic()

    def report_finding(self, number: int, share: float) -> None:
        """Report that Segment Anything has done `share` of the slice."""
        self.report(number, share / 2, "Regions")

    def report_restoring(self, number: int, share: float) -> None:
        """Report that the network has done `share` of the slice."""
        self.report(number, 0.5 + share / 2, "Restoring")

    def report(self, number: int, share: float, stage: str) -> None:
        """Report slice `number` from 0, of which `share` is done."""
        done = (number + share) / self.count
        if self.count > 1:
            stage = f"{stage}, slice {number + 1} of {self.count}"
        seconds = (time.monotonic() - self.begun) * (1 - done) / done if number + share > 0.9 else 0.0
        if seconds > 3:
            left = f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
            stage += f", about {left} left"
        self.progress(0.1 + 0.85 * done, stage)


def restoration_inputs(title: str, about: str, **facts: Any) -> tuple[Input, ...]:
    """Return the inputs of a restoration method: the image, and optionally a map of its regions.

    `facts` are further fields of the image.
    """
    map_help = "An index map of the same image: one whole number, or one colour, for each region."
    return (
        Input("image", title, about, **facts),
        Input("region_map", "Region map", map_help, optional=True, colour=True, labels=True),
    )


def region_options(*methods: str) -> tuple[Choice, Choice]:
    """Return the options for regions; `methods` are some of REGION_METHODS, the default first."""
    regions_help = (
        "Pixels attend to each other within a region: MobileSAM finds visible structures, in seconds a slice and "
        "minutes a series on a CPU, superpixels are instant, and the larger SAM networks need a graphics card."
    )
    points_help = "Segment Anything is prompted on a grid: more points find smaller regions and take longer."
    return (
        Choice("regions", "Regions", methods, methods[0], regions_help, upload="region_map"),
        Choice(
            "points_per_side", "Prompt grid (points per side)", ("8", "16", "32"), "8", points_help, former=("points",)
        ),
    )


def region_networks(*methods: str) -> dict[str, Network]:
    """Return the networks that these region methods ask for."""
    return {name: SAM_NETWORKS[name] for name in methods if name in SAM_NETWORKS}
