"""Anyone can use the page: what axe finds, by keyboard alone, on a phone."""

import pytest
from accessibility import faults
from conftest import example_button, open_form, open_page, wait_for_picture


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_everything_can_be_read(browser, served, theme):
    page = open_page(browser, f"{served}?__theme={theme}")
    for tab in ("segmentation", "restoration", "registration"):
        page.get_by_role("tab", name=tab.capitalize(), exact=True).click()
        page.wait_for_selector(f"#{tab}-run")
        page.wait_for_timeout(500)
        assert not faults(page), tab
    page.get_by_role("tab", name="Restoration", exact=True).click()
    example_button(page, "restoration", 0).click()
    page.wait_for_selector("#restoration-numbers table")
    page.wait_for_timeout(1000)
    assert not faults(page), "with a result"
    page.context.close()


def test_a_phone_shows_all_of_it_without_scrolling_sideways(page):
    page.set_viewport_size({"width": 390, "height": 844})
    example_button(page, "segmentation", 0).click()
    wait_for_picture(page, "segmentation")
    page.wait_for_selector(".med-numbers")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    open_form(page, "segmentation")
    page.locator("#segmentation-run").scroll_into_view_if_needed()
    assert page.locator("#segmentation-run").bounding_box()["width"] > 100


def test_an_example_is_opened_by_keyboard_alone(page):
    page.locator("#segmentation-examples").wait_for()
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("!!document.activeElement.closest('#segmentation-examples')"):
            break
    shown = page.evaluate(
        "getComputedStyle(document.activeElement).outlineStyle + getComputedStyle(document.activeElement).boxShadow"
    )
    assert page.evaluate("!!document.activeElement.closest('#segmentation-examples')"), "examples are in reach"
    assert shown != "nonenone", "and one sees where one is"
    page.keyboard.press("Enter")
    wait_for_picture(page, "segmentation")
