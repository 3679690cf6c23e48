"""Lesions of multiple sclerosis: location, size, change since an earlier scan, and the network's attention."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from nibabel.orientations import io_orientation
from scipy import ndimage, sparse

from medapp.analysis import lesions, mask_metrics
from medapp.analysis.hand_correction import CORRECTION, correct_mask
from medapp.imaging.brain_labels import CLASS_NAMES, split_side
from medapp.imaging.volume import Grid, Volume
from medapp.result import Metric, Result, Table

LOCATIONS = {1: "periventricular", 2: "juxtacortical", 3: "infratentorial", 4: "deep white matter"}
PERIVENTRICULAR, JUXTACORTICAL, INFRATENTORIAL, DEEP = LOCATIONS
ADJACENCY_MM = {
    PERIVENTRICULAR: 3.0,
    JUXTACORTICAL: 1.5,
}  # mm from ventricle and cortex within which voxels abut
MIN_CORTEX_SHARE = 0.1  # of the largest piece of cortex; smaller pieces are not cortex
SIZE_CLASSES = {"small": 0.1, "medium": 1.0, "large": np.inf}  # upper limits in ml; our own classes
CHANGE_CLASSES = {1: "new", 2: "enlarging", 3: "shrinking", 4: "stable", 5: "gone"}
NEW, ENLARGING, SHRINKING, STABLE, GONE = CHANGE_CLASSES
MIN_CHANGE_SHARE, MIN_CHANGE_ML = (
    0.25,
    0.05,
)  # of the earlier volume, and ml; a change must exceed both
PLANE_AXES = {"coronal": 1, "sagittal": 0, "axial": 2}  # the RAS axis across the slices
LOCATION_HELP = (
    " Place, as in the McDonald criteria (Thompson et al. 2018, doi:10.1016/S1474-4422(17)30470-2): infratentorial if "
    "most of a lesion lies in brain stem or cerebellum; else periventricular if it comes within {:g} mm of a lateral "
    "ventricle; else juxtacortical if within {:g} mm of the cerebral cortex; else deep white matter, deep grey "
    "included. The distances are ours and allow for the error of the regions, which a network found. Small: under "
    "{:g} ml; medium: under {:g} ml."
).format(*ADJACENCY_MM.values(), *SIZE_CLASSES.values())
CHANGE_TABLE_HELP = (
    "Lesions of the two scans that overlap count as one, with their volumes added. Enlarging or shrinking: by at least "
    "{:.0%} of the earlier volume and {:g} ml, about half a millimetre at the border; both limits are ours. Lesions: "
    "probability at or above {:g}, and {:g} ml in one of the scans."
)
ATTENTION_TABLE_HELP = (
    "Attention of each slab of slices (about 16 mm thick) to each of the others, at the network's bottleneck; the "
    "weights of a row sum to 1. Positions: millimetres to the right, the front or the head, on the image's middle line."
)
MS_LESION_COLUMNS = (*lesions.LESION_COLUMNS, "size", "place")
LOCATION_COLUMNS = ("place", "lesions", *SIZE_CLASSES, "volume (ml)", "share of volume (%)")
CHANGE_COLUMNS = (
    "lesion", "change", "volume then (ml)", "volume now (ml)", "difference (ml)", "difference (%)", "place",
    "x (mm)", "y (mm)", "z (mm)",
)  # fmt: skip


def _select_classes(*structures: str) -> np.ndarray:
    """(36,) bool: which classes are one of the structures, on either side."""
    return np.array([split_side(name)[1] in structures for name in CLASS_NAMES])


VENTRICLE_CLASSES = _select_classes("Lateral-Ventricle", "Inf-Lat-Ventricle", "Choroid-Plexus")
CORTEX_CLASSES = _select_classes("Cerebral-Cortex")
INFRATENTORIAL_CLASSES = _select_classes("Brain-Stem", "Cerebellum-White-Matter", "Cerebellum-Cortex", "4th-Ventricle")


def label_zones(classes: np.ndarray, spacing: Sequence[float], lesion: np.ndarray | None = None) -> np.ndarray:
    """Label each voxel with one of LOCATIONS, (X, Y, Z) uint8, from regions (`imaging.brain_labels`).

    `spacing` is the voxel size in mm. 0 outside the bounding box of the brain, and everywhere without regions. Voxels
    of `lesion` (X, Y, Z) bool, and pieces that are cut off from the cortex without them, do not count as cortex, since
    lesions and their borders are easily mistaken for grey matter.
    """
    out = np.zeros(classes.shape, np.uint8)
    if not classes.any():
        return out
    box = mask_metrics.find_bounding_box(classes > 0)
    near = ndimage.distance_transform_edt(classes[box] == 0, spacing, return_distances=False, return_indices=True)
    part = classes[box][tuple(near)]
    cortex = CORTEX_CLASSES[part]
    if lesion is not None and cortex.any():
        labels, _ = mask_metrics.label_components(cortex & ~lesion[box])
        sizes = np.bincount(labels.ravel())[1:]
        cortex = np.concatenate([[False], sizes >= MIN_CORTEX_SHARE * sizes.max(initial=0)])[labels]
    zone = np.full(part.shape, DEEP, np.uint8)
    for place, structure in ((JUXTACORTICAL, cortex), (PERIVENTRICULAR, VENTRICLE_CLASSES[part])):
        if structure.any():
            zone[ndimage.distance_transform_edt(~structure, spacing) <= ADJACENCY_MM[place]] = place
    zone[INFRATENTORIAL_CLASSES[part]] = INFRATENTORIAL
    out[box] = zone
    return out


def locate_lesions(labels: np.ndarray, count: int, zone: np.ndarray) -> np.ndarray:
    """Return the location (count,) of lesions 1 to `count` of `labels` (I, J, K) from their zones; 0 is unknown."""
    kinds = len(LOCATIONS) + 1
    inside = labels > 0
    zone_voxels = np.bincount(labels[inside] * kinds + zone[inside], minlength=(count + 1) * kinds).reshape(-1, kinds)[
        1:
    ]
    known = zone_voxels[:, 1:].sum(1)
    rules = (
        known == 0,
        2 * zone_voxels[:, INFRATENTORIAL] > known,
        zone_voxels[:, PERIVENTRICULAR] > 0,
        zone_voxels[:, JUXTACORTICAL] > 0,
    )
    return np.select(rules, (0, INFRATENTORIAL, PERIVENTRICULAR, JUXTACORTICAL), DEEP)


def classify_size(ml: float) -> str:
    """Return the name of the size class of a lesion of so many ml."""
    return next(name for name, end in SIZE_CLASSES.items() if ml < end)


def measure_ms_lesions(result: Result, settings: Mapping[str, Any], reference: Volume | None = None) -> Result:
    """Return the result with everything that follows from the settings `threshold` and `min_lesion_ml`.

    Needs `probability` and `zones`, and for changes `probability_baseline`, all on one grid. Adds what
    `measure_lesions` adds, `places` (the lesions labelled by LOCATIONS) and the table of that name, and with an earlier
    scan `change` (labelled by CHANGE_CLASSES), its table, and the number of lesions in each class.
    """
    threshold, min_lesion_ml = settings["threshold"], settings["min_lesion_ml"]
    measured = lesions.measure_lesions(result, threshold, min_lesion_ml, reference)
    volumes, metrics, tables = dict(measured.volumes), dict(measured.metrics), dict(measured.tables)
    mask, zone = volumes["mask"], volumes["zones"].array
    labels, count = mask_metrics.label_components(mask.array > 0)
    locations = locate_lesions(labels, count, zone)
    volumes["places"] = mask.new_like(_map_labels(locations, labels), labels=LOCATIONS, name="places", headers=())
    lesion_table = tables["lesions"]
    rows = tuple(
        (*row, classify_size(row[1]), LOCATIONS.get(location, ""))
        for row, location in zip(lesion_table.rows, locations.tolist(), strict=True)
    )
    tables["lesions"] = Table(MS_LESION_COLUMNS, rows, lesion_table.about + LOCATION_HELP)
    tables["places"] = Table(LOCATION_COLUMNS, tuple(_count_by_location(rows)))
    if "probability_baseline" in volumes:
        earlier = volumes["probability_baseline"].array
        now, then = (array >= threshold for array in (volumes["probability"].array, earlier))
        now = correct_mask(now, volumes.get(CORRECTION))
        least = 0.0 if "candidates" in metrics else min_lesion_ml
        change, change_rows = compare_time_points(now, then, least, zone, mask.grid, mask.array > 0)
        volumes["change"] = mask.new_like(change, labels=CHANGE_CLASSES, name="change", headers=())
        about = CHANGE_TABLE_HELP.format(MIN_CHANGE_SHARE, MIN_CHANGE_ML, threshold, min_lesion_ml)
        tables["change"] = Table(CHANGE_COLUMNS, tuple(change_rows), about)
        classes = [row[1] for row in change_rows]
        metrics |= {name: Metric(classes.count(name)) for name in CHANGE_CLASSES.values()}
        metrics["volume_before"] = Metric(round(sum(row[2] for row in change_rows), 3), "ml")
    settings = {**measured.settings, **dict(settings)}
    return replace(measured, volumes=volumes, metrics=metrics, tables=tables, settings=settings)


def _count_by_location(rows: Sequence[tuple]) -> list[tuple]:
    """Rows of LOCATION_COLUMNS: the lesions by size, and their volume, at each location and in total."""
    ml, sized, place = (MS_LESION_COLUMNS.index(name) for name in ("volume (ml)", "size", "place"))
    whole = sum(row[ml] for row in rows)
    out = []
    for name in (*LOCATIONS.values(), "all"):
        own = [row for row in rows if name in ("all", row[place])]
        volume = sum(row[ml] for row in own)
        counts = [sum(row[sized] == each for row in own) for each in SIZE_CLASSES]
        share = round(100 * volume / whole, 1) if whole else None
        out.append((name, len(own), *counts, round(volume, 3), share))
    return out


def compare_time_points(
    now: np.ndarray,
    then: np.ndarray,
    min_lesion_ml: float,
    zone: np.ndarray,
    grid: Grid,
    kept: np.ndarray | None = None,
) -> tuple[np.ndarray, list[tuple]]:
    """Compare the lesions of two scans: (I, J, K) uint8 of CHANGE_CLASSES, and rows of CHANGE_COLUMNS.

    `now` and `then` are (I, J, K) bool, `zone` as made by `label_zones`. Lesions that overlap, also several with one,
    count as one; they are left out below `min_lesion_ml` at both times, unless they have voxels of the mask `kept`.
    Rows are sorted by class, then by size.
    """
    box = mask_metrics.find_bounding_box(now | then)
    (a, n), (b, m) = (mask_metrics.label_components(mask[box]) for mask in (now, then))
    both = (a > 0) & (b > 0)
    pairs = sparse.coo_array((np.ones(both.sum(), bool), (a[both] - 1, n + b[both] - 1)), shape=(n + m, n + m))
    count, group = sparse.csgraph.connected_components(pairs, directed=False)
    now_groups, then_groups = _map_labels(group[:n] + 1, a, np.int32), _map_labels(group[n:] + 1, b, np.int32)
    voxels = [np.bincount(groups.ravel(), minlength=count + 1)[1:] for groups in (then_groups, now_groups)]
    ml = np.stack(voxels, 1) * grid.voxel_ml
    joined = np.where(now_groups > 0, now_groups, then_groups)
    status = np.array([classify_change(*each) for each in ml.tolist()], int)
    is_small = ml.max(1, initial=0) < max(min_lesion_ml, 1e-9)
    if kept is not None:
        is_small &= np.bincount(now_groups[kept[box] & (now_groups > 0)], minlength=count + 1)[1:] == 0
    status[is_small] = 0
    locations = locate_lesions(joined, count, zone[box])
    corner = [s.start or 0 for s in box]
    rows = []
    order = sorted(np.flatnonzero(status).tolist(), key=lambda g: (status[g], -ml[g].max(), g))
    parts = ndimage.find_objects(joined, count)
    for number, g in enumerate(order, 1):
        before, after = ml[g].tolist()
        part = parts[g]
        index = np.argwhere(joined[part] == g + 1) + [s.start for s in part] + corner
        centre = (round(float(c), 1) for c in grid.to_mm(index.mean(0)))
        share = round(100 * (after - before) / before, 1) if before else None
        volumes = (round(before, 3), round(after, 3), round(after - before, 3), share)
        rows.append((number, CHANGE_CLASSES[status[g]], *volumes, LOCATIONS.get(locations[g], ""), *centre))
    out = np.zeros(now.shape, np.uint8)
    out[box] = _map_labels(status, joined)
    return out, rows


def classify_change(then: float, now: float) -> int:
    """Classify the change of a lesion from its volumes in ml: one of CHANGE_CLASSES."""
    if not then or not now:
        return GONE if then else NEW
    if abs(now - then) < max(MIN_CHANGE_ML, MIN_CHANGE_SHARE * then):
        return STABLE
    return ENLARGING if now > then else SHRINKING


def _map_labels(values: np.ndarray, labels: np.ndarray, kind: type = np.uint8) -> np.ndarray:
    """Replace each label from 1 by its value; 0 stays."""
    return np.concatenate([[0], values]).astype(kind)[labels]


def make_attention_table(weights: np.ndarray, at: Sequence[float]) -> Table:
    """Make a table of attention weights (L, L) among slabs at positions (L,) in mm; see ATTENTION_TABLE_HELP."""
    rows = ((round(mm, 1), *np.round(row.astype(float), 4).tolist()) for mm, row in zip(at, weights, strict=True))
    return Table(("draws (mm)", *(f"on {mm:.1f}" for mm in at)), tuple(rows), ATTENTION_TABLE_HELP)


def project_on_axis(grid: Grid, axis: int, mm: Sequence[float]) -> float:
    """Return the position of a point, in RAS+ mm, along the image's own axis that is nearest to a RAS axis.

    In mm of that RAS axis on the image's middle line, so that every oblique slice has one position.
    """
    own = find_axis(grid, axis)
    index = (np.array(grid.shape) - 1) / 2
    index[own] = grid.to_index(np.asarray(mm, float))[own]
    return float(grid.to_mm(index)[axis])


def find_axis(grid: Grid, axis: int) -> int:
    """Return the image's own axis nearest to a RAS axis; each has another."""
    return int(np.flatnonzero(io_orientation(grid.affine)[:, 0] == axis)[0])
