"""Regions of an image by Segment Anything, to look at, to edit, and to give to a restoration method."""

from functools import partial

import numpy as np

from medapp.algorithms.input_checks import require_contrast, require_pixels
from medapp.algorithms.segment_anything import SAM_NETWORKS, segment_at_points
from medapp.algorithms.slice_regions import find_slice_regions, to_rgb
from medapp.algorithms.slicewise_restoration import (
    MAX_REGIONS,
    SliceClock,
    place_region_map,
    region_networks,
    region_options,
    restoration_inputs,
    to_luminance,
)
from medapp.card import Card
from medapp.errors import InputError
from medapp.imaging import index_maps as maps
from medapp.imaging.geometry import slice_axis, to_display_slices
from medapp.imaging.volume import Volume
from medapp.options import Points
from medapp.result import Metric, Result, Table

REGION_METHODS = ("mobilesam", "superpixels", "sam_vit_b", "sam_vit_l", "sam_vit_h", "one")


def find_regions(
    net: None,
    image: Volume,
    region_map: Volume | None = None,
    *,
    progress,
    get_network=None,
    regions: str,
    points_per_side: str,
    prompt,
) -> Result:
    """Return an index map on the grid of `image`, grey or colour, slice by slice.

    It is `region_map`, or found by the method `regions`. At each voxel of `prompt` Segment Anything adds a region over
    the others, if it finds one. The region that overlaps most in the next slice keeps its number. With `prompt` the
    result also has the volume `candidates`: of all that was found at the voxels, the masks packed from the smallest,
    which was added. Raises InputError for an empty or tiny image and for voxels outside it.
    """
    progress(0.0, "Preparing the scan")
    require_slices(image)
    depth = slice_axis(image.grid)
    marked = mark_voxels(prompt, image.shape)
    index_map = np.empty(image.shape, np.uint16)
    packed = np.zeros(image.shape, np.uint8)
    source, target, marks, candidates = (
        to_display_slices(array, image.grid, depth) for array in (image.array, index_map, marked, packed)
    )
    uploaded_slices = (
        None if region_map is None else to_display_slices(*place_region_map(region_map, image.grid), depth)
    )
    clock, labels = SliceClock(progress, len(source)), None
    for n, stored in enumerate(source):
        clock.report(n, 0.0, "Finding regions")
        if uploaded_slices is None:
            slice_map = find_slice_regions(
                regions, stored, get_network, int(points_per_side), partial(clock.report, n, stage="Finding regions")
            )
        else:
            slice_map = uploaded_slices[n]
        for row, column in np.argwhere(marks[n]):
            masks = segment_at_point(get_network, regions, stored, (float(column), float(row)))
            candidates[n] |= maps.pack_masks(masks)
            slice_map = maps.add_region(slice_map, masks[0]) if masks else slice_map
        labels = maps.renumber(slice_map) if labels is None else maps.match_neighbour_slice(labels, slice_map)
        if labels.max() > MAX_REGIONS:
            labels = maps.renumber(slice_map)
        target[n] = labels
    progress(0.95, "Measuring")
    numbers = np.unique(index_map)
    regions_volume = Volume(index_map, image.affine, {int(v): f"region {v}" for v in numbers}, "regions")
    volumes = {"image": image, "regions": regions_volume}
    if prompt:
        volumes["candidates"] = Volume(packed, image.affine, name="candidates")
    return Result(
        volumes,
        metrics={"regions": Metric(len(numbers))},
        tables={"regions": tabulate_regions(index_map, image, depth)},
        notes=image.remarks,
        settings={
            "regions": regions if region_map is None else "uploaded",
            "points_per_side": points_per_side,
            "prompt": "; ".join(",".join(map(str, voxel)) for voxel in prompt),
        },
    )


def require_slices(image: Volume) -> None:
    """Raise InputError for an empty image and for tiny slices."""
    require_contrast(image)
    require_pixels(image)


def mark_voxels(voxels: tuple[tuple[int, int, int], ...], shape: tuple[int, int, int]) -> np.ndarray:
    """Return (I, J, K) bool, true at `voxels`. Raises InputError for one that lies outside."""
    marks = np.zeros(shape, bool)
    for voxel in voxels:
        if any(not 0 <= index < size for index, size in zip(voxel, shape, strict=True)):
            raise InputError(
                f"The voxel {voxel} lies outside the image, which has {' × '.join(map(str, shape))} voxels."
            )
        marks[voxel] = True
    return marks


def segment_at_point(get_network, method: str, stored: np.ndarray, point: tuple[float, float]) -> list[np.ndarray]:
    """Segment what lies at `point` (column, row) of a slice by the network of `method`, or MobileSAM.

    Returns masks (H, W) bool, the smallest first.
    """
    return segment_at_points(get_network(method if method in SAM_NETWORKS else "mobilesam"), to_rgb(stored), [point])


def tabulate_regions(numbers: np.ndarray, image: Volume, depth: int) -> Table:
    """Tabulate the regions, the largest first: area or volume, mean and standard deviation of the image."""
    grey = to_luminance(image.array) if image.is_colour else image.array
    is_single_slice = image.shape[depth] == 1
    spacing = image.grid.spacing
    size = np.delete(spacing, depth) if is_single_slice else spacing * (1, 1, 1e-3)  # mm² or ml
    unit = f" ({image.unit})" if image.unit and not image.is_colour else ""
    columns = ("region", "area (mm²)" if is_single_slice else "volume (ml)", f"mean{unit}", f"standard deviation{unit}")
    return Table(
        columns,
        tuple(maps.measure_index_map(numbers, grey, tuple(size))),
        "All slices together; colours as their luminance.",
    )


CARD = Card(
    name="find_regions_sam",
    task="regions",
    presenter="region_map",
    title="Regions (Segment Anything)",
    about="Segments the visible structures of any grey or coloured image into numbered regions.",
    inputs=restoration_inputs(
        "Image", "Any slice, series or picture; each slice is segmented by itself.", colour=True, check=require_slices
    ),
    options=(
        *region_options(*REGION_METHODS),
        Points(
            "prompt",
            "Added points",
            'One region is added at each voxel, counted from 0, such as "120,88,14; 96,90,14".',
        ),
    ),
    weights=SAM_NETWORKS["mobilesam"].weights,
    build=None,
    run=find_regions,
    networks=region_networks(*REGION_METHODS),
    licence="Apache-2.0",
    cite="Kirillov et al. 2023, arXiv:2304.02643; Zhang et al. 2023, arXiv:2306.14289",
    trained_on="Trained by others: Segment Anything on the 11 million photographs of SA-1B, MobileSAM on 1 % of them.",
    scores="On the CT slice that comes with RAT, against the 38 regions of its authors: adjusted Rand index 0.69 with "
    "16 points per side, 0.67 with 8.",
    limits="Trained on photographs, not on medical images: soft borders are missed, and regions have no names. "
    "Regions are two-dimensional; the same organ may have another number some slices on.",
)
