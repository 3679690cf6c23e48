"""Card: how inputs, options and series are matched to what is given, also under their former names."""

import pytest

from medapp.card import Card, Input, Weights
from medapp.errors import InputError, OptionError
from medapp.options import RenamedWarning, Slider, Toggle
from medapp.serving import runtime


def card(**more) -> Card:
    fields = {
        "name": "segment_toy",
        "task": "segmentation",
        "presenter": "lesions",
        "title": "Toy",
        "about": "A toy.",
        "inputs": (Input("flair", "FLAIR"), Input("t1", "T1", optional=True, former=("pre",))),
        "options": (
            Slider("min_lesion_ml", "Minimum lesion volume", 0, 5, 0.1, 1.0, former=("smallest", "least")),
            Toggle("refine", "Refine", True),
        ),
        "weights": Weights("toy.safetensors", "medapp/toy", "v0", "1" * 64),
        "build": None,
        "run": lambda net, *volumes, **options: None,
        "licence": "",
        "cite": "",
        "trained_on": "",
        "scores": "",
        "limits": "",
    }
    return Card(**fields | more)


def test_settings_are_the_given_values_and_the_defaults():
    assert card().parse_settings({"refine": "no"}) == {"min_lesion_ml": 1.0, "refine": False}
    with pytest.raises(OptionError, match="no option 'colour'"):
        card().parse_settings({"colour": "red"})


@pytest.mark.parametrize("old", ["smallest", "least"])
def test_an_option_is_taken_under_a_former_name_with_a_warning(old):
    with pytest.warns(RenamedWarning, match=f"{old} is now called min_lesion_ml"):
        assert card().parse_settings({old: "2"})["min_lesion_ml"] == 2.0
    with pytest.warns(RenamedWarning), pytest.raises(OptionError, match="min_lesion_ml must"):
        card().parse_settings({old: "many"})


@pytest.mark.parametrize("other", ["min_lesion_ml", "least"])
def test_an_option_is_not_taken_under_two_names(other):
    with pytest.raises(OptionError, match="min_lesion_ml is given twice"):
        card().parse_settings({other: 1, "smallest": 2})


@pytest.mark.filterwarnings("error")
def test_present_names_are_taken_without_a_warning():
    assert card().use_present_names({"t1": 1, "min_lesion_ml": 2}) == {"t1": 1, "min_lesion_ml": 2}
    card().parse_settings({"min_lesion_ml": 2})


def test_a_series_is_chosen_for_an_input_also_under_its_former_name():
    assert card().parse_series(["3"]) == {"flair": "3", "t1": "3"}
    assert card().parse_series(["flair=2", "reference = 1"]) == {"flair": "2", "reference": "1"}
    with pytest.warns(RenamedWarning, match="t1"):
        assert card().parse_series(["pre=2"]) == {"t1": "2"}
    with pytest.raises(OptionError, match="no input 't9'"):
        card().parse_series(["t9=1"])


def test_inputs_are_arranged_in_the_order_of_the_card():
    three = card(inputs=(Input("t1", "T1", optional=True), Input("flair", "FLAIR"), Input("t2", "T2", optional=True)))
    assert three.arrange_inputs(["a"]) == (None, "a", None)
    assert three.arrange_inputs(["a", "b", "c"]) == ("a", "b", "c")
    assert three.name_inputs(("a", "b", None)) == {"flair": "b", "t1": "a", "t2": None}
    assert card().arrange_inputs(["a"]) == ("a", None)
    for wrong in ([], ["a", "b"]):
        with pytest.raises(InputError, match="takes 1 image"):
            three.arrange_inputs(wrong)


def test_a_method_is_found_under_a_former_name_with_a_warning(monkeypatch):
    monkeypatch.setattr(runtime, "load_cards", lambda: {"segment_toy": card(former=("segment_game",))})
    assert runtime.find_card("segment_toy").name == "segment_toy"
    with pytest.warns(RenamedWarning, match="segment_game is now called segment_toy"):
        assert runtime.find_card("segment_game").name == "segment_toy"
    with pytest.raises(OptionError, match="segment_toy"):
        runtime.find_card("segment_nothing")


def test_no_former_name_is_in_use_again():
    for each in runtime.load_cards().values():
        parts = (*each.inputs, *each.options)
        names = [part.name for part in parts] + [old for part in parts for old in part.former]
        assert len(names) == len(set(names)), each.name
