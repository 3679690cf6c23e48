"""Region search: the regions of an image, and what lies at a point of them, by Segment Anything."""

from typing import Any

import numpy as np

from medapp.imaging import index_maps
from medapp.imaging.geometry import to_display_slices
from medapp.imaging.volume import Volume
from medapp.rendering import slices
from medapp.serving import runtime
from medapp.ui.region_map import RegionMap, create_region_map
from medapp.ui.tab import Step

METHOD = "find_regions_sam"


def find_region_map(
    image: Volume, uploaded_map: Volume | None, options: dict[str, Any], progress: Step
) -> tuple[RegionMap, tuple[str, ...]]:
    """Return the regions of an image, found with `options` of the method or taken from `uploaded_map`, and the notes.

    Raises what `runtime.run` raises.
    """
    result = runtime.run(METHOD, image, uploaded_map, progress=progress, **options)
    source = str(result.settings["regions"])
    progress(1.0, "Drawing")
    return create_region_map(image, result.volumes["image"], result.volumes["regions"], source), result.notes


def find_structures(region_map: RegionMap, row: int, column: int) -> list[np.ndarray]:
    """Return the masks (H, W) bool of what lies at a pixel of the displayed slice, the smallest first."""
    image, labels = region_map.slice_volumes()
    i, j, k = slices.find_voxel(image.grid, 0, row, column)
    method = region_map.source if region_map.source.startswith(("mobilesam", "sam")) else "mobilesam"
    result = runtime.run(METHOD, image, labels, regions=method, prompt=f"{i},{j},{k}")
    packed = to_display_slices(result.volumes["candidates"].array, image.grid)[0]
    return index_maps.unpack_masks(packed)
