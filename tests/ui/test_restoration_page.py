"""The restoration tab as a visitor uses it: regions found and changed, restored, compared, measured, downloaded."""

import io
import json
import re

import nibabel as nib
import numpy as np
import pydicom
import pytest
from accessibility import faults
from conftest import example_button, open_form, put_file, unpacked, wait_for_picture
from PIL import Image

from medapp import examples

CASES = {example.name: example for example in examples.of_task("restoration")}
SLICE = CASES["ct_small_dicom"].images["image"]
PICTURE = CASES["pathology_twice"].images["image"]
STATUS = "document.querySelector('#restoration-status h2').textContent"


@pytest.fixture
def page(page):
    page.get_by_role("tab", name="Restoration").click()
    page.wait_for_selector("#restoration-run")
    return page


def put(page, path) -> None:
    put_file(page, "#restore_ct_rat-image", path)


def choose(page, label: str, value: str) -> None:
    open_form(page, "restoration")
    page.get_by_label(label, exact=True).locator("visible=true").first.click()
    page.get_by_role("option", name=value, exact=True).locator("visible=true").click()


def press(page, button: str, until: str) -> str:
    """The headline once it tells what is waited for."""
    open_form(page, "restoration")
    page.click(f"#restoration-{button}")
    page.wait_for_function(f"part => {STATUS}.includes(part)", arg=until)
    return page.inner_text("#restoration-status h2")


def count(page) -> int:
    return int(re.match(r"(\d+) regions", page.inner_text("#restoration-region-editor-words"))[1])


def picture(page) -> np.ndarray:
    page.wait_for_timeout(500)
    shot = page.locator("#restoration-viewer .mv-view").screenshot()
    return np.asarray(Image.open(io.BytesIO(shot)).convert("RGB")).astype(int)


def changed(page, before: int) -> int:
    """The number of regions once it is another."""
    words = "document.querySelector('#restoration-region-editor-words').textContent"
    found = f"Number(/(\\d+) regions/.exec({words})?.[1] ?? old)"
    return page.wait_for_function(f"old => {{ const n = {found}; return n !== old && n; }}", arg=before).json_value()


def click(page, x: float, y: float) -> None:
    """Click the picture of the regions at that share of its size, once it is drawn."""
    shown = page.locator("#restoration-region-editor-picture img")
    page.wait_for_function("(() => { const i = document.querySelector('#restoration-region-editor-picture img');"
                           " return i && i.complete && i.naturalWidth > 0; })()")  # fmt: skip
    box = shown.bounding_box()
    shown.click(position={"x": box["width"] * x, "y": box["height"] * y})


def test_regions_are_found_merged_taken_back_and_used(page, tmp_path):
    put(page, SLICE)
    choose(page, "Regions", "superpixels")
    headline = press(page, "find", "regions found")
    before_edit = count(page)
    assert int(headline.split()[0]) == before_edit > 3

    page.get_by_label("Merge", exact=True).click()
    click(page, 0.25, 0.8)
    page.wait_for_selector("#restoration-region-editor-hint :text('merge it with')")
    click(page, 0.75, 0.8)
    assert changed(page, before_edit) == before_edit - 1
    page.click("#restoration-region-editor-undo")
    assert changed(page, before_edit - 1) == before_edit

    page.get_by_label("Remove", exact=True).click()
    click(page, 0.25, 0.8)
    assert changed(page, before_edit) == before_edit - 1

    assert "HU" in press(page, "run", "Noise")
    assert "changed them" in page.inner_text("#restoration-status")
    assert f"{before_edit - 1} regions" in page.inner_text("#restoration-numbers")
    wait_for_picture(page, "restoration")
    assert (picture(page).max(-1) > 60).mean() > 0.2, "the slice is drawn"

    unpacked(page, "restoration", tmp_path)
    dicom = pydicom.dcmread(next(tmp_path.rglob("*.dcm")))
    assert (dicom.Rows, dicom.Columns) == (128, 128) and dicom.Modality == "CT"
    labels = nib.load(next(tmp_path.rglob("*regions.nii.gz")))
    assert len(np.unique(labels.dataobj)) == before_edit - 1
    facts = json.loads(next(tmp_path.rglob("*result.json")).read_text())
    assert facts["settings"]["regions"] == "superpixels, changed by hand"
    assert facts["metrics"]["noise"]["value"] < facts["metrics"]["noise_before"]["value"]


def test_a_click_adds_what_segment_anything_sees_there(page):
    put(page, SLICE)
    choose(page, "Regions", "one")
    press(page, "find", "regions found")
    assert count(page) == 1
    page.get_by_label("Add", exact=True).click()
    click(page, 0.68, 0.1)  # the aorta
    assert changed(page, 1) == 2
    sizes = page.locator("#restoration-region-editor-size input")
    assert sizes.count() > 1 and sizes.first.is_checked(), "the smallest, and larger ones"
    picture = page.locator("#restoration-region-editor-picture img")
    smallest = picture.get_attribute("src")
    sizes.nth(1).focus()
    page.keyboard.press("Space")
    page.wait_for_function(
        "old => document.querySelector('#restoration-region-editor-picture img').src !== old", arg=smallest
    )
    assert sizes.nth(1).is_checked() and count(page) == 2
    assert not faults(page)
    page.click("#restoration-region-editor-undo")
    assert changed(page, 2) == 1 and not sizes.count(), "both are one step"


def test_what_is_degraded_on_purpose_is_measured(page):
    put(page, SLICE)
    choose(page, "Regions", "superpixels")
    choose(page, "Simulate degradation", "quarter dose")
    before, after = map(float, re.findall(r"[\d.]+", press(page, "run", "PSNR"))[:2])
    assert after > before + 1
    wait_for_picture(page, "restoration")
    page.locator("#restoration-layers [data-field=way]").select_option("difference")
    shown = picture(page)
    assert (shown.max(-1) - shown.min(-1) > 40).mean() > 0.01, "errors are coloured"


def test_an_example_is_shown_with_its_reference(page):
    example_button(page, "restoration", 0).click()
    page.wait_for_function(f"{STATUS}.includes('against the reference')")
    wait_for_picture(page, "restoration")
    assert "Reference" in page.inner_text("#restoration-layers [data-field=other]")


def test_a_colour_picture_is_not_taken_for_ct(page):
    put(page, PICTURE)
    page.click("#restoration-run")
    page.wait_for_selector("text=/colour/i >> visible=true")
    assert not page.locator("#restoration-viewer .mv[data-shown]").count()
