"""Multiple sclerosis: where lesions lie, how large they are, and what became of them since an earlier scan."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from nibabel.orientations import io_orientation
from scipy import ndimage, sparse

from medapp.analysis import lesions, mask_metrics
from medapp.imaging.brain_labels import CLASS_NAMES, split_side
from medapp.imaging.volume import Grid, Volume
from medapp.result import Metric, Result, Table

LOCATIONS = {1: "periventricular", 2: "juxtacortical", 3: "infratentorial", 4: "deep white matter"}
PERIVENTRICULAR, JUXTACORTICAL, INFRATENTORIAL, DEEP = LOCATIONS
ADJACENCY_MM = {
    PERIVENTRICULAR: 3.0,
    JUXTACORTICAL: 1.5,
}  # mm from lateral ventricle and cortex within which a voxel abuts
MIN_CORTEX_SHARE = 0.1  # of the largest piece of cortex; smaller ones are none
SIZE_CLASSES = {"small": 0.1, "medium": 1.0, "large": np.inf}  # ml below which a lesion is that; our own classes
CHANGE_CLASSES = {1: "new", 2: "enlarging", 3: "shrinking", 4: "stable", 5: "gone"}
NEW, ENLARGING, SHRINKING, STABLE, GONE = CHANGE_CLASSES
MIN_CHANGE_SHARE, MIN_CHANGE_ML = (
    0.25,
    0.05,
)  # of the volume then, and ml, by both of which a lesion must differ to have changed
PLANE_AXES = {"coronal": 1, "sagittal": 0, "axial": 2}  # and the RAS axis across the slices
LOCATION_HELP = (
    " Place, as in the McDonald criteria (Thompson et al. 2018, doi:10.1016/S1474-4422(17)30470-2): infratentorial if "
    "most of a lesion lies in brain stem or cerebellum; else periventricular if it comes within {:g} mm of a lateral "
    "ventricle; else juxtacortical if within {:g} mm of the cerebral cortex; else deep white matter, deep grey "
    "included. The distances are ours and allow for the error of the regions, which a network found. Small: under "
    "{:g} ml; medium: under {:g} ml."
).format(*ADJACENCY_MM.values(), *SIZE_CLASSES.values())
CHANGE_TABLE_HELP = (
    "Lesions of both scans that overlap belong together; volumes are of all of them. Enlarging or shrinking: by {:.0%} "
    "of the volume then and by {:g} ml at least, which is about half a millimetre of border; both limits are ours. "
    "Lesions: probability at or above {:g}, {:g} ml at one of the times."
)
ATTENTION_TABLE_HELP = (
    "How much a row of blocks (about 16 mm thick) draws on each of the others, at the bottom of the network; the "
    "weights of a row sum to 1. Positions: millimetres to the right, the front or the head, on the image's middle line."
)
MS_LESION_COLUMNS = (*lesions.LESION_COLUMNS, "size", "place")
LOCATION_COLUMNS = ("place", "lesions", *SIZE_CLASSES, "volume (ml)", "share of volume (%)")
CHANGE_COLUMNS = (
    "lesion", "change", "volume then (ml)", "volume now (ml)", "difference (ml)", "difference (%)", "place",
    "x (mm)", "y (mm)", "z (mm)",
)  # fmt: skip


def _select_classes(*structures: str) -> np.ndarray:
    """(36,) bool: which of the classes are one of the structures, on either side."""
    return np.array([split_side(name)[1] in structures for name in CLASS_NAMES])


VENTRICLE_CLASSES = _select_classes("Lateral-Ventricle", "Inf-Lat-Ventricle", "Choroid-Plexus")
CORTEX_CLASSES = _select_classes("Cerebral-Cortex")
INFRATENTORIAL_CLASSES = _select_classes("Brain-Stem", "Cerebellum-White-Matter", "Cerebellum-Cortex", "4th-Ventricle")


def label_zones(classes: np.ndarray, spacing: Sequence[float], lesion: np.ndarray | None = None) -> np.ndarray:
    """Which of PLACES each voxel counts to: (X, Y, Z) uint8 from regions (`imaging.anatomy`) on voxels of that many mm.

    0 outside the box of the brain, and everywhere where there are no regions. What is `lesion` (X, Y, Z) bool, and what
    without it is cut off from the cortex, is no cortex: lesions and their borders are easily taken for grey matter.
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
    """(count,) of PLACES for the lesions 1 to `count` of `labels` (I, J, K), by their voxels' zones; 0: unknown."""
    kinds = len(LOCATIONS) + 1
    inside = labels > 0
    votes = np.bincount(labels[inside] * kinds + zone[inside], minlength=(count + 1) * kinds).reshape(-1, kinds)[1:]
    known = votes[:, 1:].sum(1)
    rules = (
        known == 0,
        2 * votes[:, INFRATENTORIAL] > known,
        votes[:, PERIVENTRICULAR] > 0,
        votes[:, JUXTACORTICAL] > 0,
    )
    return np.select(rules, (0, INFRATENTORIAL, PERIVENTRICULAR, JUXTACORTICAL), DEEP)


