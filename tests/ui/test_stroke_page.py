"""Stroke on the page: an example, its maps and tables, and rules and planes that move without the networks."""

import pytest
from conftest import example_button, wait_for_picture

from medapp import examples
from medapp.serving import runtime

NAME = "segment_stroke_raxnet"
pytestmark = [
    pytest.mark.skipif(NAME not in runtime.load_cards(), reason="no weights yet"),
]
SHOWN = [e.pipeline for e in examples.of_task("segmentation") if e.pipeline in runtime.load_cards()]
LIVE = f"#{NAME}-live"


@pytest.fixture(scope="module")
def page(shared_page):
    page = shared_page
    example_button(page, "segmentation", SHOWN.index(NAME)).click()
    page.wait_for_selector("#segmentation-numbers table")
    wait_for_picture(page, "segmentation")
    return page


def planes(page) -> str:
    return page.inner_text("#segmentation-numbers table")


def changed(page, before: str) -> None:
    page.wait_for_function(
        "old => document.querySelector('#segmentation-numbers table').innerText !== old", arg=before, timeout=60_000
    )


def test_the_planes_are_compared_with_the_fusion_and_the_reference(page):
    numbers = planes(page)
    assert all(word in numbers for word in ("axial", "coronal", "sagittal", "fusion", "reference", "HD95"))
    assert "of at least" in page.inner_text("#segmentation-numbers")
    controls = page.locator("#segmentation-layers").text_content()
    for caption in ("Entropy", "Disagreement", "MNI template", "Probability, axial", "Reference"):
        assert caption in controls, caption


def test_rule_plane_weight_and_threshold_move_without_the_networks(page):
    threshold = page.locator(f"{LIVE} input[type=number]").first
    moves = [
        lambda: (threshold.fill("0.3"), threshold.press("Enter")),
        lambda: page.get_by_label("Sagittal slices").uncheck(),
        lambda: page.get_by_label("Sagittal slices").check(),
    ]
    for move in moves:
        before = planes(page)
        move()
        changed(page, before)
    assert "0.3" in page.inner_text("#segmentation-numbers")


def test_without_any_plane_the_page_says_so(page):
    for plane in ("Axial", "Coronal", "Sagittal"):
        page.locator(LIVE).get_by_label(f"{plane} slices").uncheck()
    page.wait_for_selector("text=No plane is left")
    for plane in ("Axial", "Coronal", "Sagittal"):
        page.locator(LIVE).get_by_label(f"{plane} slices").check()
