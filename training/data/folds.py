"""Cross-validation folds and lesion statistics: `python -m training.data.folds FOLDER --out DIR [--folds 5]`.

FOLDER holds images and masks as `training.data.patient_folder` says. Writes `statistics.csv` (a row an exam),
`folds.json` and, with pictures, `lesions.html`. Each plane has folds of its own, of whole people and alike in the sizes
of lesion in a slice (`training.data.stroke_folds`, whose bins are taken in mm²); people without lesions are in none of
them. Slices are numbered along RAS: from the patient's left, back and foot, as nibabel's `as_closest_canonical` stores
them.
"""

import argparse
import csv
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import plotly.graph_objects as go
from nibabel.orientations import apply_orientation, io_orientation

from medapp.analysis import mask_metrics
from medapp.errors import InputError, UserError
from medapp.imaging.geometry import resample
from medapp.imaging.volume import Volume
from medapp.io import files
from medapp.rendering import colour, html_page, lesion_charts
from training.core.html_report import render_figure, render_page, render_table
from training.data import patient_folder
from training.data.stroke_folds import BIN_BORDERS, FOLDS, SEED, Fold, PlaneSlices, lesion_size_p, split_folds
from training.data.stroke_slices import FAINT_CONTRAST, PLANES

IMAGE_WORDS = ("image", "flair", "t1", "t1w", "t1n", "t2", "t2w", "t2f", "dwi", "ct", "")
MAP_SIDE = 64  # a side of the maps
AXIS_TITLES = {"axial": ("left to right", "back to front"), "coronal": ("left to right", "foot to head"),
        "sagittal": ("back to front", "foot to head")}  # fmt: skip
MAP_NOTE = (
    "Share of the exams with lesion somewhere along the line of sight, over the place in the box around the head. "
    "Heads are stretched to one box, not registered."
)


class SliceListing(NamedTuple):
    """The slices of one plane of all exams, and the exam of each, (N,)."""

    slices: PlaneSlices
    exam: np.ndarray


class ExamLesions(NamedTuple):
    """The lesions of an exam: its row of statistics, slices by plane as (index, mm² of lesion), and maps by plane."""

    subject: str
    name: str
    row: dict
    slices: dict[str, list[tuple[int, int]]]
    maps: dict[str, np.ndarray]


def read_exam(exam: patient_folder.Exam) -> ExamLesions:
    """Read an exam and measure its lesions. Raises InputError for what cannot be read."""
    truth = files.read([exam.files["truth"]], name="truth", colour=True, labels=True)
    image = files.read([exam.files["image"]], name="image", colour=True)
    grey = image if not image.is_colour else image.new_like(np.asarray(image.array, np.float32).mean(3))
    mask = truth.new_like((truth.array if not truth.is_colour else truth.array.max(3)) > 0)
    if not grey.grid.is_same(mask.grid):
        grey = resample(grey, mask.grid)
    return measure_exam(exam.subject, exam.name, grey, mask)


def measure_exam(subject: str, name: str, image: Volume, mask: Volume) -> ExamLesions:
    """Return the statistics of a grey image and a bool mask on one grid."""
    along = io_orientation(mask.affine)
    inside = apply_orientation(np.asarray(mask.array), along) > 0
    low, high = colour.find_window(image.array, image.unit)
    bright = ((apply_orientation(np.asarray(image.array), along) - low) / (high - low)).clip(0, 1)
    spacing = mask.spacing[np.argsort(along[:, 0])]
    labels, count = mask_metrics.label_components(inside)
    largest = np.bincount(labels.ravel(), minlength=2)[1:].max() * mask.grid.voxel_ml
    row = {"subject": subject, "exam": name, "volume_ml": round(float(inside.sum()) * mask.grid.voxel_ml, 4)}
    row |= {"lesions": count, "largest_ml": round(float(largest), 4)}
    row |= {"voxels": "x".join(map(str, inside.shape)), "spacing_mm": "x".join(f"{s:.3g}" for s in spacing)}
    slices, maps = {}, {}
    box = mask_metrics.find_bounding_box((bright > 0.1) | inside)
    for plane, across in PLANES.items():
        rest = tuple(axis for axis in range(3) if axis != across)
        if min(inside.shape[axis] for axis in rest) > 1:
            area = inside.sum(rest) * float(np.prod(spacing[list(rest)]))
            is_kept = (area > 0) | (255 * np.ptp(bright, rest) > FAINT_CONTRAST)
            slices[plane] = [(int(at), max(1, round(area[at])) if area[at] else 0) for at in np.flatnonzero(is_kept)]
            maps[plane] = resize_map(inside[box].any(across))
        row[f"{plane}_slices"] = len(slices.get(plane, ()))
        row[f"{plane}_with_lesion"] = sum(size > 0 for _, size in slices.get(plane, ()))
    return ExamLesions(subject, name, row, slices, maps)