def classify_size(ml: float) -> str:
    """The name of the class in SIZES."""
    return next(name for name, end in SIZE_CLASSES.items() if ml < end)


def measure_ms_lesions(result: Result, settings: Mapping[str, Any], reference: Volume | None = None) -> Result:
    """Return the result with everything that follows from the settings `threshold` and `min_lesion_ml`.

    Needs `probability` and `zones`, and for the change `probability_baseline`, all on one grid. Adds what
    `lesions.measured` adds, `places` (the lesions, labelled by PLACES), the table of that name, and, where there is an
    earlier scan, `change` (labelled by CHANGES), its table and how many lesions changed how.
    """
    threshold, min_lesion_ml = settings["threshold"], settings["min_lesion_ml"]
    out = lesions.measure_lesions(result, threshold, min_lesion_ml, reference)
    mask, zone = out.volumes["mask"], out.volumes["zones"].array
    labels, count = mask_metrics.label_components(mask.array > 0)
    where = locate_lesions(labels, count, zone)
    volumes, metrics, tables = dict(out.volumes), dict(out.metrics), dict(out.tables)
    volumes["places"] = mask.new_like(_map_labels(where, labels), labels=LOCATIONS, name="places", headers=())
    found = tables["lesions"]
    rows = tuple(
        (*row, classify_size(row[1]), LOCATIONS.get(w, "")) for row, w in zip(found.rows, where.tolist(), strict=True)
    )
    tables["lesions"] = Table(MS_LESION_COLUMNS, rows, found.about + LOCATION_HELP)
    tables["places"] = Table(LOCATION_COLUMNS, tuple(_count_by_location(rows)))
    if "probability_baseline" in volumes:
        earlier = volumes["probability_baseline"].array
        now, then = (array >= threshold for array in (volumes["probability"].array, earlier))
        change, fates = compare_time_points(now, then, min_lesion_ml, zone, mask.grid)
        volumes["change"] = mask.new_like(change, labels=CHANGE_CLASSES, name="change", headers=())
        about = CHANGE_TABLE_HELP.format(MIN_CHANGE_SHARE, MIN_CHANGE_ML, threshold, min_lesion_ml)
        tables["change"] = Table(CHANGE_COLUMNS, tuple(fates), about)
        said = [row[1] for row in fates]
        metrics |= {name: Metric(said.count(name)) for name in CHANGE_CLASSES.values()}
        metrics["volume_before"] = Metric(round(sum(row[2] for row in fates), 3), "ml")
    return replace(out, volumes=volumes, metrics=metrics, tables=tables, settings={**out.settings, **dict(settings)})


