"""Overlap of the regions of two brains before and after a deformation, and the deformation within each."""

from collections.abc import Mapping

import numpy as np

from medapp.analysis import field_discontinuity, mask_metrics
from medapp.imaging.deformation import Deformation
from medapp.imaging.volume import Grid, Volume
from medapp.result import Metric, Table

OVERLAP_COLUMNS = (
    "region", "volume (ml)", "mean displacement (mm)", "mean Jacobian", "Dice before", "Dice after",
    "voxel HD95 before (mm)", "voxel HD95 after (mm)", "jump at boundary (mm)",
)  # fmt: skip
OVERLAP_TABLE_HELP = (
    "Regions of the fixed image ({fixed}) against those of the moving one ({moving}), warped to voxels of {spacing} mm "
    "by the affine alone (before) and by the whole transform (after). Displacement: after the affine. Mean Jacobian: "
    "above 1 the region is larger in the moving image, the affine apart. Voxel HD95: 95th percentile of the distances "
    "between the regions' border voxels, each counted once; the HD95 of other tables is weighted by surface area. "
    "{jump}"
)
PREDICTED_SOURCE = "predicted"


def measure_overlap(
    labels: Volume,
    before: np.ndarray,
    after: np.ndarray,
    field: Deformation,
    determinant: np.ndarray,
    sources: Mapping[str, str],
) -> tuple[Table, dict[str, Metric]]:
    """Return a table with a row for every region of the fixed image's `labels`, and the metrics averaged over them.

    `before` and `after` are the moving image's labels with the same numbers, warped without and with the deformation;
    these, the field and its Jacobian determinant are all (I, J, K) on the grid of `labels`. `sources` tells where the
    regions of "fixed" and "moving" come from.
    """
    grid = labels.grid
    numbers = [n for n in labels.labels if (labels.array == n).any()]
    count = max(numbers, default=0) + 1
    size = np.bincount(labels.array.ravel(), minlength=count)
    length = np.bincount(labels.array.ravel(), field.magnitude.ravel(), count)
    change = np.bincount(labels.array.ravel(), determinant.ravel(), count)
    jump = field_discontinuity.average_jumps_by_region(field, labels.array)
    warped_sizes = [np.bincount(other.ravel(), minlength=count) for other in (before, after)]
    shared = [np.bincount(labels.array[labels.array == other], minlength=count) for other in (before, after)]
    borders = [_find_border_voxels(array, grid) for array in (labels.array, before, after)]
    rows = []
    for n in numbers:
        dice = [2 * int(both[n]) / int(size[n] + other[n]) for both, other in zip(shared, warped_sizes, strict=True)]
        distances = [mask_metrics.compute_voxel_hd95(borders[0].get(n), other.get(n)) for other in borders[1:]]
        rows.append(
            (
                labels.labels[n],
                round(float(size[n]) * grid.voxel_ml, 3),
                round(float(length[n] / size[n]), 3),
                round(float(change[n] / size[n]), 4),
                *(round(value, 4) for value in dice),
                *(None if value is None else round(value, 3) for value in distances),
                round(jump.get(n, 0.0), 4),
            )
        )
    about = OVERLAP_TABLE_HELP.format(
        spacing=" × ".join(f"{s:.3g}" for s in grid.spacing), jump=field_discontinuity.BOUNDARY_JUMP_HELP, **sources
    )
    metrics = {}
    if rows:
        metrics["dice_before"], metrics["dice"] = (
            Metric(round(float(np.mean([r[c] for r in rows])), 4)) for c in (4, 5)
        )
        metrics["boundary_jump"] = Metric(round(float(np.mean([r[8] for r in rows])), 4), "mm")
    return Table(OVERLAP_COLUMNS, tuple(rows), about), metrics


def _find_border_voxels(labels: np.ndarray, grid: Grid) -> dict[int, np.ndarray]:
    """By label, the voxels (N, 3) in RAS+ mm that share a face with another label or lie at the edge of the grid."""
    edge = np.zeros(labels.shape, bool)
    for axis in range(3):
        along_axis = np.moveaxis(edge, axis, 0)
        array = np.moveaxis(labels, axis, 0)
        change = array[1:] != array[:-1]
        along_axis[1:] |= change
        along_axis[:-1] |= change
        along_axis[[0, -1]] = True
    edge &= labels > 0
    index = np.argwhere(edge)
    number = labels[edge]
    order = np.argsort(number, kind="stable")
    values, begin = np.unique(number[order], return_index=True)
    return {
        int(v): grid.to_mm(part) for v, part in zip(values, np.split(index[order], begin[1:]), strict=True) if len(part)
    }
