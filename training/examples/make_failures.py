"""Draws how each method fails: `python -m training.examples.make_failures [NAME ...]`.

Writes `docs/failures/NAME.webp` for the methods named, or all: what goes in, what comes out, and what is there, of a
case that is made harder than the method can take. The cases are synthesised or made from those in `examples/`; the
cards in `weights/` say in a sentence what is seen.
"""

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from medapp import examples
from medapp.analysis import mask_metrics
from medapp.imaging.geometry import resample, to_display_slices
from medapp.imaging.volume import Volume
from medapp.presenters import get_presenter
from medapp.rendering import planes
from medapp.rendering.layers import Layer
from medapp.result import Result
from medapp.serving import runtime
from medapp.simulation import low_count_pet, low_dose_ct, microscopy
from training.data.synthetic_head import FLAIR, PRE, Lesion, make_head, simulate_sequence
from training.data.torso import draw_abdomen
from training.examples import make_ms, make_stroke
from training.examples.make_restoration import to_picture, to_slab
from training.examples.make_synthetic_heads import axial_grid, outline_lesion
from training.examples.make_thumbnails import GAP, choose_layers, draw_square

OUT = Path(__file__).resolve().parents[2] / "docs" / "failures"
SIDE = 288  # pixels of a picture
QUALITY = 72
LOST_SIGNAL_MM, LOST_SIGNAL_RADIUS = (0, 45, -30), 38  # RAS+ mm of the template, mm


@dataclass(frozen=True)
class Case:
    """The volumes of a run by input, its settings, and what is there: a mask, a clean image, or None."""

    volumes: Mapping[str, Volume]
    truth: Volume | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)


def read_example(name: str) -> dict[str, Volume]:
    """Return the volumes of an example by input, and its "reference" if there is one."""
    example = next(e for e in examples.every() if e.name == name)
    inputs = runtime.find_card(example.pipeline).inputs
    given = dict(zip((source.name for source in inputs), example.volumes(inputs), strict=True))
    return {role: volume for role, volume in (given | {"reference": example.truth()}).items() if volume is not None}


def make_faint_glioma() -> Case:
    """A synthetic head with a small abnormality that is hardly brighter than white matter."""
    random = np.random.default_rng(19)
    head = make_head(random, Lesion((26, 30, 26), (9, 11, 9)))
    faint = FLAIR | {"lesion": FLAIR["white"] + 0.25 * (FLAIR["lesion"] - FLAIR["white"])}
    flair = simulate_sequence(random, head, faint, axial_grid(240, 1.0, 26, 5.0, (6, 1, -2), (1, -17, 14)), 0)
    return Case({"flair": flair}, Volume(outline_lesion(head.tissue["lesion"]).astype(np.uint8), head.affine))


def make_small_ms_lesions() -> Case:
    """The lesions of an example at half their size, on slices of 6.5 mm."""
    recipe = next(r for r in make_ms.RECIPES if r.name == "sclerosis_flair")
    spots = tuple((centre, (a / 2, b / 2, c / 2)) for centre, (a, b, c) in recipe.now)
    grids = {"flair": axial_grid(170, 1.2, 25, 6.5, (8, -3, 5), (0, -18, 8))}
    images, truth, _ = make_ms.make_case(replace(recipe, now=spots, grids=grids))
    return Case(images, truth)


def make_small_stroke() -> Case:
    """A lacune of 0.4 ml on slices of 5 mm."""
    grid = axial_grid(200, 1.15, 34, 5.0, (-10, 4, -5), (0, -18, 6))
    recipe = replace(make_stroke.RECIPES[1], seed=74, centre=(24, 6, 10), axes=(5, 6, 5), grid=grid)
    image, truth = make_stroke.make_case(recipe)
    return Case({"image": image}, truth)


def make_lesioned_regions() -> Case:
    """A brain with a painted infarct, for which the network has no name."""
    read = read_example("stroke_template")
    return Case({"image": read["image"]}, read["reference"])


def make_lost_signal() -> Case:
    """A head whose signal is lost above the palate, as round metal between the teeth."""
    random = np.random.default_rng(23)
    head = make_head(random)
    t1 = simulate_sequence(random, head, PRE, axial_grid(192, 1.1, 60, 3.0, (4, -2, 3), (0, -10, 0)), 0)
    away = np.linalg.norm(t1.grid.to_mm(np.moveaxis(np.indices(t1.shape), 0, -1)) - LOST_SIGNAL_MM, axis=-1)
    kept = np.clip((away - LOST_SIGNAL_RADIUS) / 12, 0.02, 1)
    brain = sum(head.tissue[name] for name in ("white", "grey", "fluid"))
    return Case(
        {"image": t1.new_like((t1.array * kept).astype(np.float32))},
        Volume((brain >= 0.5).astype(np.uint8), head.affine),
    )


