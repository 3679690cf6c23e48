"""How an image fits an input: the same words as a run's, doubts only where the image is recognised with certainty."""

from dataclasses import replace

import numpy as np
import pytest
from phantoms import ct_body

from medapp import examples
from medapp.algorithms.scan_recognition import NO_HEAD, Recognition
from medapp.card import Input
from medapp.errors import InputError
from medapp.imaging.scan_kinds import FLAIR, SEQUENCES, T1, T1_CONTRAST, T2
from medapp.imaging.volume import Volume
from medapp.io import files
from medapp.result import Result
from medapp.serving import input_fit, runtime
from medapp.serving.input_fit import Level, judge_input

WHOLE = Volume(np.random.default_rng(0).normal(size=(20, 20, 20)).astype(np.float32), np.eye(4), name="FLAIR")
MS_FLAIR = next(source for source in runtime.find_card("segment_ms_rsanet").inputs if source.name == "flair")


@pytest.fixture
def seen(monkeypatch):
    """What recognition is to answer."""

    def answer(*kinds):
        monkeypatch.setattr(input_fit, "_recognize", lambda volume: Recognition(kinds, 0.99))

    return answer


@pytest.mark.parametrize(
    ("kinds", "level", "words"),
    [
        ((FLAIR,), Level.FITS, "FLAIR of a head, 1 × 1 × 1 mm: fits."),
        ((T1,), Level.DOUBT, "it looks like T1, and this method needs FLAIR"),
        ((NO_HEAD,), Level.DOUBT, "does not look like MRI of a head"),
        (("CT",), Level.DOUBT, "it looks like CT"),
        ((), Level.UNSURE, "check that it is FLAIR"),
    ],
)
def test_levels(seen, kinds, level, words):
    seen(*kinds)
    fit = judge_input(MS_FLAIR, WHOLE)
    assert fit.level == level and words in fit.sentence
    assert bool(fit.question) == (level == Level.DOUBT)


def test_two_kinds_fit_where_one_of_them_does(seen):
    seen(T1, T1_CONTRAST)
    assert judge_input(Input("t1", "T1", kinds=(T1,)), WHOLE).level == Level.FITS
    assert judge_input(Input("t2", "T2", kinds=(T2,)), WHOLE).level == Level.DOUBT
    assert judge_input(Input("any", "MRI", kinds=SEQUENCES), WHOLE).level == Level.FITS


def test_a_name_that_says_another_sequence_takes_the_certainty_away(seen):
    seen(FLAIR)
    assert judge_input(MS_FLAIR, replace(WHOLE, sequence=T2)).level == Level.UNSURE
    seen()
    assert "by its name" in judge_input(MS_FLAIR, replace(WHOLE, sequence=FLAIR)).sentence


@pytest.mark.parametrize(
    "volume",
    [
        Volume(ct_body(), np.eye(4), name="FLAIR"),
        WHOLE.new_like(np.ones((20, 20, 20))),
        WHOLE.new_like(np.zeros((9, 9, 9, 3), np.uint8)),
        WHOLE.new_like(WHOLE.array[:, :, :3]),
    ],
)
def test_what_a_run_refuses_is_refused_in_its_words(volume):
    fit = judge_input(MS_FLAIR, volume)
    with pytest.raises(InputError) as refused:
        runtime.run("segment_ms_rsanet", volume)
    assert fit.level == Level.REFUSED and fit.sentence == str(refused.value)


def test_masks_and_images_in_each_others_boxes():
    mask = WHOLE.new_like((WHOLE.array > 1).astype(np.uint8))
    assert "a mask or a label map" in judge_input(MS_FLAIR, mask).sentence
    box = Input("map", "Region map", labels=True)
    assert judge_input(box, mask).level == Level.FITS and judge_input(box, WHOLE).level == Level.DOUBT


def test_a_result_holds_the_doubts_once_and_first(seen):
    seen(T1)
    card = runtime.find_card("segment_ms_rsanet")
    words = judge_input(MS_FLAIR, WHOLE).sentence
    result = Result({}, warnings=("Something else.", words))
    doubted = input_fit.add_doubts(card, (WHOLE, None, None, None), result)
    assert doubted.warnings == (words, "Something else.") and doubted.doubt == "Not a FLAIR scan of a brain?"
    seen(FLAIR)
    assert input_fit.add_doubts(card, (WHOLE, None, None, None), result) is result


@pytest.mark.parametrize(
    "example", [e for e in examples.every() if e.pipeline in runtime.load_cards()], ids=lambda e: e.name
)
def test_no_example_is_doubted(example):
    for source in runtime.find_card(example.pipeline).inputs:
        if source.name in example.images:
            volume = files.read(
                [example.images[source.name]], name=source.title, colour=source.colour, labels=source.labels
            )
            fit = judge_input(source, volume)
            assert fit.level in (Level.FITS, Level.UNSURE), fit.sentence


def test_an_image_is_recognised_once_for_all_that_is_said_of_it(monkeypatch):
    looked = []
    monkeypatch.setattr(input_fit, "recognize_scan", lambda net, volume: looked.append(volume) or Recognition())
    image = WHOLE.new_like(WHOLE.array)
    for _ in range(2):
        assert judge_input(MS_FLAIR, image).level == Level.UNSURE
    assert len(looked) == 1
    judge_input(MS_FLAIR, WHOLE.new_like(WHOLE.array))
    assert len(looked) == 2, "another image is another matter"
