"""What the menu "Share" saves, in a real browser: all of it opens again and shows what was seen."""

import base64
import gzip
import json

import numpy as np
import pytest
from conftest import open_form, open_page, wait_for_picture
from PIL import Image

from medapp import examples

TAB, STAGE = "segmentation", "window.medapp.stages.segmentation"
EXAMPLE = next(example for example in examples.of_task(TAB) if example.name == "flair_frontal")
SHARE = f"#{TAB}-viewer .mv-share"
MM, WINDOW, THRESHOLD = [24.0, 30.0, 20.0], [5.0, 95.0], 0.3
LINK = f"/#example={EXAMPLE.name}&mm=24,30,20&layout=coronal&window=5,95&threshold={THRESHOLD}"
COUNT_FRAMES = """
async (content) => {
  const src = `data:video/webm;base64,${content}`;
  const video = Object.assign(document.createElement('video'), { muted: true, src });
  await new Promise((end, fail) => { video.onended = end; video.onerror = fail; video.play(); });
  return [video.getVideoPlaybackQuality().totalVideoFrames, video.videoWidth, video.videoHeight];
}
"""
OPEN_DOCUMENT = """
async (text) => {
  const canvas = Object.assign(document.createElement('canvas'), { width: 64, height: 64 });
  document.body.append(canvas);
  const nv = new window.niivue.Niivue({ logLevel: 'error' });
  await nv.attachToCanvas(canvas, false);
  await nv.loadDocument(await window.niivue.NVDocument.loadFromJSON(JSON.parse(text)));
  const told = {
    names: nv.volumes.map(({ name }) => name),
    inside: nv.volumes.map(({ img }) => img.reduce((sum, value) => sum + (value > 0), 0)),
    mm: [...nv.frac2mm(nv.scene.crosshairPos, 0, true)].slice(0, 3),
  };
  nv.gl.getExtension('WEBGL_lose_context').loseContext();
  canvas.remove();
  return told;
}
"""


@pytest.fixture(scope="module")
def page(browser, served):
    """The page of a visitor who has come by a link."""
    page = open_page(browser, served.rstrip("/") + LINK)
    wait_for_picture(page, TAB)
    page.wait_for_function(f"{STAGE}.scene?.sharing?.link?.threshold")
    ready(page)
    yield page
    page.context.close()


def ready(page) -> None:
    page.wait_for_function(f"{STAGE}.root.dataset.shown && !document.querySelector('#{TAB}-stage .generating')")
    page.wait_for_timeout(500)


def read_state(page) -> dict:
    return page.evaluate(f"{STAGE}.state.read()")


def open_menu(page) -> None:
    if page.locator(SHARE).is_hidden():
        page.click(f"#{TAB}-viewer [data-do=share]")


def save(page, what: str, path):
    """What a button of the menu saves."""
    open_menu(page)
    with page.expect_download() as download:
        page.click(f"{SHARE} [data-share={what}]")
    download.value.save_as(path)
    page.wait_for_function(f"!document.querySelector('{SHARE} [data-share=picture]').disabled")
    return path


def count_hand(page) -> int:
    return page.evaluate(f"[...({STAGE}.correction.voxels?.bytes ?? [])].filter((voxel) => voxel).length")


def test_a_link_opens_the_example_as_it_was_shown(page):
    state = read_state(page)
    assert state["layout"] == "coronal"
    np.testing.assert_allclose(state["mm"], MM, atol=0.01)
    np.testing.assert_allclose(state["window"], WINDOW, rtol=1e-4)
    live = page.locator(f"#{EXAMPLE.pipeline}-live input[type=number]").first
    assert float(live.input_value()) == THRESHOLD
    assert page.evaluate(f"{STAGE}.scene.live.settings.threshold") == THRESHOLD
    open_menu(page)
    page.click(f"{SHARE} [data-share=link]")
    copied = page.locator(f"{SHARE} [data-share=address]").input_value()
    assert f"{LINK}".removeprefix("/") in copied.replace(f"&threshold={THRESHOLD}", "") + f"&threshold={THRESHOLD}"


def test_a_hostile_link_does_nothing_but_say_so(page):
    case = page.evaluate(f"{STAGE}.scene.case")
    for hash_, words in (
        ("example=<img src=x onerror=alert(1)>", "not here"),
        (f"example={EXAMPLE.name}&mm=NaN,1,2", "cannot be read"),
        (f"example={EXAMPLE.name}&__proto__=1", "cannot be read"),
    ):
        page.evaluate("hash => { location.hash = hash }", hash_)
        page.get_by_text(words).first.wait_for()
        page.locator(".toast-close").first.click()
        assert page.locator(f"#{TAB}-whose").is_hidden(), "nothing runs any more"
    assert page.evaluate(f"{STAGE}.scene.case") == case


