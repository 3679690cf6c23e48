"""The regions of the brain on the page: an example and its table; and lesions again after them."""

import pytest
from conftest import example_button, wait_for_picture

from medapp import examples
from medapp.serving import runtime

NAME = "segment_anatomy_unet"
pytestmark = [
    pytest.mark.skipif(NAME not in runtime.load_cards(), reason="no weights yet"),
]
PLACE = "document.querySelector('#segmentation-viewer [data-say=place]')"
KINDS = [example.pipeline == NAME for example in examples.of_task("segmentation")]


def show(page, regions: bool) -> None:
    """Click the first example of that kind and wait for its result."""
    headline = "Brain " if regions else "ml in"
    example_button(page, "segmentation", KINDS.index(regions)).click()
    page.wait_for_function(f"document.querySelector('#segmentation-status h2').textContent.includes('{headline}')")
    wait_for_picture(page, "segmentation")


def test_regions_then_lesions_then_regions(page):
    for regions in (True, False, True):
        show(page, regions)
        first = page.locator("#segmentation-table [data-testid='cell-0-0']").inner_text()
        assert ("Cerebral" in first) == regions
        legend = page.inner_text("#segmentation-layers .mv-legend")
        assert ("Left-Cerebral-Cortex" in legend) == regions and ("Lesion" in legend) != regions
        checked = page.locator("#segmentation-method input:checked").get_attribute("value")
        assert (checked == NAME) == regions


def test_a_click_on_a_region_goes_there(page):
    show(page, True)
    before = where(page)
    page.locator("#segmentation-table [data-testid='cell-1-0']").click()
    page.wait_for_function(f"old => {PLACE}.textContent !== old", arg=before)
    assert where(page).endswith("mm")


def where(page) -> str:
    return page.evaluate(f"{PLACE}.textContent")
