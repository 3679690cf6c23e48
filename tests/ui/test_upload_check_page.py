"""What an upload is taken for stands above Run before anything runs, in the browser."""

import shutil

import numpy as np
from conftest import open_form, put_file
from phantoms import ct_body

from medapp import examples
from medapp.imaging.volume import Volume
from medapp.io import files

CASES = {example.name: example for example in examples.every()}
FLAIR, LESIONS = CASES["flair_frontal"].images["flair"], CASES["flair_frontal"].reference


def wait_for_line(page, level: str, words: str) -> None:
    """Wait for a line of that level in the list above Run of the first tab, with the words in it."""
    line = page.locator(f"#segmentation-used tr.{level}", has_text=words)
    line.first.wait_for(timeout=60_000)


def test_each_file_is_judged_before_the_run(shared_page, tmp_path):
    page = shared_page
    open_form(page, "segmentation")
    page.locator("#segmentation-method input[value=segment_ms_rsanet]").check()
    box = "#segment_ms_rsanet-flair"
    put_file(page, box, files.write(Volume(ct_body(), np.eye(4)), tmp_path / "body.nii.gz"))
    wait_for_line(page, "refused", "looks like CT")
    page.locator(f"{box} button[aria-label=Clear]").first.click()
    put_file(page, box, shutil.copy(LESIONS, tmp_path / "lesions.nii.gz"))
    wait_for_line(page, "doubt", "a mask or a label map")
    page.locator(f"{box} button[aria-label=Clear]").first.click()
    page.wait_for_function("!document.querySelector('#segmentation-used tr.fit')")
    put_file(page, box, shutil.copy(FLAIR, tmp_path / "own.nii.gz"))
    wait_for_line(page, "fits", "FLAIR of a head")
    page.get_by_role("button", name="Compare with a reference mask").click()
    put_file(page, "#segmentation-reference", shutil.copy(FLAIR, tmp_path / "image.nii.gz"))
    wait_for_line(page, "doubt", "it is an image, not a mask")


def test_nothing_is_said_of_an_examples_files(shared_page):
    page = shared_page
    open_form(page, "segmentation")
    for box in ("#segment_ms_rsanet-flair", "#segmentation-reference"):
        page.locator(f"{box} button[aria-label=Clear]").first.click()
    page.wait_for_function("!document.querySelector('#segmentation-used tr.fit')")
