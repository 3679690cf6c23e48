"""The viewer in a real browser: it draws, stays put, obeys, tells, and gives way where it cannot draw."""

import io

import gradio as gr
import numpy as np
import pytest
from conftest import BROWSER
from PIL import Image

from medapp.imaging.volume import Volume
from medapp.rendering import planes
from medapp.rendering.colour import Window
from medapp.rendering.layers import Layer
from medapp.ui.viewer import component, niivue_asset
from medapp.ui.viewer.scene import build_scene

PATIENCE = 120_000  # milliseconds; a busy machine without a graphics card is slow
pytestmark = [
    pytest.mark.skipif(
        niivue_asset.fetch_script(60) is None, reason="NiiVue's script is not here and cannot be fetched"
    ),
]

CORNERS = ((45, 0, 10), (0, 50, 10), (0, 0, 60))  # at the patient's right, front and head; RAS+ millimetres
FIRST, SECOND = (30.0, -20.0, 20.0), (-35.0, 20.0, 5.0)  # two lesions


def template() -> Volume:
    datasets = pytest.importorskip("nilearn.datasets")
    image = datasets.load_mni152_template(resolution=2)
    return Volume((image.get_fdata() * 1000).astype(np.int16), image.affine, name="MNI152")


def ball(image: Volume, mm: tuple[float, float, float], radius: float) -> np.ndarray:
    index = np.stack(np.meshgrid(*map(np.arange, image.shape), indexing="ij"), axis=-1)
    return np.clip(1.2 - np.linalg.norm(image.grid.to_mm(index) - np.array(mm), axis=-1) / radius, 0, 1)


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    """Two tabs, the second inactive; a threshold, and buttons that jump and swap the image."""
    folder = tmp_path_factory.mktemp("scene")
    image = template()
    chance = image.new_like(np.maximum(ball(image, FIRST, 16), ball(image, SECOND, 10)).astype(np.float32))
    expert = image.new_like((ball(image, (26, -20, 20), 10) > 0.3).astype(np.uint8), labels={1: "lesion"})
    marked = np.max([ball(image, mm, 8) > 0.3 for mm in CORNERS], axis=0)
    phantom = image.new_like(np.where(marked, 1000, 60).astype(np.int16), name="phantom")

    def layers(threshold: float) -> dict[str, Layer]:
        mask = image.new_like((chance.array > threshold).astype(np.uint8), labels={1: "lesion"})
        return {
            "MNI152": Layer(image),
            "Probability": Layer(chance, "heat", opacity=0.0),
            "Lesion": Layer(mask, "mask", opacity=0.9, contour=2),
            "Expert": Layer(expert, "mask", colour=(86, 180, 233), opacity=0.9, contour=2),
        }

    with gr.Blocks() as demo:
        with gr.Tab("One"):
            with gr.Group(visible=False, elem_id="fallback") as fallback:
                gr.Image(
                    planes.draw_three_planes(list(layers(0.5).values()), FIRST), format="png", label="Three planes"
                )
            view = component.Viewer(build_scene(layers(0.5), folder, mm=FIRST), elem_id="one", sync="pair", height=420)
            threshold = gr.Slider(0.05, 1.0, 0.5, step=0.05, label="Threshold", elem_id="threshold")
            jump, swap = gr.Button("Jump"), gr.Button("Phantom")
            reading = gr.Textbox(label="Told", elem_id="told")
        with gr.Tab("Two"):
            other = component.Viewer(elem_id="two", sync="pair", height=300)
            fill = gr.Button("Fill")
        jump.click(lambda: component.move_crosshair(SECOND), None, view)
        threshold.change(lambda t: build_scene(layers(t), folder, mm=FIRST), threshold, view)
        blobs = {"phantom": Layer(phantom, window=Window(0, 990))}
        swap.click(lambda: build_scene(blobs, folder, mm=(0, 0, 10)), None, view)
        fill.click(lambda: build_scene({"MNI152": Layer(image)}, folder), None, other)
        view.select(tell, None, reading)
        view.nowebgl(lambda: gr.Group(visible=True), None, fallback)
    _, url, _ = demo.launch(
        prevent_thread_lock=True, quiet=True, head=component.render_prefetch_link(), allowed_paths=[str(folder)]
    )
    yield url
    demo.close()


def tell(event: gr.EventData) -> str:
    return f"mm {np.round(event.mm).tolist()} read {list(event.values)} in {event.regions}"


@pytest.fixture
def page(browser, app):
    page = opened(browser, app)
    ready(page)
    yield page
    page.context.close()


def opened(browser, url, **options):
    options.setdefault("viewport", {"width": 900, "height": 800})
    page = browser.new_context(**options).new_page()
    page.set_default_timeout(PATIENCE)
    page.goto(url)
    return page


