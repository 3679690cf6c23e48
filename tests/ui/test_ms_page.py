"""Multiple sclerosis on the page: an example with an earlier scan, its tables, and what its slices draw on."""

import pytest
from conftest import example_button

from medapp import examples
from medapp.serving import runtime

NAME = "segment_ms_rsanet"
SHOWN = [e for e in examples.of_task("segmentation") if e.pipeline in runtime.load_cards()]
SINCE = next((n for n, e in enumerate(SHOWN) if e.pipeline == NAME and "baseline" in e.images), None)
pytestmark = [
    pytest.mark.skipif(NAME not in runtime.load_cards(), reason="no weights yet"),
    pytest.mark.skipif(SINCE is None, reason="no example with an earlier scan"),
]
STRIP = "#segmentation-attention-strip img"


@pytest.fixture(scope="module")
def page(shared_page):
    page = shared_page
    example_button(page, "segmentation", SINCE).click()
    page.wait_for_selector("#segmentation-numbers table")
    page.wait_for_selector("#segmentation-viewer canvas")
    return page


def test_places_and_changes_are_told(page):
    numbers = page.inner_text("#segmentation-numbers")
    assert all(word in numbers for word in ("periventricular", "deep white matter", "volume then (ml)", "Enlarging"))
    assert "since the earlier scan" in page.inner_text("#segmentation-status")
    page.wait_for_function("document.querySelector('#segmentation-viewer').innerText.includes('new')")
    assert "Earlier FLAIR, aligned" in page.inner_text("#segmentation-viewer")


def test_another_plane_has_other_slices_to_draw_on(page):
    page.get_by_role("tab", name="Attention").click()
    page.wait_for_selector("#segmentation-attention-maps .heatmaplayer")
    before = page.get_attribute(STRIP, "src")
    page.locator("#segmentation-attention-plane").get_by_label("Sagittal").check()
    page.wait_for_function(
        "([strip, old]) => document.querySelector(strip)?.src !== old", arg=[STRIP, before], timeout=60_000
    )


def test_the_threshold_moves_without_the_network(page):
    page.get_by_role("tab", name="Report").click()
    threshold = page.locator(f"#{NAME}-live input[type=number]").first
    before = page.inner_text("#segmentation-numbers")
    threshold.fill("0.7")
    threshold.press("Enter")
    page.wait_for_function(
        "old => document.querySelector('#segmentation-numbers').innerText !== old", arg=before, timeout=60_000
    )