def test_a_picture_has_twice_the_pixels_and_a_caption_at_will(page, tmp_path):
    width, height = page.evaluate(f"[{STAGE}.canvas.width, {STAGE}.canvas.height]")
    open_menu(page)
    sizes = []
    for caption in (True, False):
        page.locator(f"{SHARE} [data-share=caption]").set_checked(caption)
        picture = Image.open(save(page, "picture", tmp_path / f"{caption}.png"))
        sizes.append(picture.size)
        assert np.asarray(picture.convert("L"))[: 2 * height].std() > 10, "the image is in it"
        assert not caption or (np.asarray(picture.convert("L"))[2 * height :] > 150).any(), "and its caption"
    assert sizes[1] == (2 * width, 2 * height) and sizes[0][0] == 2 * width and sizes[0][1] > 2 * height + 60
    assert page.evaluate(f"{STAGE}.canvas.width") == width


def test_a_film_has_its_frames_and_leaves_the_view_as_it_was(page, tmp_path):
    before = read_state(page)
    open_menu(page)
    page.select_option(f"{SHARE} [data-share=film]", "axial")
    film = save(page, "record", tmp_path / "film.webm")
    frames, width, height = page.evaluate(COUNT_FRAMES, base64.b64encode(film.read_bytes()).decode())
    slices = page.evaluate(f"{STAGE}.nv.volumes[0].dimsRAS[3]")
    assert frames > 0.4 * slices and min(width, height) > 300
    assert read_state(page) == before
    page.select_option(f"{SHARE} [data-share=film]", "coronal")
    page.click(f"{SHARE} [data-share=record]")
    page.click(f"{SHARE} [data-share=stop]")
    page.get_by_text("Cancelled.").wait_for()
    page.wait_for_function(
        "before => JSON.stringify(" + STAGE + ".state.read()) === before", arg=json.dumps(before, separators=(",", ":"))
    )


def test_a_document_opens_in_niivue_itself(page, tmp_path):
    file = save(page, "document", tmp_path / "a.nvd")
    told = page.evaluate(OPEN_DOCUMENT, gzip.decompress(file.read_bytes()).decode())
    assert [name.removesuffix(".nii") for name in told["names"]][:1] == ["FLAIR"]
    mask = next(n for n, name in enumerate(told["names"]) if name == "Lesion.nii")
    grid = page.evaluate(f"{STAGE}.scene.live.voxel_ml")
    shown = float(page.inner_text("#segmentation-status h2").split(" ml")[0])
    assert abs(told["inside"][mask] * grid - shown) < 0.06
    np.testing.assert_allclose(told["mm"], MM, atol=0.1)


def test_a_corrected_scene_opens_for_another_visitor_without_the_network(page, browser, served, tmp_path):
    open_menu(page)
    page.keyboard.press("Escape")
    page.click(f"#{TAB}-viewer [data-do=correct]")
    page.click(f"#{TAB}-viewer [data-tool=brush]")
    box = page.locator(f"#{TAB}-viewer .mv-view").bounding_box()
    page.mouse.move(box["x"] + 0.45 * box["width"], box["y"] + 0.5 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 0.45 * box["height"], steps=4)
    page.mouse.up()
    page.wait_for_function(f"document.querySelector('#{TAB}-viewer .mv-saved').textContent === 'Saved'")
    ready(page)
    open_menu(page)
    page.locator(f"{SHARE} [data-share=with-image]").set_checked(False)
    file = save(page, "scene", tmp_path / "scene.medapp.zip")
    state, hand, headline = read_state(page), count_hand(page), page.inner_text("#segmentation-status h2")
    assert hand and "by hand" in headline
    other = open_page(browser, served)
    open_form(other, TAB)
    other.get_by_text("Open a saved scene").first.click()
    other.set_input_files(f"#{TAB}-scene input[type=file]", str(file))
    other.locator(f"#{TAB}-scene-image input[type=file]").wait_for(state="attached")
    other.set_input_files(f"#{TAB}-scene-image input[type=file]", str(EXAMPLE.images["flair"]))
    wait_for_picture(other, TAB)
    ready(other)
    assert other.inner_text("#segmentation-status h2") == headline
    assert count_hand(other) == hand
    opened = read_state(other)
    assert (opened["layout"], opened["hidden"]) == (state["layout"], state["hidden"])
    np.testing.assert_allclose(opened["mm"], state["mm"], atol=0.01)
    live = other.locator(f"#{EXAMPLE.pipeline}-live input[type=number]").first
    assert float(live.input_value()) == THRESHOLD
    live.fill("0.6")
    live.press("Enter")
    other.wait_for_function(
        "old => document.querySelector('#segmentation-status h2').textContent !== old", arg=headline
    )
    assert "by hand" in other.inner_text("#segmentation-status h2")
    other.context.close()
