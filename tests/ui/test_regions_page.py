"""The regions of the brain on the page: an example and its table; and lesions again after them."""

import pytest
from conftest import BROWSER, FLAGS

from medapp import examples
from medapp.serving import runtime

sync_api = pytest.importorskip("playwright.sync_api")
NAME = "segment_anatomy_unet"
pytestmark = [
    pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome here"),
    pytest.mark.skipif(NAME not in runtime.load_cards(), reason="no weights yet"),
]
EXAMPLE = "#segmentation-examples button.thumbnail-item, #segmentation-examples .thumbnail-lg"
KINDS = [example.pipeline == NAME for example in examples.of_task("segmentation")]


@pytest.fixture
def page(served):
    with sync_api.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=BROWSER, args=FLAGS)
        page = browser.new_page(viewport={"width": 1500, "height": 1300})
        page.set_default_timeout(120_000)
        page.goto(served)
        page.wait_for_selector("#segmentation-run")
        yield page
        browser.close()


def show(page, regions: bool) -> None:
    """Click the first example of that kind and wait for its result."""
    said = "Brain " if regions else "ml in"
    page.locator(EXAMPLE).nth(KINDS.index(regions)).click()
    page.wait_for_function(f"document.querySelector('#segmentation-status h2').textContent.includes('{said}')")
    page.wait_for_selector("#segmentation-viewer canvas")
    page.wait_for_timeout(2500)


def test_regions_then_lesions_then_regions(page):
    for regions in (True, False, True):
        show(page, regions)
        first = page.locator("#segmentation-table [data-testid='cell-0-0']").inner_text()
        assert ("Cerebral" in first) == regions
        legend = page.inner_text("#segmentation-viewer .mv-legend")
        assert ("Left-Cerebral-Cortex" in legend) == regions and ("Lesion" in legend) != regions
        checked = page.locator("#segmentation-method input:checked").get_attribute("value")
        assert (checked == NAME) == regions


def test_a_click_on_a_region_goes_there(page):
    show(page, True)
    before = where(page)
    page.locator("#segmentation-table [data-testid='cell-1-0']").click()
    page.wait_for_function("old => !document.querySelector('#segmentation-viewer').innerText.includes(old)", arg=before)
    assert where(page).endswith("mm")


def where(page) -> str:
    return next(line for line in page.inner_text("#segmentation-viewer").splitlines() if line.endswith(" mm"))
