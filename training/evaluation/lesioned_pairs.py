"""How far a lesion in one of two images pulls a registration, with and without a mask of it.

`python -m training.evaluation.lesioned_pairs DATA --out DIR [--pairs N]`. DATA holds `brain_t1` and `stroke_masks`. An
infarct of a held-out shape is painted into the fixed or into the moving image of pairs of the test people. The truth is
what the app makes of the pair before the lesion was painted: how far apart (mm) are the points of the moving image to
which a point of the fixed one is taken? Writes `cases.csv`, a row for each pair, lesion and way, and `summary.md`.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from scipy import ndimage

from medapp.algorithms.mni_template import load_template
from medapp.imaging.deformation import Deformation
from medapp.imaging.volume import Grid, Volume
from medapp.result import Result
from medapp.serving import runtime
from training.core.random_source import RandomSource
from training.core.score_tables import collect_scores
from training.data.labelled_brains import LabelledScan
from training.data.stroke_heads import align_to_template, list_brains
from training.data.stroke_lesions import LesionShapes, paint_infarct, place_lesion, reference_levels

METHOD = "register_brain_textscf"
SIZES_ML = (8, 150)  # of the lesions that are drawn
NEAR, FAR = 10, 30  # mm from the lesion: around it, and elsewhere in the brain
ZONES = ("inside", "around", "elsewhere")
WAYS = ("no mask", "mask")


class Lesioned(NamedTuple):
    """A scan with a lesion, and its mask."""

    image: Volume
    mask: Volume


def to_volume(scan: LabelledScan) -> Volume:
    """The brain of a scan, on voxels of 1 mm along RAS."""
    image = np.where(scan.tissue.numpy() > 0, scan.image.numpy(), 0).astype(np.float32)
    return Volume(image, np.eye(4), name="image")


def paint_lesion(data: Path, name: str, seed: int) -> Lesioned:
    """Paint an infarct of SIZES_ML into a scan; the same for the same seed."""
    scan, matrix = align_to_template(data, name)
    image = to_volume(scan)
    grid = Grid(image.shape, load_template().affine @ np.linalg.inv(matrix))
    shapes, rng = LesionShapes(data / "stroke_masks", "test"), RandomSource(seed)
    while True:
        placed = place_lesion(shapes.draw(rng), grid, rng)
        if placed is None:
            continue
        box, shape_mask = placed
        values = torch.tensor(image.array / 255)
        levels = reference_levels(values, scan.tissue)
        painted = paint_infarct(values[box], scan.tissue[box], shape_mask, rng, levels)
        if SIZES_ML[0] <= painted.sum() / 1000 <= SIZES_ML[1]:
            break
    mask = np.zeros(image.shape, np.uint8)
    mask[box] = painted
    return Lesioned(image.new_like(255 * values.numpy()), image.new_like(mask, labels={1: "lesion"}, name="lesion"))


def map_points(result: Result, points: np.ndarray) -> np.ndarray:
    """The points of the moving image, (N, 3) mm, to which points of the fixed one are taken."""
    assert result.deformation is not None and result.affine is not None
    moved = result.deformation.transform_points(points)
    return moved @ result.affine[:3, :3].T + result.affine[:3, 3]


def measure_error(result: Result, truth: Result, lesion: Volume, in_fixed: bool) -> dict[str, float]:
    """The mean distance in mm between two registrations in ZONES of the fixed brain."""
    field = truth.deformation
    assert isinstance(field, Deformation)
    inside = (lesion if in_fixed else field.warp(lesion, truth.affine)).array > 0
    distance = ndimage.distance_transform_edt(~inside)
    brain = truth.volumes["fixed"].array > 0
    index = np.argwhere(brain)[::17]
    points = field.grid.to_mm(index)
    apart = np.linalg.norm(map_points(result, points) - map_points(truth, points), axis=1)
    away = distance[tuple(index.T)]
    zones = (away == 0, (away > 0) & (away <= NEAR), away > FAR)
    return {name: round(float(apart[zone].mean()), 3) for name, zone in zip(ZONES, zones, strict=True)}


def score_pairs(data: Path, count: int, seed: int) -> Iterator[dict]:
    """Yield a row for each pair of the test people, image with the lesion, and way."""
    names = list_brains(data, "test")
    for number in range(count):
        pair = names[number % len(names)], names[(number + 1 + number // len(names)) % len(names)]
        healthy = [to_volume(align_to_template(data, name)[0]) for name in pair]
        truth = runtime.run(METHOD, *healthy)
        for place, side in enumerate(("fixed", "moving")):
            lesioned = paint_lesion(data, pair[place], seed + 2 * number + place)
            images = [*healthy]
            images[place] = lesioned.image
            masks: list[Volume | None] = [None, None]
            for way in WAYS:
                masks[place] = lesioned.mask if way == "mask" else None
                result = runtime.run(METHOD, *images, None, None, *masks)
                volume = float(lesioned.mask.array.sum()) / 1000
                row = {"pair": "-".join(pair), "lesion in": side, "ml": round(volume, 1), "way": way}
                yield row | measure_error(result, truth, lesioned.mask, place == 0)


def summarize(rows: list[dict]) -> str:
    """The means as a table in Markdown."""
    lines = ["| lesion in | pairs | mask | inside (mm) | to 10 mm around | beyond 30 mm |", "|---|---|---|---|---|---|"]
    for side in ("fixed", "moving"):
        for way in WAYS:
            few = [row for row in rows if (row["lesion in"], row["way"]) == (side, way)]
            means = " | ".join(f"{np.mean([row[zone] for row in few]):.2f}" for zone in ZONES)
            lines.append(f"| {side} | {len(few)} | {'yes' if way == 'mask' else 'no'} | {means} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--pairs", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    collect_scores(args.out, score_pairs(args.data, args.pairs, args.seed), summarize)


if __name__ == "__main__":
    main()
