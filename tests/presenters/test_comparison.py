"""A reference is looked at before anything is computed; one that does not fit never costs the result."""

from dataclasses import replace

import numpy as np
import pytest

from medapp.analysis.lesions import measure_lesions
from medapp.errors import InputError
from medapp.imaging.volume import Volume
from medapp.presenters import PRESENTERS
from medapp.presenters.comparison import prepare_comparison
from medapp.result import Result
from medapp.serving import runtime

TURNED = np.array([[0, -1.2, 0, 30], [1.0, 0, 0.1, -20], [0.1, 0, 3.0, -40], [0, 0, 0, 1.0]])
AWAY = TURNED + np.array([[0, 0, 0, 500.0]] + [[0] * 4] * 3)  # half a metre to the right


def blob(affine: np.ndarray = TURNED, shape: tuple[int, ...] = (30, 28, 20)) -> Volume:
    array = np.zeros(shape, np.uint8)
    array[8:16, 10:18, 6:12] = 1
    return Volume(array, affine, name="reference")


def scan(affine: np.ndarray = TURNED, shape: tuple[int, ...] = (30, 28, 20)) -> Volume:
    return Volume(np.random.default_rng(0).normal(100, 9, shape).astype(np.float32), affine, name="image")


def looked(method: str, reference: Volume | Exception, **volumes: Volume | None):
    card = runtime.find_card(method)

    def read() -> Volume:
        if isinstance(reference, Exception):
            raise reference
        return reference

    return prepare_comparison(card, volumes, read)


def lesions() -> Result:
    array = np.zeros((30, 28, 20), np.float32)
    array[8:16, 10:18, 6:13] = 0.9
    volumes = {"probability": Volume(array, TURNED), "image": scan()}
    return measure_lesions(Result(volumes, settings={"threshold": 0.5, "min_lesion_ml": 0.0}), 0.5)


@pytest.mark.parametrize(
    ("method", "image"),
    [("segment_glioma_ar2unet", "flair"), ("segment_ms_rsanet", "flair"), ("segment_stroke_raxnet", "image")],
)
def test_a_mask_that_lies_on_the_image_is_taken(method, image):
    for reference in (blob(), blob(TURNED.copy(), (30, 28, 24)), replace(blob(), array=0 * blob().array)):
        assert looked(method, reference, **{image: scan(), "pre": None}).note == ""
    cut = replace(blob(), array=blob().array[8:16, 10:18, 6:12])
    there = TURNED.copy()
    there[:3, 3] = blob().grid.to_mm(np.array([8, 10, 6]))
    assert looked(method, replace(cut, affine=there), **{image: scan()}).note == "", "cut down to what it marks"


@pytest.mark.parametrize(
    ("reference", "why"),
    [
        (replace(blob(), affine=AWAY), "lost"),
        (blob(np.eye(4) + 400 * np.eye(4, k=3), (30, 28, 24)), "mm away"),
        (replace(scan(), name="reference"), "not a mask"),
        (InputError("It cannot be read."), "cannot be read"),
    ],
)
def test_a_mask_that_does_not_fit_is_known_before_and_costs_the_comparison_alone(reference, why):
    comparison = looked("segment_glioma_ar2unet", reference, flair=scan())
    assert why in comparison.note and comparison.reference is None and comparison.wanted
    alone, _ = comparison.apply(PRESENTERS["lesions"], lesions(), {"threshold": 0.5, "min_lesion_ml": 0.0})
    assert alone.notes == (comparison.note,) and "dice" not in alone.metrics and alone.metrics["lesions"].value == 1


def test_regions_are_compared_with_label_maps_alone():
    odd = replace(blob(), array=blob().array * 77)
    assert "compared" in looked("segment_anatomy_unet", odd, image=scan()).note


@pytest.mark.parametrize("method", ["restore_ct_rat", "restore_pet_rat"])
def test_a_clean_image_is_of_the_same_kind_and_place(method):
    colour = Volume(np.zeros((30, 28, 1, 3), np.uint8), np.eye(4))
    assert looked(method, scan(), image=scan()).note == ""
    assert "in colour" in looked(method, colour, image=scan()).note
    assert "0% of the image" in looked(method, scan(AWAY), image=scan()).note


def test_what_is_known_only_at_the_end_does_not_cost_the_result_either():
    presenter, small = PRESENTERS["restoration"], scan(np.eye(4), (24, 24, 1))
    away = scan(np.eye(4) + np.eye(4, k=3) * 900, (16, 18, 1))
    comparison = looked("restore_ct_rat", away, image=small)
    assert comparison.reference is not None, "a picture need not say where it lies"
    result = Result({"image": small, "restored": small.new_like(small.array * 0.9)}, settings={"degrade": "no"})
    made, used = comparison.apply(presenter, result, {})
    assert used.reference is None and "covers only" in made.notes[0] and "psnr" not in made.metrics


def test_what_is_brought_along_lies_where_the_moving_image_lies():
    pair = {"fixed": scan(np.eye(4)), "moving": scan()}
    assert looked("register_brain_textscf", blob(), **pair).note == ""
    assert "elsewhere" in looked("register_brain_textscf", blob(AWAY), **pair).note