def resize_map(flat: np.ndarray) -> np.ndarray:
    """Resize (H, W) to (MAP_SIDE, MAP_SIDE) by nearest neighbour."""
    rows, columns = ((np.arange(MAP_SIDE) + 0.5) * n // MAP_SIDE for n in flat.shape)
    return flat[np.ix_(rows.astype(int), columns.astype(int))].astype(np.float32)


def list_slices(exams: Iterable[ExamLesions], plane: str) -> SliceListing:
    """Return the slices of a plane in which there is more than noise."""
    rows = [(each.subject, at, size, each.name) for each in exams for at, size in each.slices.get(plane, ())]
    subject, at, size, exam = zip(*rows, strict=True) if rows else ((),) * 4
    return SliceListing(
        PlaneSlices(np.array(subject, str), np.array(at, int), np.array(size, int)), np.array(exam, str)
    )


def describe_fold(listing: SliceListing, plane: str, fold: Fold) -> dict:
    """Return a fold for `folds.json`: people held out, their slices by exam, counts by size of lesion, and the test."""
    slices, held = listing.slices, np.sort(fold.held)
    bins = slices.bins(plane)[held]
    exams: dict[str, list[int]] = {}
    for name, at in zip(listing.exam[held].tolist(), slices.at[held].tolist(), strict=True):
        exams.setdefault(name, []).append(at)
    return {
        "people": np.unique(slices.subject[held]).tolist(),
        "slices": exams,
        "without_lesion": int((bins < 0).sum()),
        "by_size": np.bincount(bins[bins >= 0], minlength=len(BIN_BORDERS[plane]) + 1).tolist(),
        "mann_whitney_p": float(f"{lesion_size_p(slices, fold):.3g}"),
    }


def bin_names(plane: str) -> list[str]:
    """Return the names of a plane's bins."""
    borders = BIN_BORDERS[plane]
    return [f"to {border}" for border in borders] + [f"above {borders[-1]}"]


def render_html(exams: Sequence[ExamLesions], folds: dict[str, list[dict]], title: str) -> str:
    """Return the page: volumes, sizes by plane and fold, maps, and every exam."""
    volumes = np.array([each.row["volume_ml"] for each in exams])
    positive = np.log10(volumes[volumes > 0])
    histogram = go.Figure(go.Histogram(x=positive, nbinsx=20, marker_color=colour.to_css(colour.get_label_colour(1))))
    ticks = np.arange(np.floor(positive.min()), np.ceil(positive.max()) + 1) if len(positive) else np.arange(2)
    histogram.update_xaxes(tickvals=ticks, ticktext=[f"{10**t:g}" for t in ticks], title="Volume of lesion (ml)")
    histogram.update_layout(template=lesion_charts.CHART_TEMPLATE, height=300, yaxis_title="Exams")
    people, clean = len({each.subject for each in exams}), int((volumes == 0).sum())
    about = f"{len(exams)} exams of {people} people, {clean} without lesion."
    pieces = [html_page.render_section("Volumes", f"<p>{about}</p>" + render_figure("", histogram))]
    for plane, parts in folds.items():
        bars = go.Figure(layout={"template": lesion_charts.CHART_TEMPLATE, "height": 320, "barmode": "stack"})
        for number, part in enumerate(parts, 1):
            bars.add_bar(
                x=bin_names(plane),
                y=part["by_size"],
                name=f"fold {number}",
                marker_color=colour.to_css(colour.get_label_colour(number)),
            )
        bars.update_layout(xaxis_title="Lesion in the slice (mm²)", yaxis_title="Slices")
        maps = [each.maps[plane] for each in exams if plane in each.maps]
        heat = go.Figure(go.Heatmap(z=np.mean(maps, 0).T, colorscale="Viridis", zmin=0))
        heat.update_layout(template=lesion_charts.CHART_TEMPLATE, height=420, width=480)
        heat.update_xaxes(title=AXIS_TITLES[plane][0], showticklabels=False)
        heat.update_yaxes(title=AXIS_TITLES[plane][1], showticklabels=False)
        lines = [
            (n, ", ".join(p["people"]), sum(p["by_size"]), p["without_lesion"], p["mann_whitney_p"])
            for n, p in enumerate(parts, 1)
        ]
        columns = ("fold", "people held out", "slices with lesion", "without", "p (Mann–Whitney)")
        body = render_figure("Slices by size of lesion", bars) + render_figure("Where lesions lie", heat)
        note = "p: whether lesions held out are of another size than those that train."
        pieces.append(
            html_page.render_section(
                plane.capitalize(), body + f"<p>{MAP_NOTE}</p>" + render_table(columns, lines, note)
            )
        )
    rows = [list(each.row.values()) for each in exams]
    return render_page(
        title, [*pieces, html_page.render_section("Every exam", render_table(list(exams[0].row), rows, ""))]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--folds", type=int, default=FOLDS)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument(
        "--subject", default=patient_folder.SUBJECT, help="regular expression that finds the person in file names"
    )
    args = parser.parse_args()
    try:
        print(write_folds(args.folder, args.out, args.folds, args.seed, args.subject))
    except (UserError, ValueError) as error:
        parser.exit(1, f"{error}\n")


def write_folds(
    data: Path, out: Path, count: int = FOLDS, seed: int = SEED, subject: str = patient_folder.SUBJECT
) -> str:
    """Write the three files and return a line a fold.

    Raises InputError without images, ValueError for too few people.
    """
    roles = {"image": IMAGE_WORDS, "truth": patient_folder.MASK_WORDS}
    exams = [read_exam(exam) for exam in patient_folder.find_complete_exams(data, roles, list(roles), subject)]
    listings = {plane: list_slices(exams, plane) for plane in PLANES}
    listings = {plane: listing for plane, listing in listings.items() if listing.slices.pixels.any()}
    if not listings:
        raise InputError(f"No mask in {data} has a lesion in it.")
    folds = {
        plane: [describe_fold(listing, plane, fold) for fold in split_folds(listing.slices, plane, count, seed)]
        for plane, listing in listings.items()
    }
    out.mkdir(parents=True, exist_ok=True)
    with (out / "statistics.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, exams[0].row)
        writer.writeheader()
        writer.writerows(each.row for each in exams)
    (out / "folds.json").write_text(json.dumps({"folds": count, "seed": seed, "planes": folds}, indent=1))
    (out / "lesions.html").write_text(render_html(exams, folds, f"Lesions in {data.name}"), encoding="utf-8")
    return "\n".join(
        f"{plane} fold {number}: {len(part['people'])} people; lesion slices by size {part['by_size']}; "
        f"{part['without_lesion']} without; Mann–Whitney p = {part['mann_whitney_p']}"
        for plane, parts in folds.items()
        for number, part in enumerate(parts, 1)
    )


if __name__ == "__main__":
    main()
