"""Surface files: surfaces as MZ3, the format of Surf Ice, for the browser.

Its layout: magic number, attributes (1 faces, 2 vertices, 4 colours, 8 values), counts, then the arrays, little-endian.
"""

import hashlib
import struct
from pathlib import Path

import matplotlib
import numpy as np

from medapp.rendering.view import Surface
from medapp.ui.gradio_compat import FileData, GradioModel
from medapp.ui.viewer.texture_files import write_gzipped

MAGIC = 0x5A4D
FACES, VERTICES, COLOURS = 1, 2, 4


class SceneSurface(GradioModel):
    """A surface whose vertices have their colours. `ramp` is the colour scale, of `low` to `high` in `unit`, if any."""

    file: FileData
    name: str
    is_seen_through: bool
    ramp: list[list[int]]
    low: float
    high: float
    unit: str


def write_surface(surface: Surface, folder: Path) -> SceneSurface:
    """Write a surface into `folder`, unless it is there."""
    content = pack_surface(surface)
    digest = hashlib.blake2b(content, digest_size=12).hexdigest()
    has_values = surface.values is not None
    return SceneSurface(
        file=write_gzipped(folder / f"{digest}.mz3", lambda: content),
        name=surface.name,
        is_seen_through=surface.is_seen_through,
        ramp=list_colours(surface.colour_map) if has_values else [],
        low=surface.window.low,
        high=surface.window.high,
        unit=surface.unit,
    )


def pack_surface(surface: Surface) -> bytes:
    """Return the MZ3 bytes, not compressed."""
    count = len(surface.vertices)
    colours = np.full((count, 4), 255, np.uint8)
    if surface.values is None:
        colours[:, :3] = surface.colour
    else:
        share = np.clip((surface.values - surface.window.low) / (surface.window.high - surface.window.low), 0, 1)
        colours[:, :3] = np.rint(matplotlib.colormaps[surface.colour_map](share)[:, :3] * 255)
    header = struct.pack("<HHIII", MAGIC, FACES | VERTICES | COLOURS, len(surface.faces), count, 0)
    parts = surface.faces.astype("<i4"), surface.vertices.astype("<f4"), colours
    return header + b"".join(np.ascontiguousarray(part).tobytes() for part in parts)


def list_colours(colour_map: str, steps: int = 16) -> list[list[int]]:
    """Return colours (steps, 3), 0 to 255, from the low to the high end of a matplotlib colour map."""
    return np.rint(matplotlib.colormaps[colour_map](np.linspace(0, 1, steps))[:, :3] * 255).astype(int).tolist()
