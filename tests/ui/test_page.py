"""The page as a visitor uses it: upload, run, move the threshold, click a lesion, download; and what may go wrong."""

import io
import json

import nibabel as nib
import numpy as np
import pytest
from conftest import example_button, open_form, open_page, put_file, unpacked, wait_for_picture
from PIL import Image

from medapp import examples

CASES = {example.name: example for example in examples.of_task("segmentation")}
LESION = next(e for e in CASES.values() if e.reference and set(e.images) == {"flair"})
HEADLINE = "document.querySelector('#segmentation-status h2').textContent"
STAGE = "window.medapp.stages.segmentation"
FORM = "#segment_glioma_ar2unet"
NO_WEBGL = """
const given = HTMLCanvasElement.prototype.getContext
HTMLCanvasElement.prototype.getContext = function (kind, ...rest) {
  return kind.startsWith("webgl") ? null : given.call(this, kind, ...rest)
}
"""


@pytest.fixture
def page(page):
    choose(page)
    return page


@pytest.fixture(scope="module")
def segmented(shared_page):
    """A page on which an uploaded FLAIR has been segmented."""
    page = shared_page
    choose(page)
    put(page, "flair", LESION.images["flair"])
    page.click("#segmentation-run")
    wait_for_picture(page, "segmentation")
    page.wait_for_function(f"{HEADLINE}.includes('ml in')")
    return page


def choose(page) -> None:
    """Take the method for lesions, where there is another."""
    open_form(page, "segmentation")
    method = page.locator(f"#segmentation-method input[value={FORM.removeprefix('#')}]")
    if method.count():
        method.check()


def put(page, role: str, path) -> None:
    put_file(page, f"{FORM}-{role}", path)


def headline(page) -> str:
    return page.inner_text("#segmentation-status h2")


def test_the_page_says_that_it_is_no_diagnosis(page):
    page.get_by_text("Not a medical device", exact=True).click()
    assert "never a diagnosis" in page.inner_text("#page-head").lower()


def test_an_uploaded_scan_is_segmented_and_drawn(segmented):
    assert "ml in" in headline(segmented)
    segmented.wait_for_timeout(300)
    taken = segmented.locator("#segmentation-viewer .mv-view").screenshot()
    picture = np.asarray(Image.open(io.BytesIO(taken)).convert("RGB"), int)
    tiles = segmented.evaluate(f"{STAGE}.nv.screenSlices.map((tile) => [...tile.leftTopWidthHeight].map(Math.round))")
    assert len(tiles) == 4
    for left, top, width, height in tiles:
        part = picture[top : top + height, left : left + width]
        assert (part.max(-1) > 50).mean() > 0.05, "each of the four views shows a head"
    orange = (picture[..., 0] > 150) & (picture[..., 0] - picture[..., 2] > 80)
    assert orange.sum() > 50, "the lesion is outlined"


def test_the_threshold_recomputes_without_the_network(segmented):
    threshold, before = segmented.locator(f"{FORM}-live input[type=number]").first, headline(segmented)
    default = threshold.input_value()
    threshold.fill("0.9")
    threshold.press("Enter")
    segmented.wait_for_function(
        "old => document.querySelector('#segmentation-status h2').textContent !== old", arg=before
    )
    assert float(headline(segmented).split(" ml")[0]) < float(before.split(" ml")[0])
    assert "0.9" in segmented.inner_text("#segmentation-numbers")
    threshold.fill(default)
    threshold.press("Enter")
    segmented.wait_for_function(
        "old => document.querySelector('#segmentation-status h2').textContent === old", arg=before
    )


def crosshair(page) -> np.ndarray:
    """(3,) RAS+ millimetres as the readout under the picture says, for example "R 26.3 A 30.6 S 26.1 mm"."""
    words = page.inner_text("#segmentation-viewer [data-say=place]").split()
    signs = {"R": 1, "L": -1, "A": 1, "P": -1, "S": 1, "I": -1}
    return np.array([signs[words[i]] * float(words[i + 1]) for i in (0, 2, 4)])


