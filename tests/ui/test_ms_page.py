"""Multiple sclerosis on the page: an example with an earlier scan, its tables, and its threshold."""

import pytest
from conftest import example_button, wait_for_picture

from medapp import examples
from medapp.serving import runtime

NAME = "segment_ms_rsanet"
SHOWN = [e for e in examples.of_task("segmentation") if e.pipeline in runtime.load_cards()]
SINCE = next((n for n, e in enumerate(SHOWN) if e.pipeline == NAME and "baseline" in e.images), None)
pytestmark = [
    pytest.mark.skipif(NAME not in runtime.load_cards(), reason="no weights yet"),
    pytest.mark.skipif(SINCE is None, reason="no example with an earlier scan"),
]


@pytest.fixture(scope="module")
def page(shared_page):
    page = shared_page
    example_button(page, "segmentation", SINCE).click()
    page.wait_for_selector("#segmentation-numbers table")
    wait_for_picture(page, "segmentation")
    return page


def test_places_and_changes_are_told(page):
    numbers = page.inner_text("#segmentation-numbers")
    assert all(word in numbers for word in ("periventricular", "deep white matter", "volume then (ml)", "Enlarging"))
    assert "since the earlier scan" in page.inner_text("#segmentation-status")
    assert "Lesion: new" in page.inner_text("#segmentation-layers .mv-legend")
    assert "Earlier FLAIR, aligned" in page.inner_text("#segmentation-layers [data-field=other]")


def test_the_threshold_moves_without_the_network(page):
    threshold = page.locator(f"#{NAME}-live input[type=number]").first
    before = page.inner_text("#segmentation-numbers")
    threshold.fill("0.7")
    threshold.press("Enter")
    page.wait_for_function(
        "old => document.querySelector('#segmentation-numbers').innerText !== old", arg=before, timeout=60_000
    )
