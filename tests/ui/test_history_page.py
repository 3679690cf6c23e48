"""The last results as cards on the page: shown again as they were, compared, used further, found again, deleted."""

import shutil

import pytest
from conftest import example_button, open_form, put_file, wait_for_picture

from medapp import examples

LESION = next(e for e in examples.of_task("segmentation") if e.reference and set(e.images) == {"flair"})
METHOD, OTHER = "segment_glioma_ar2unet", "segment_brain_unet"
HEADLINE = "document.querySelector('#segmentation-status h2')?.textContent"
STAGE = "window.medapp?.stages.segmentation"
HISTORY = "#segmentation-history"
PAINTED = f"({STAGE}?.correction?.voxels?.bytes ?? []).reduce((sum, value) => sum + (value > 0), 0)"


@pytest.fixture(scope="module")
def page(shared_page, tmp_path_factory):
    """A page with an own result whose threshold was moved and whose mask was painted on, and then an example's."""
    page, scan = shared_page, tmp_path_factory.mktemp("scan") / "mine.nii.gz"
    shutil.copy(LESION.images["flair"], scan)
    open_form(page, "segmentation")
    page.locator(f"#segmentation-method input[value={METHOD}]").check()
    put_file(page, f"#{METHOD}-flair", scan)
    page.click("#segmentation-run")
    wait_for_picture(page, "segmentation")
    page.wait_for_function(f"{HEADLINE}?.includes('ml in')")
    before = page.evaluate(HEADLINE)
    threshold = page.locator(f"#{METHOD}-live input[type=number]").first
    threshold.fill("0.8")
    threshold.press("Enter")
    page.wait_for_function(f"old => {HEADLINE} !== old", arg=before)
    page.locator("#segmentation-viewer [data-do=correct]").click()
    page.locator("#segmentation-viewer [data-tool=brush]").click()
    box = page.locator("#segmentation-viewer canvas").first.bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.2, box["y"] + box["height"] * 0.4)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.22, box["y"] + box["height"] * 0.42, steps=3)
    page.mouse.up()
    page.wait_for_function(f"{HEADLINE}?.includes('by hand')")
    page.mine = page.evaluate(HEADLINE), page.evaluate(PAINTED)
    example_button(page, "segmentation", 0).click()
    page.wait_for_function(f"old => {HEADLINE} !== old", arg=page.mine[0])
    page.wait_for_selector(f"{HISTORY} li:nth-child(2)")
    return page


def show_mine(page) -> None:
    """Show the own result again, from its card."""
    page.locator(f"{HISTORY} li", has_text="by hand").locator("[data-do=again]").click()
    page.wait_for_function(f"wanted => {HEADLINE} === wanted", arg=page.mine[0])


def test_a_card_shows_its_result_with_threshold_and_correction(page):
    show_mine(page)
    page.wait_for_function(f"{PAINTED} > 0")
    assert page.evaluate(PAINTED) == page.mine[1]
    assert page.locator(f"#{METHOD}-live input[type=number]").first.input_value() == "0.8"
    page.wait_for_selector(f"{HISTORY} li.is-shown:has-text('Corrected by hand')")
    page.locator("#segmentation-viewer [data-do=correct]").click()
    assert page.is_enabled("#segmentation-viewer [data-tool=undo]"), "its steps are kept"
    page.locator("#segmentation-viewer [data-do=correct]").click()


def test_two_results_are_put_beside_each_other(page):
    show_mine(page)
    page.locator(f"{HISTORY} [data-do=beside]").click()
    page.wait_for_selector(f"{HISTORY} table :text('Lesion volume')")
    assert page.locator("#segmentation-numbers .med-raters tbody tr").count() == 3, "corrected, automatic, the other"
    assert page.locator("#segmentation-layers :text('Raters: both')").count()
    page.locator(f"{HISTORY} [data-do=alone]").click()
    page.wait_for_selector(f"{HISTORY} table", state="detached")
    assert not page.locator("#segmentation-numbers .med-raters").count()


def test_the_scan_goes_into_another_methods_form(page):
    show_mine(page)
    page.wait_for_selector(f"{HISTORY} select")
    offered = page.locator(f"{HISTORY} select option").evaluate_all("all => all.map((option) => option.value)")
    assert OTHER in offered and METHOD not in offered and not any(name.startswith("restore_") for name in offered)
    page.locator(f"{HISTORY} select").select_option(OTHER)
    page.wait_for_selector(f"#{OTHER}-image :text('mine')")
    assert page.locator(f"#segmentation-method input[value={OTHER}]").is_checked()
    page.wait_for_selector("#segmentation-used :text('mine.nii.gz')")


def test_a_reload_brings_the_results_back_and_delete_now_takes_all(page):
    show_mine(page)
    page.reload()
    page.wait_for_function(f"wanted => {HEADLINE} === wanted", arg=page.mine[0])
    page.wait_for_selector(f"{HISTORY} li:nth-child(2)")
    page.wait_for_function(f"{PAINTED} === {page.mine[1]}")
    page.get_by_text("Not a medical device", exact=True).click()
    button = page.locator("#page-head [data-do=erase]")
    button.click()
    with page.expect_navigation():
        button.click()
    page.wait_for_selector("#segmentation-run")
    page.wait_for_timeout(2000)
    assert not page.locator(f"{HISTORY} li").count() and page.mine[0] not in page.inner_text("#segmentation-status")