def _count_by_location(rows: Sequence[tuple]) -> list[tuple]:
    """How many of the lesions are of which size, and their volume, in each of PLACES and altogether."""
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
    now: np.ndarray, then: np.ndarray, min_lesion_ml: float, zone: np.ndarray, grid: Grid
) -> tuple[np.ndarray, list[tuple]]:
    """What became of lesions: (I, J, K) uint8 of CHANGES, and rows of BY_CHANGE, in that order, the largest first.

    `now` and `then` are (I, J, K) bool. Lesions that overlap, also several with one, count as one, and are left out if
    they have less than `min_lesion_ml` ml at both times.
    """
    box = mask_metrics.find_bounding_box(now | then)
    (a, n), (b, m) = (mask_metrics.label_components(mask[box]) for mask in (now, then))
    both = (a > 0) & (b > 0)
    pairs = sparse.coo_array((np.ones(both.sum(), bool), (a[both] - 1, n + b[both] - 1)), shape=(n + m, n + m))
    count, group = sparse.csgraph.connected_components(pairs, directed=False)
    here, there = _map_labels(group[:n] + 1, a, np.int32), _map_labels(group[n:] + 1, b, np.int32)
    ml = np.stack([np.bincount(each.ravel(), minlength=count + 1)[1:] for each in (there, here)], 1) * grid.voxel_ml
    joined = np.where(here > 0, here, there)
    status = np.array([classify_change(*each) for each in ml.tolist()], int)
    status[ml.max(1, initial=0) < max(min_lesion_ml, 1e-9)] = 0
    where = locate_lesions(joined, count, zone[box])
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
        figures = (round(before, 3), round(after, 3), round(after - before, 3), share)
        rows.append((number, CHANGE_CLASSES[status[g]], *figures, LOCATIONS.get(where[g], ""), *centre))
    out = np.zeros(now.shape, np.uint8)
    out[box] = _map_labels(status, joined)
    return out, rows


def classify_change(then: float, now: float) -> int:
    """Which of CHANGES a lesion of so many ml underwent."""
    if not then or not now:
        return GONE if then else NEW
    if abs(now - then) < max(MIN_CHANGE_ML, MIN_CHANGE_SHARE * then):
        return STABLE
    return ENLARGING if now > then else SHRINKING


def _map_labels(values: np.ndarray, labels: np.ndarray, kind: type = np.uint8) -> np.ndarray:
    """The value of each label from 1, at its voxels; 0 elsewhere."""
    return np.concatenate([[0], values]).astype(kind)[labels]


def make_attention_table(weights: np.ndarray, at: Sequence[float]) -> Table:
    """Weights (L, L) among rows of blocks at positions (L,) in millimetres, as a table; see DRAWS."""
    rows = ((round(mm, 1), *np.round(row.astype(float), 4).tolist()) for mm, row in zip(at, weights, strict=True))
    return Table(("draws (mm)", *(f"on {mm:.1f}" for mm in at)), tuple(rows), ATTENTION_TABLE_HELP)


def read_attention(table: Table) -> tuple[np.ndarray, np.ndarray]:
    """Weights (L, L) and positions (L,) in millimetres, from the table."""
    values = np.array(table.rows, float)
    return values[:, 1:], values[:, 0]


def project_on_axis(grid: Grid, axis: int, mm: Sequence[float]) -> float:
    """Where a point, RAS+ millimetres, lies along the image's own axis that is nearest to the RAS axis.

    In millimetres of that RAS axis on the image's middle line, so that oblique slices have one position each.
    """
    own = find_axis(grid, axis)
    index = (np.array(grid.shape) - 1) / 2
    index[own] = grid.to_index(np.asarray(mm, float))[own]
    return float(grid.to_mm(index)[axis])


def find_axis(grid: Grid, axis: int) -> int:
    """The image's own axis nearest to a RAS axis, one for each."""
    return int(np.flatnonzero(io_orientation(grid.affine)[:, 0] == axis)[0])
