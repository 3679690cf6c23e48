"""Plain words are taken for regions and what to do with them, and what means nothing is said."""

from pathlib import Path

import pytest
from safetensors.torch import load_file

from medapp.algorithms.text_encoder import build_text_encoder
from medapp.algorithms.wishes import Effect, Reading, check_wishes, read_wishes, require_clear
from medapp.errors import OptionError

WEIGHTS = Path(__file__).parents[2] / "weights"


@pytest.fixture(scope="module")
def tower():
    net = build_text_encoder()
    net.load_state_dict(load_file(WEIGHTS / "text_tower.safetensors"))
    return net.float()


def no_network(name: str):
    raise AssertionError("the bank of names knows these words")


def effects(reading: Reading) -> dict[str, str]:
    return {row[0]: row[1] for row in reading.table.rows}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("match the hippocampi exactly", {"left and right hippocampus": "match more"}),
        ("Hipocampus left, thalami right", {"left hippocampus": "match more", "right thalamus": "match more"}),
        ("keep the brain stem rigid", {"brain stem": "keep rigid"}),
        ("Do not deform the pons!", {"brain stem": "keep rigid"}),
        (
            "keep the left thalamus, the left caudate and the brainstem rigid",
            {"left thalamus": "keep rigid", "left caudate": "keep rigid", "brain stem": "keep rigid"},
        ),
        (
            "putamen and pallidum rigid",
            {"left and right putamen": "keep rigid", "left and right pallidum": "keep rigid"},
        ),
        ("the 3rd ventricle does not matter", {"3rd ventricle": "ignore"}),
        ("don’t match Ammon’s horn on the right side", {"right hippocampus": "ignore"}),
        ("left hippocampus and amygdala", {"left hippocampus": "match more", "left amygdala": "match more"}),
        ("I would like the left and right putamen as precise as possible", {"left and right putamen": "match more"}),
        ("ignore the lesion on the left", {"lesion on the left": "ignore"}),
        ("match everything except the thalamus", {"left and right thalamus": "ignore"}),
        ("ignore everything but the left amygdala", {"all but left amygdala": "ignore"}),
        (
            "match the putamen, ignore the rest",
            {"left and right putamen": "match more", "all but left and right putamen": "ignore"},
        ),
        ("", {}),
    ],
)
def test_words_are_understood(text, expected):
    reading = read_wishes(text, no_network)
    assert effects(reading) == expected and not reading.problems


def test_sets_of_regions_are_taken_apart():
    found = effects(read_wishes("match the basal ganglia; ignore the ventricles", no_network))
    assert found["left and right caudate"] == "match more" and found["4th ventricle"] == "ignore" and len(found) == 9


def test_other_words_in_the_bank_go_to_the_text_encoder(tower):
    reading = read_wishes(
        "keep the thalamic nucleus rigid, nucleus pallidus, choroid plexus tissue", lambda name: tower
    )
    assert not reading.problems and reading.select_regions(Effect.RIGID) == (7, 26, 10, 29, 19, 35)


@pytest.mark.parametrize(
    ("text", "unknown"),
    [
        ("banana", "“banana”"),
        ("match the hippocampus, ignore the heart", "“heart”"),
        ("left frontal lobe rigid", "“frontal lobe”"),
        ("the left area", "“area”"),
        ("match the left", "left"),
        ("ignore", "which region"),
        ("keep the lesion rigid", "only be ignored"),
        ("match the putamen, ignore the putamen", "and to ignore it"),
        ("<b>1</b>", "“b”"),
        ("海馬", "海馬"),
    ],
)
def test_what_means_nothing_is_said_and_refused(text, unknown, tower):
    reading = read_wishes(text, lambda name: tower)
    assert unknown in " ".join(reading.problems)
    with pytest.raises(OptionError, match="What matters"):
        require_clear(reading, has_lesion=True)


def test_a_text_that_is_too_long_is_refused():
    with pytest.raises(OptionError, match="1000 letters"):
        check_wishes("hippocampus " * 1000)
