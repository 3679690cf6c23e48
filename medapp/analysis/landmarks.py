"""Target registration error at landmarks: the distance of corresponding points after registration."""

from dataclasses import replace

import numpy as np

from medapp.errors import InputError
from medapp.imaging.geometry import is_inside
from medapp.imaging.volume import Grid
from medapp.result import Metric, Result, Table

MIN_SHARE_INSIDE = 0.5  # of the landmarks, that must lie within their image
LANDMARK_COLUMNS = ("landmark", "x (mm)", "y (mm)", "z (mm)", "error before (mm)", "error after (mm)")
LANDMARK_TABLE_HELP = "Target registration error: distance of a warped landmark from its partner in the moving image."


def require_landmarks_inside(pairs: np.ndarray, fixed: Grid, moving: Grid) -> None:
    """Raise InputError unless half of the points of pairs (N, 6), RAS+ mm, lie in their image's box."""
    for name, points, grid in (("fixed", pairs[:, :3], fixed), ("moving", pairs[:, 3:], moving)):
        share = float(is_inside(grid.to_index(points), grid).mean())
        if share < MIN_SHARE_INSIDE:
            raise InputError(
                f"Only {share:.0%} of the landmarks lie within the {name} image. Give them in RAS millimetres, fixed "
                "ones first."
            )


def measure_landmarks(result: Result, pairs: np.ndarray) -> Result:
    """Return the result with the target registration error at pairs of points (N, 6), RAS+ mm, fixed then moving.

    Adds the table `landmarks` and the metrics `tre_before`, `tre` and `tre_max`. Raises ValueError for a result without
    a deformation.
    """
    if result.deformation is None or result.affine is None:
        raise ValueError("landmarks without a registration")
    fixed, moving = pairs[:, :3], pairs[:, 3:]
    rotation, translation = result.affine[:3, :3], result.affine[:3, 3]
    before, after = (
        np.linalg.norm(points @ rotation.T + translation - moving, axis=1)
        for points in (fixed, result.deformation.transform_points(fixed))
    )
    rows = tuple(
        (n, *(round(float(v), 2) for v in point), round(float(b), 3), round(float(a), 3))
        for n, (point, b, a) in enumerate(zip(fixed, before, after, strict=True), 1)
    )
    metrics = {
        "tre_before": Metric(round(float(before.mean()), 3), "mm"),
        "tre": Metric(round(float(after.mean()), 3), "mm"),
        "tre_max": Metric(round(float(after.max()), 3), "mm"),
    }
    return replace(
        result,
        metrics={**result.metrics, **metrics},
        tables={**result.tables, "landmarks": Table(LANDMARK_COLUMNS, rows, LANDMARK_TABLE_HELP)},
    )
