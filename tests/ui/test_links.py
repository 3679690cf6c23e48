"""A link reopens an example with its live options and its view; nothing else is done for what stands after the #."""

import pytest

from medapp import examples
from medapp.errors import InputError
from medapp.serving import runtime
from medapp.ui.links import find_linked_example, parse_link, render_head
from medapp.ui.viewer.sharing import describe_sharing

EXAMPLE = next(example for example in examples.every() if example.name == "flair_frontal")
CARD = runtime.find_card(EXAMPLE.pipeline)
LINK = {"example": EXAMPLE.name, "settings": {"threshold": "0.3"}, "state": {"mm": [1, 2, 3], "layout": "axial"}}


def test_a_link_says_what_was_changed_and_is_read_again():
    shown = CARD.parse_settings(EXAMPLE.settings) | {"threshold": 0.3}
    link = describe_sharing(CARD, "", EXAMPLE, shown).link
    assert link == {"example": EXAMPLE.name, "threshold": "0.3"}
    assert describe_sharing(CARD, "", EXAMPLE).link == {"example": EXAMPLE.name}
    assert describe_sharing(CARD, "").link is None, "an upload has no link"
    read = parse_link(LINK, CARD, find_linked_example(LINK, [EXAMPLE]))
    assert read.example is EXAMPLE and read.settings == {"threshold": 0.3} and read.state.mm == [1, 2, 3]


@pytest.mark.parametrize(
    "sent",
    [
        {"example": "../flair_frontal"},
        {"example": "<script>alert(1)</script>"},
        {"example": ["flair_frontal"]},
        {"settings": {"threshold": "nan"}},
        {"settings": {"threshold": "7"}},
        {"settings": {"threshold": ["0.3"]}},
        {"settings": {"device": "cuda"}},
        {"settings": None},
        {"settings": {f"a{n}": "1" for n in range(99)}},
        {"state": {"mm": [None, 1, 2]}},
        {"state": {"layout": 3}},
        {"state": {"hidden": "all"}},
        {"state": None},
    ],
)
def test_a_hostile_link_is_refused_with_a_sentence(sent):
    link = LINK | sent
    with pytest.raises(InputError, match="link"):
        parse_link(link, CARD, find_linked_example(link, [EXAMPLE]))


@pytest.mark.parametrize("sent", [None, [], "flair_frontal", 3])
def test_what_is_no_link_names_no_example(sent):
    assert find_linked_example(sent, [EXAMPLE]) is None


def test_the_page_knows_the_tab_of_every_example():
    assert f'"{EXAMPLE.name}": "segmentation"' in render_head(["segmentation", "restoration"])
