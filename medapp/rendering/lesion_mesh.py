"""Lesions as surfaces inside a translucent head, in RAS+ mm."""

import numpy as np
import plotly.graph_objects as go
from nibabel.affines import from_matvec
from scipy import ndimage
from skimage.measure import marching_cubes

from medapp.analysis import mask_metrics
from medapp.imaging.volume import Grid, Volume
from medapp.rendering import colour
from medapp.rendering.layers import find_voxels
from medapp.rendering.lesion_charts import CHART_INK, CHART_TEMPLATE, NO_LESION, plot_message
from medapp.rendering.slice_grids import is_flat

MAX_SINGLE_LESIONS = 20  # lesions with a surface of their own; smaller ones share one
MAX_TRIANGLES = 22_000  # of all lesions together, roughly
LIGHTING = {"ambient": 0.55, "diffuse": 0.7, "specular": 0.15, "roughness": 0.7}
LIGHT_POSITION = {"x": 1000, "y": 3000, "z": 6000}
HEAD_LEVEL = 0.5  # of the smoothed head at its surface


def plot_lesion_surfaces(mask: Volume, image: Volume | None = None) -> go.Figure:
    """Plot the lesions of `mask` inside the surface of `image`, seen from the patient's front, right and above.

    Each of the largest lesions is a trace "lesion 1, 12.3 ml", in the order of the lesion table.
    """
    if is_flat(mask.grid) or min(mask.shape) < 2:
        return plot_message("A single slice has no surface to show in three dimensions")
    traces = make_lesion_surfaces(mask)
    if not traces:
        return plot_message(NO_LESION)
    if image is not None and not image.is_colour:
        head = make_head_surface(image)
        traces += [] if head is None else [head]
    return assemble_scene(traces)


def assemble_scene(traces: list[go.Mesh3d]) -> go.Figure:
    """Make a figure of surfaces with direction letters, seen from the patient's front, right and above."""
    hidden = {"visible": False, "showspikes": False}
    eye = {"x": 0.85, "y": 1.15, "z": 0.7}
    return go.Figure([*traces, _make_letters(traces)]).update_layout(
        template=CHART_TEMPLATE, height=480, margin={"l": 0, "r": 0, "t": 0, "b": 0}, showlegend=False,
        scene={
            "xaxis": hidden, "yaxis": hidden, "zaxis": hidden, "aspectmode": "data",
            "camera": {"eye": eye, "up": {"x": 0, "y": 0, "z": 1}},
        },
    )  # fmt: skip