def js(which: str, expression: str) -> str:
    """JavaScript with `v` for what the viewer exposes to tests, null before it is mounted."""
    viewer = f"document.querySelector('#{which} .mv')?.parentElement.medapp_viewer"
    return f"() => {{ const v = {viewer}; return {expression} }}"


def ready(page, which="one"):
    said = f"document.querySelector('#{which} .mv-message').textContent"
    page.wait_for_function(js(which, f"!!v?.image && {said} === ''"))


def at(page, which="one") -> np.ndarray:
    """Where the crosshair is, RAS+ millimetres."""
    mm = page.evaluate(js(which, "Array.from(v.nv.frac2mm(v.nv.scene.crosshairPos, 0, true)).slice(0, 3)"))
    return np.array(mm)


def picture(page, which="one") -> np.ndarray:
    shot = page.locator(f"#{which} canvas").screenshot()
    return np.asarray(Image.open(io.BytesIO(shot)).convert("RGB")).astype(int)


def tiles(shown: np.ndarray) -> dict[str, np.ndarray]:
    row, column = shown.shape[0] // 2, shown.shape[1] // 2
    left, right = shown[:, :column], shown[:, column:]
    return {"axial": left[:row], "3-D": right[:row], "coronal": left[row:], "sagittal": right[row:]}


def orange(shown: np.ndarray) -> int:
    return int(((shown[..., 0] - shown[..., 2] > 90) & (shown[..., 0] > shown[..., 1] + 40)).sum())


def blue(shown: np.ndarray) -> int:
    return int(((shown[..., 2] - shown[..., 0] > 60) & (shown[..., 2] > 120)).sum())


def different(one: np.ndarray, other: np.ndarray) -> int:
    return int((np.abs(one - other).max(axis=-1) > 20).sum())


