"""The registration tab as a visitor uses it: a known deformation measured, looked at, downloaded and applied by ITK."""

import io
import re
import shutil

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from conftest import example_button, open_form, put_file, unpacked, wait_for_picture
from PIL import Image

from medapp import examples
from medapp.serving import runtime

NAME = "register_brain_textscf"
pytestmark = [
    pytest.mark.skipif(NAME not in runtime.load_cards(), reason="no weights yet"),
]
KNOWN = [example.name for example in examples.of_task("registration")].index("known_deformation")
STAGE = "window.medapp.stages.registration"
MOVING = examples.of_task("registration")[KNOWN].images["moving"]


@pytest.fixture(scope="module")
def page(shared_page):
    page = shared_page
    page.set_default_timeout(180_000)
    page.get_by_role("tab", name="Registration").click()
    example_button(page, "registration", KNOWN).click()
    page.wait_for_selector("#registration-numbers table")
    return page


def picture(page) -> np.ndarray:
    page.wait_for_timeout(500)
    shot = page.locator("#registration-viewer .mv-view").screenshot()
    return np.asarray(Image.open(io.BytesIO(shot)).convert("RGB")).astype(int)


def different(one: np.ndarray, other: np.ndarray) -> int:
    return int((np.abs(one - other).max(axis=-1) > 20).sum())


def test_the_error_against_the_known_deformation_is_told(page):
    row = page.inner_text("#registration-numbers tr:has-text('Target registration error, mean')")
    before, after = map(float, re.findall(r"\d+\.\d+", row)[:2])
    assert after < 0.7 * before
    open_form(page, "registration")
    page.get_by_role("button", name="Landmarks").first.click()
    assert page.locator("label:has-text('Landmarks') textarea").input_value().count("\n") > 100


def test_the_deformation_and_what_it_moves_are_drawn(page):
    wait_for_picture(page, "registration")
    assert page.evaluate(f"{STAGE}.comparison.name")
    before, grid = picture(page), page.locator("#registration-layers").get_by_label("Grid", exact=True)
    grid.check()
    assert different(picture(page), before) > 500
    grid.uncheck()
    page.evaluate(f"{STAGE}.warp.setShare(0)")
    assert different(picture(page), before) > 500


def test_itk_makes_the_same_image_of_the_files(page, tmp_path):
    files = {path.name.removeprefix(f"{NAME}_"): path for path in unpacked(page, "registration", tmp_path)}
    assert {
        "displacement.nii.gz",
        "inverse_displacement.nii.gz",
        "affine.tfm",
        "warped.nii.gz",
        "landmarks.csv",
    } <= set(files)
    ours = sitk.ReadImage(str(files["warped.nii.gz"]), sitk.sitkFloat64)
    field = sitk.DisplacementFieldTransform(sitk.ReadImage(str(files["displacement.nii.gz"]), sitk.sitkVectorFloat64))
    whole = sitk.CompositeTransform([sitk.ReadTransform(str(files["affine.tfm"])), field])
    theirs = sitk.Resample(sitk.ReadImage(str(MOVING), sitk.sitkFloat64), ours, whole, sitk.sitkLinear, 0.0)
    a, b = (sitk.GetArrayFromImage(image) for image in (ours, theirs))
    inside = (a > 0) & (b > 0)
    assert inside.mean() > 0.2
    bright = np.percentile(a[inside], 99)
    assert np.abs(a - b)[inside].mean() < 0.005 * bright
    assert nib.load(files["displacement.nii.gz"]).shape == (*nib.load(files["warped.nii.gz"]).shape, 1, 3)


def test_landmarks_of_an_example_go_with_its_images(page, tmp_path):
    open_form(page, "registration")
    assert "Landmarks" in page.inner_text("#registration-used")
    put_file(page, f"#{NAME}-fixed", shutil.copy(MOVING, tmp_path / "mine.nii.gz"))
    page.wait_for_function("!document.querySelector('#registration-used').innerText.includes('Landmarks')")
    assert "mine.nii.gz" in page.inner_text("#registration-used")
