"""What an example leaves behind, as a visitor sees it in the browser: the list above Run, the boxes, and the result."""

import re
import shutil

from conftest import example_button, open_form, put_file

from medapp import examples

CASES = {example.name: example for example in examples.every()}
HEALTHY = CASES["no_lesion"].images["flair"]

TABLE = """[...document.getElementById(id).querySelectorAll('tr:not(.fit)')].map((row) =>
    [...row.cells].map((cell) => cell.textContent.trim().replace(/\\s+/g, ' ')).join(': ')).join('; ')"""


def click(page, tab: str, name: str) -> None:
    """Click an example and wait until it is in the form."""
    number = [example.name for example in examples.of_task(tab)].index(name)
    example_button(page, tab, number).click()
    says(page, tab, "example")
    open_form(page, tab)


def says(page, tab: str, words: str) -> None:
    """Wait until the table above Run says so, its cells joined by colons and its rows by semicolons."""
    page.wait_for_function(f"([id, words]) => {TABLE}.includes(words)", arg=[f"{tab}-used", words])


def lacks(page, tab: str, words: str) -> None:
    page.wait_for_function(f"([id, words]) => !{TABLE}.includes(words)", arg=[f"{tab}-used", words])


def test_three_sequences_then_ones_own_flair(page, tmp_path):
    own = shutil.copy(HEALTHY, tmp_path / "healthy.nii.gz")
    click(page, "segmentation", "three_sequences_temporal")
    says(page, "segmentation", "FLAIR: example; Pre-contrast T1: example; Post-contrast T1: example; Reference: ex")
    page.locator("#segment_glioma_ar2unet-flair button[aria-label=Clear]").first.click()
    lacks(page, "segmentation", "example")
    put_file(page, "#segment_glioma_ar2unet-flair", own)
    says(page, "segmentation", "FLAIR: yours healthy.nii.gz; Pre-contrast T1: none; Post-contrast T1: none; Ref")
    page.click("#segmentation-run")
    healthy = re.compile("Nothing found|candidates? below 1 ml")
    page.locator("#segmentation-status h2", has_text=healthy).wait_for()
    assert "Dice" not in page.inner_text("#segmentation-status")
    assert "No pre-contrast" in page.inner_text("#segmentation-status")


def test_a_second_file_in_an_examples_box_is_the_visitors_alone(page, tmp_path):
    own = shutil.copy(HEALTHY, tmp_path / "healthy.nii.gz")
    click(page, "segmentation", "three_sequences_temporal")
    put_file(page, "#segment_glioma_ar2unet-flair", own)
    says(page, "segmentation", "FLAIR: yours healthy.nii.gz; Pre-contrast T1: none")
    click(page, "segmentation", "three_sequences_temporal")
    lacks(page, "segmentation", "yours")


def test_a_reference_of_pet_does_not_go_over_to_ct(page):
    page.get_by_role("tab", name="Restoration").click()
    click(page, "restoration", "pet_brain_slice_twentieth")
    says(page, "restoration", "PET: example; Region map: none; Reference: example")
    page.locator("#restoration-method input[value=restore_ct_rat]").check()
    says(page, "restoration", "CT: none; Region map: none; Reference: none")
    put_file(page, "#restore_ct_rat-image", CASES["ct_small_dicom"].images["image"])
    says(page, "restoration", "CT: yours image.dcm; Region map: none; Reference: none")
    page.locator("#restoration-method input[value=restore_pet_rat]").check()
    says(page, "restoration", "PET: none")