def brightest(tile: np.ndarray) -> np.ndarray:
    """Where the white blobs of the phantom are: (column, row) from the tile's middle, in shares of its size."""
    white = tile.min(axis=-1) > 235
    white[: len(white) // 12] = white[-(len(white) // 12) :] = False  # without the letters at the borders
    row, column = np.argwhere(white).mean(axis=0)
    return np.array([column / tile.shape[1], row / tile.shape[0]]) - 0.5


def test_first_sight(page):
    """Four tiles that are not blank, millimetres, values, regions, and which side is which."""
    for name, tile in tiles(picture(page)).items():
        assert tile.std() > 15, name
        green = (tile[..., 1] > tile[..., 0] + 60) & (tile[..., 1] > tile[..., 2] + 40)
        assert green.sum() > 40, f"no crosshair in {name}"
    np.testing.assert_allclose(at(page), FIRST, atol=0.01)
    said = page.locator("#one .mv-readout").inner_text()
    assert "R 30.0" in said and "P 20.0" in said and "S 20.0 mm" in said
    assert "MNI152 835" in said and "Probability 1" in said and "Lesion" in said and "Expert" in said
    assert "left is the patient’s right" in said
    assert page.evaluate("document.querySelectorAll('canvas').length") == 1  # the other tab is not mounted


def test_regions_show_and_hide(page):
    both = picture(page)
    assert orange(both) > 100 and blue(both) > 100
    page.get_by_label("Lesion", exact=True).uncheck()
    page.wait_for_timeout(300)
    one = picture(page)
    assert orange(one) < orange(both) / 10
    assert 0.8 < blue(one) / blue(both) < 1.2  # the other stays; where edges met, its line was drawn on both sides
    page.get_by_label("Lesion", exact=True).check()
    page.get_by_label("Drawn as").select_option("fill")
    page.wait_for_timeout(300)
    assert different(picture(page), both) > 200
    page.get_by_label("Expert", exact=True).uncheck()
    page.get_by_label("Lesion", exact=True).uncheck()
    page.wait_for_timeout(300)
    bare = picture(page)
    page.get_by_label("Probability", exact=True).check()
    page.wait_for_timeout(300)
    assert different(picture(page), bare) > 200


def test_a_threshold_changes_the_mask_and_nothing_else(page):
    page.evaluate(js("one", "v.nv.setPan2Dxyzmm([3, 4, 5, 1.6])"))
    page.locator("#one canvas").click(position={"x": 120, "y": 100})
    page.get_by_label("Preset").select_option(label="Narrow")
    kept = js("one", "JSON.stringify([v.nv.scene.pan2Dxyzmm, v.nv.volumes[0].cal_min, v.nv.volumes[0].cal_max])")
    place, before, loads = at(page), page.evaluate(kept), page.evaluate(js("one", "v.loads"))
    mask = page.evaluate(js("one", "v.mask"))
    page.locator("#threshold input[type=number]").fill("0.2")
    page.locator("#threshold input[type=number]").press("Enter")
    page.wait_for_function(js("one", f"v.mask !== '{mask}'"))
    ready(page)
    assert page.evaluate(js("one", "v.loads")) == loads + 1  # the mask; not the image, not the map
    np.testing.assert_allclose(at(page), place, atol=0.01)
    assert page.evaluate(kept) == before
    assert page.evaluate("window.__medapp_viewer.viewers.size") == 1


def test_python_moves_the_crosshair(page):
    loads = page.evaluate(js("one", "v.loads"))
    page.get_by_role("button", name="Jump").click()
    page.wait_for_function(js("one", "v.nv.frac2mm(v.nv.scene.crosshairPos, 0, true)[0] < -30"))
    np.testing.assert_allclose(at(page), SECOND, atol=0.01)
    assert page.evaluate(js("one", "v.loads")) == loads
    assert "L 35.0" in page.locator("#one .mv-readout").inner_text()


def test_a_click_tells_python(page):
    box = page.locator("#one canvas").bounding_box()
    page.locator("#one canvas").click(position={"x": box["width"] * 0.22, "y": box["height"] * 0.22})
    page.wait_for_function("document.querySelector('#told textarea').value !== ''")
    reading = page.locator("#told textarea").input_value()
    assert reading.startswith(f"mm {np.round(at(page)).tolist()} read ['MNI152', 'Probability']")
    page.locator("#one canvas").press("ArrowLeft")
    page.wait_for_function("old => document.querySelector('#told textarea').value !== old", arg=reading)


def test_right_front_and_head_are_where_a_radiologist_expects_them(page):
    page.get_by_role("button", name="Phantom").click()
    page.wait_for_function(js("one", "v.scene.image.name === 'phantom'"))
    ready(page)
    page.get_by_label("Crosshair", exact=True).uncheck()
    page.wait_for_timeout(300)
    assert page.locator("#one .mv-regions").is_hidden()
    shown = tiles(picture(page))
    axial, coronal = shown["axial"], shown["coronal"]
    half = axial.shape[1] // 2
    assert (axial[:, : half - 10].min(axis=-1) > 235).sum() > (axial[:, half + 10 :].min(axis=-1) > 235).sum() + 20
    assert brightest(axial)[1] < 0  # the front is up
    assert brightest(coronal)[0] < 0 and brightest(coronal)[1] < 0  # right on the left; head up
    page.get_by_label("Left is").select_option("neurological")
    page.wait_for_timeout(300)
    axial = tiles(picture(page))["axial"]
    assert (axial[:, : half - 10].min(axis=-1) > 235).sum() + 20 < (axial[:, half + 10 :].min(axis=-1) > 235).sum()
    assert "left is the patient’s left" in page.locator("#one .mv-readout").inner_text()


def test_a_viewer_in_another_tab_follows(page):
    page.get_by_role("tab", name="Two").click()
    page.get_by_role("button", name="Fill").click()
    ready(page, "two")
    assert tiles(picture(page, "two"))["axial"].std() > 15
    page.get_by_role("tab", name="One").click()
    page.get_by_role("button", name="Jump").click()
    page.wait_for_function(js("one", "v.nv.frac2mm(v.nv.scene.crosshairPos, 0, true)[0] < -30"))
    np.testing.assert_allclose(at(page, "two"), SECOND, atol=0.01)
    page.locator("#one canvas").press("PageUp")
    np.testing.assert_allclose(at(page, "two"), at(page), atol=0.01)
    page.get_by_label("Left is").first.select_option("neurological")
    assert page.evaluate(js("two", "v.nv.opts.isRadiologicalConvention")) is False


def test_layout_and_picture(page):
    page.get_by_role("button", name="Axial").click()
    page.wait_for_timeout(300)
    assert page.evaluate(js("one", "v.nv.screenSlices.map((s) => s.axCorSag)")) == [0]
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save picture").click()
    assert np.asarray(Image.open(saved.value.path()).convert("L")).std() > 15
    page.get_by_role("button", name="Reset", exact=True).click()
    page.wait_for_timeout(300)
    assert page.evaluate(js("one", "v.nv.screenSlices.map((s) => s.axCorSag)")) == [0, 4, 1, 2]


def test_without_the_script_the_page_says_so_and_shows_pictures(browser, app):
    context = browser.new_context()
    context.route("**/*niivue*", lambda route: route.abort())
    page = context.new_page()
    page.goto(app)
    gave_way(page)
    context.close()


def test_without_webgl_the_page_says_so_and_shows_pictures(browser, app):
    blind = browser.browser_type.launch(executable_path=BROWSER, args=["--no-sandbox", "--disable-3d-apis"])
    gave_way(opened(blind, app))
    blind.close()


def gave_way(page):
    page.locator("#fallback img").wait_for(state="visible", timeout=PATIENCE)
    assert "cannot be shown here" in page.locator("#one .mv-message").inner_text()
    assert page.locator("#one canvas").is_hidden()