def make_surface(
    inside: np.ndarray, start: np.ndarray, affine: np.ndarray, step: int, name: str, tint: str, smooth: float = 0.6
) -> go.Mesh3d:
    """Make the surface of a mask (i, j, k) bool whose first voxel has the index `start`; thin masks get small steps."""
    steps = np.minimum(step, np.maximum(1, np.array(inside.shape) // 6))
    padding = [(n + 2, 2 * n + 2) for n in steps]
    field = ndimage.gaussian_filter(np.pad(inside.astype(np.float32), padding), smooth * steps)
    field = field[tuple(slice(None, None, n) for n in steps)]
    onto = from_matvec(np.diag(steps.astype(float)), start - (steps + 2))
    vertices, faces = extract_surface(field, affine @ onto, level=min(0.5, float(field.max()) / 2))
    return _make_trace(vertices, faces, name, tint)


def make_lesion_surfaces(mask: Volume) -> list[go.Mesh3d]:
    """Make a surface for each of the largest lesions and one for all smaller ones, largest first."""
    index = find_voxels(mask)
    if not len(index):
        return []
    lower, upper = index.min(axis=0), index.max(axis=0) + 1
    labels, count = mask_metrics.label_components(
        mask.array[tuple(slice(a, b) for a, b in zip(lower, upper, strict=True))] > 0
    )
    sizes = np.bincount(labels.ravel())[1:] * mask.grid.voxel_ml
    step, tint = _choose_step(labels), colour.to_css(colour.get_label_colour(1))
    traces = []
    boxes = ndimage.find_objects(labels, min(count, MAX_SINGLE_LESIONS))
    for number, box in enumerate(boxes, 1):
        start = lower + [s.start for s in box]
        traces.append(
            make_surface(
                labels[box] == number, start, mask.affine, step, f"lesion {number}, {sizes[number - 1]:.3g} ml", tint
            )
        )
    if count > MAX_SINGLE_LESIONS:
        name = f"lesions {MAX_SINGLE_LESIONS + 1} to {count}, {sizes[MAX_SINGLE_LESIONS:].sum():.3g} ml together"
        traces.append(make_surface(labels > MAX_SINGLE_LESIONS, lower, mask.affine, 1, name, tint, smooth=0.0))
    return traces


def make_head_surface(image: Volume, spacing: float = 5.0) -> go.Mesh3d | None:
    """Make one translucent surface of the head (or of the brain, if skull-stripped); None if there is none.

    It encloses blocks of about `spacing` mm that are brighter than the mean, as in `intensity.standardize`.
    """
    block = np.maximum(1, np.rint(spacing / image.spacing)).astype(int)
    coarse = _average_blocks(image.array, block)
    bright = ndimage.gaussian_filter((coarse > coarse.mean()).astype(np.float32), 0.7) > 0.4
    bright = ndimage.binary_fill_holes(ndimage.binary_closing(np.pad(bright, 2), iterations=2))
    labels, count = mask_metrics.label_components(bright)
    if not count:
        return None
    field = ndimage.gaussian_filter((labels == 1).astype(np.float32), 0.8)
    if not field.min() < HEAD_LEVEL < field.max():  # too thin, as in a few slices
        return None
    scale = from_matvec(np.diag(block.astype(float)), (block - 1) / 2 - 2 * block)
    vertices, faces = extract_surface(field, image.affine @ scale, level=HEAD_LEVEL)
    return _make_trace(np.rint(vertices).astype(np.int16), faces, "head", "#9aa0a6", opacity=0.16, hoverinfo="skip")


def extract_surface(field: np.ndarray, affine: np.ndarray, level: float) -> tuple[np.ndarray, np.ndarray]:
    """Extract the surface of (I, J, K) at `level`: vertices (N, 3) in RAS+ mm, triangles (M, 3) facing outwards."""
    vertices, faces, _, _ = marching_cubes(field, level, allow_degenerate=False)
    vertices = Grid(field.shape, affine).to_mm(vertices)
    a, b, c = (vertices - vertices.mean(axis=0))[faces.T]
    if np.einsum("ij,ij->", a, np.cross(b, c)) < 0:  # the volume the triangles enclose
        faces = faces[:, ::-1]
    return vertices.astype(np.float32), faces


def _choose_step(labels: np.ndarray) -> int:
    """The step in voxels that gives about MAX_TRIANGLES, at two for each voxel face on the border."""
    inside = labels > 0
    border = sum(np.count_nonzero(np.diff(inside, axis=axis)) for axis in range(3))
    return int(np.clip(np.ceil(np.sqrt(2 * border / MAX_TRIANGLES)), 1, 4))


def _average_blocks(array: np.ndarray, block: np.ndarray) -> np.ndarray:
    """(I, J, K) averaged over blocks of voxels, float32; incomplete blocks at the far ends are left out."""
    shape = np.maximum(1, np.array(array.shape) // block)
    out = array[tuple(slice(0, n * b) for n, b in zip(shape, block, strict=True))]
    for axis in range(3):
        out = np.add.reduceat(out, np.arange(0, out.shape[axis], block[axis]), axis=axis, dtype=np.float32)
    return out / block.prod()


def _make_trace(vertices: np.ndarray, faces: np.ndarray, name: str, tint: str, **looks: object) -> go.Mesh3d:
    small = np.uint16 if len(vertices) < 2**16 else np.int32
    x, y, z = vertices.T
    i, j, k = faces.T.astype(small)
    looks = {"hoverinfo": "name", **looks}
    return go.Mesh3d(
        x=x, y=y, z=z, i=i, j=j, k=k, name=name, color=tint, lighting=LIGHTING, lightposition=LIGHT_POSITION, **looks
    )


def _make_letters(traces: list[go.Mesh3d]) -> go.Scatter3d:
    """The letters R, L, A, P, S and I, 8 mm away from the surfaces."""
    ends = np.array([[(float(np.min(t[axis])), float(np.max(t[axis]))) for axis in "xyz"] for t in traces])  # (T, 3, 2)
    low, high = ends[..., 0].min(axis=0) - 8, ends[..., 1].max(axis=0) + 8
    places = np.tile((low + high) / 2, (6, 1))
    for axis in range(3):
        places[2 * axis, axis], places[2 * axis + 1, axis] = low[axis], high[axis]
    x, y, z = places.astype(np.float32).T
    font = {"size": 18, "color": CHART_INK}
    return go.Scatter3d(
        x=x, y=y, z=z, text=list("LRPAIS"), mode="text", textfont=font, hoverinfo="skip", name="directions"
    )