def make_faint_ct_lesions() -> Case:
    """A drawn abdomen with faint lesions in the liver, at a thirtieth of the dose."""
    clean = draw_abdomen(512, 0.72, seed=1)
    noisy = low_dose_ct.lower_dose(clean, 0.72, 0.03, "soft", seed=5, photons=1.2e6)
    return Case({"image": to_slab(noisy, 0.72, 3.0, "HU")}, to_slab(clean, 0.72, 3.0, "HU"))


def make_compressed_picture() -> Case:
    """A field of skin with pixels four times as large, stored as JPEG of low quality."""
    sharp = np.asarray(read_example("pathology_real")["reference"].array)[:, :, 0].swapaxes(0, 1) / np.float32(255)
    small = microscopy.degrade_picture(sharp, 4, blur=0.8, noise=0.01, jpeg=35)
    return Case({"image": to_picture(small)}, to_picture(sharp), {"scale": "4", "regions": "superpixels"})


def make_empty_pet() -> Case:
    """A slice of a brain's uptake at a two-hundredth of the counts."""
    full = read_example("pet_brain_slice_twentieth")["reference"]
    slices = np.ascontiguousarray(to_display_slices(full.array, full.grid), np.float32)
    few = low_count_pet.lower_counts(slices, 2.0, 0.005, counts=2e6, seed=11)
    return Case({"image": to_slab(few, 2.0, 4.0, "Bq/ml")}, full, {"regions": "superpixels"})


def make_lesioned_pair() -> Case:
    """A brain with a painted infarct to which a sound one is registered."""
    return Case(
        {"fixed": read_example("stroke_template")["image"], "moving": read_example("regions_template")["image"]}
    )


CASES: dict[str, Callable[[], Case]] = {
    "segment_glioma_ar2unet": make_faint_glioma,
    "segment_ms_rsanet": make_small_ms_lesions,
    "segment_stroke_raxnet": make_small_stroke,
    "segment_anatomy_unet": make_lesioned_regions,
    "segment_brain_unet": make_lost_signal,
    "restore_ct_rat": make_faint_ct_lesions,
    "restore_pathology_rat": make_compressed_picture,
    "restore_pet_rat": make_empty_pet,
    "register_brain_textscf": make_lesioned_pair,
}


def run_case(name: str, case: Case) -> Result:
    """Run the method, at its defaults but for the settings of the case."""
    inputs = runtime.find_card(name).inputs
    return runtime.run(name, *(case.volumes.get(source.name) for source in inputs), **case.settings)


def find_missed(truth: Volume, mask: Volume) -> Volume:
    """Return the pieces of the truth that the mask does not touch, on its grid; all of it if there are none."""
    there = resample(truth, mask.grid)
    pieces, _ = mask_metrics.label_components(there.array > 0)
    found = np.unique(pieces[mask.array > 0])
    missed = (pieces > 0) & ~np.isin(pieces, found)
    return there.new_like(missed.astype(np.uint8)) if missed.any() else there


def draw_case(name: str, case: Case, result: Result) -> np.ndarray:
    """Draw what goes in, what comes out and, if it is known, what is there, side by side: uint8 (H, W, 3)."""
    presenter = get_presenter(runtime.find_card(name))
    before, after = choose_layers(presenter.layers(result))
    mm = presenter.start(result)
    tiles = [before, after]
    if "fixed" in result.volumes:
        tiles = [[Layer(result.volumes[role])] for role in ("fixed", "moving", "warped")]
    elif case.truth is not None and "restored" in result.volumes:
        tiles.append([Layer(case.truth, window=after[0].window)])
    elif case.truth is not None:
        mask = result.volumes.get("mask")
        mm = planes.find_best_position(find_missed(case.truth, mask) if mask is not None else case.truth)
        tiles.append([before[0], Layer(case.truth, "mask", colour=(80, 220, 120), opacity=0.7)])
    pictures = [draw_square(layers, mm, SIDE) for layers in tiles]
    gap = np.full((SIDE, GAP, 3), 255, np.uint8)
    return np.concatenate([part for picture in pictures for part in (picture, gap)][:-1], axis=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="methods; all by default")
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for name in args.names or CASES:
        case = CASES[name]()
        file = args.out / f"{name}.webp"
        Image.fromarray(draw_case(name, case, run_case(name, case))).save(file, quality=QUALITY, method=6)
        print(f"{file.name}: {file.stat().st_size / 1000:.1f} kB", flush=True)


if __name__ == "__main__":
    main()