def test_a_click_on_a_lesion_moves_the_crosshair(segmented):
    cells = segmented.locator("#segmentation-table [data-testid^='cell-0-']").all_inner_texts()
    centroid = np.array([float(text) for text in cells[3:6]])
    segmented.evaluate(f"mm => {STAGE}.goTo(mm)", (centroid + 20).tolist())
    assert np.linalg.norm(crosshair(segmented) - centroid) > 25
    segmented.locator("#segmentation-table [data-testid='cell-0-1']").click()
    segmented.wait_for_timeout(1500)
    assert np.linalg.norm(crosshair(segmented) - centroid) < 12


def test_the_zip_holds_mask_report_and_facts_on_the_grid_of_the_input(segmented, tmp_path):
    files = unpacked(segmented, "segmentation", tmp_path)
    wanted = {
        end: next(path for path in files if path.name.endswith(end))
        for end in ("mask.nii.gz", "probability.nii.gz", "result.json", ".html", "lesions.csv")
    }
    mask, image = nib.load(wanted["mask.nii.gz"]), nib.load(LESION.images["flair"])
    assert mask.shape == image.shape
    np.testing.assert_allclose(mask.affine, image.affine, atol=1e-4)
    facts = json.loads(wanted["result.json"].read_text())
    volume = float(np.asarray(mask.dataobj).sum()) * abs(np.linalg.det(image.affine[:3, :3])) / 1000
    assert facts["metrics"]["volume"]["value"] == pytest.approx(volume, abs=0.01)
    assert len(facts["weights"]["sha256"]) == 64 and facts["seconds"] > 0


def test_an_example_shows_its_result_at_one_click(page):
    example_button(page, "segmentation", 0).click()
    wait_for_picture(page, "segmentation")
    assert page.locator("#segmentation-work.drawer-closed").count(), "the picture has the place of the form"
    assert "Synthetic example" in page.locator("#segmentation-status").text_content()


def test_run_without_an_image_says_what_is_missing(page):
    page.click("#segmentation-run")
    page.wait_for_selector("text=No FLAIR image")


def test_a_file_that_is_no_image_is_refused_in_words(page, tmp_path):
    bad = tmp_path / "notes.nii.gz"
    bad.write_bytes(b"this is not an image")
    put(page, "flair", bad)
    page.click("#segmentation-run")
    page.wait_for_selector("text=notes.nii.gz")
    assert "Traceback" not in page.inner_text("body")


def test_without_webgl_pictures_are_drawn_by_the_server(browser, served):
    page = open_page(browser, served)
    page.add_init_script(NO_WEBGL)
    page.reload()
    example_button(page, "segmentation", 0).click()
    page.wait_for_selector("#segmentation-plain img")
    page.context.close()


def test_two_visitors_at_once_see_what_is_theirs(browser, served, tmp_path):
    pages = {}
    for name, example in (("ada", LESION), ("bob", CASES["no_lesion"])):
        file = tmp_path / f"{name}.nii.gz"
        file.write_bytes(example.images["flair"].read_bytes())
        page = pages[name] = open_page(browser, served)
        choose(page)
        put(page, "flair", file)
    for page in pages.values():
        page.click("#segmentation-run")
    for page in pages.values():
        wait_for_picture(page, "segmentation")
    ada, bob = pages.values()
    assert "ml in" in headline(ada) and headline(bob) != headline(ada)
    assert "ada.nii" not in bob.content() and "bob.nii" not in ada.content()
    bob.context.close()
    before = headline(ada)
    threshold = ada.locator(f"{FORM}-live input[type=number]").first
    threshold.fill("0.9")
    threshold.press("Enter")
    ada.wait_for_function(f"old => {HEADLINE} !== old", arg=before)
    ada.context.close()
