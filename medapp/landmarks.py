"""Landmarks: how far from each other corresponding points of two images come to lie."""

from dataclasses import replace

import numpy as np

from medapp.result import Metric, Result, Table

COLUMNS = ("landmark", "x (mm)", "y (mm)", "z (mm)", "error before (mm)", "error after (mm)")
ABOUT = "Target registration error: how far from its partner in the moving image a landmark of the fixed one comes."


def measured(result: Result, pairs: np.ndarray) -> Result:
    """The result with the target registration error at pairs of points (N, 6), RAS+ millimetres, fixed then moving."""
    if result.deformation is None or result.affine is None:
        raise ValueError("landmarks without a registration")
    fixed, moving = pairs[:, :3], pairs[:, 3:]
    turn, shift = result.affine[:3, :3], result.affine[:3, 3]
    before, after = (
        np.linalg.norm(points @ turn.T + shift - moving, axis=1) for points in (fixed, result.deformation.moved(fixed))
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
        tables={**result.tables, "landmarks": Table(COLUMNS, rows, ABOUT)},
    )
