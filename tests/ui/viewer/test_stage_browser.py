"""The stage in a real browser: it draws, stays put, obeys, tells, and gives way where it cannot draw."""

import io

import gradio as gr
import numpy as np
import pytest
from conftest import BROWSER
from PIL import Image
from scipy import ndimage

from medapp.imaging.deformation import Deformation
from medapp.imaging.volume import Volume
from medapp.rendering import planes
from medapp.rendering.colour import Window
from medapp.rendering.layers import Layer
from medapp.rendering.view import LiveMask, Tile, View, Warp
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
SHIFT = (10.0, -6.0, 8.0)  # mm from the fixed to the moving ball
OBLIQUE = np.array([[-1.9, 0.5, 0.1, 70], [0.4, 2.0, -0.6, -60], [0.3, 0.6, 2.4, -50], [0, 0, 0, 1.0]])


def template() -> Volume:
    datasets = pytest.importorskip("nilearn.datasets")
    image = datasets.load_mni152_template(resolution=2)
    return Volume((image.get_fdata() * 1000).astype(np.int16), image.affine, name="MNI152")


def ball(image: Volume, mm: tuple[float, float, float], radius: float) -> np.ndarray:
    index = np.stack(np.meshgrid(*map(np.arange, image.shape), indexing="ij"), axis=-1)
    return np.clip(1.2 - np.linalg.norm(image.grid.to_mm(index) - np.array(mm), axis=-1) / radius, 0, 1)


def lesion_view(image: Volume, chance: Volume, threshold: float) -> View:
    expert = image.new_like((ball(image, (26, -20, 20), 10) > 0.3).astype(np.uint8), labels={1: "lesion"})
    mask = image.new_like((chance.array >= threshold).astype(np.uint8), labels={1: "lesion"})
    layers = {
        "MNI152": Layer(image),
        "Inverted": Layer(image.new_like(1000 - image.array)),
        "Probability": Layer(chance, "heat", opacity=0.0),
        "Lesion": Layer(mask, "mask", opacity=0.9, contour=2),
        "Expert": Layer(expert, "mask", colour=(86, 180, 233), opacity=0.9, contour=2),
    }
    half = chance.new_like(chance.array * 0.5)
    live = LiveMask(
        "Lesion",
        {"first": chance, "second": chance, "third": half},
        {"threshold": threshold, "min_lesion_ml": 0.0, "fusion": "vote", "first": True, "second": True, "third": True},
        switches=("first", "second", "third"),
        colours=((120, 94, 240), (240, 228, 66), (0, 190, 140)),
    )
    return View(layers, live=live, arrangements={"Fusion": (Tile("axial", (0, 0, 1, 1), "agreement"),)})


def warp_view() -> View:
    """A fixed and a moving ball on an oblique grid, and the deformation from one to the other."""
    image = Volume(np.zeros((64, 60, 44), np.int16), OBLIQUE)
    fixed = image.new_like((1000 * ball(image, (0, 0, 5), 15)).astype(np.int16), name="Fixed")
    moving = image.new_like((1000 * ball(image, np.add((0, 0, 5), SHIFT), 15)).astype(np.int16), name="Moving")
    vectors = np.tile(np.array(SHIFT, np.float32)[:, None, None, None], (1, *image.shape))
    layers = {"Fixed": Layer(fixed), "Moving": Layer(moving)}
    return View(layers, warp=Warp("Moving", Deformation(vectors, OBLIQUE)), compared="Moving", comparison="difference")


@pytest.fixture(scope="module")
def chance() -> Volume:
    image = template()
    return image.new_like(np.maximum(ball(image, FIRST, 16), ball(image, SECOND, 10)).astype(np.float32))


@pytest.fixture(scope="module")
def app(tmp_path_factory, chance):
    """A stage and its controls, a threshold of the server, and buttons that jump and change the scene."""
    folder = tmp_path_factory.mktemp("scene")
    image = template()
    marked = np.max([ball(image, mm, 8) > 0.3 for mm in CORNERS], axis=0)
    phantom = image.new_like(np.where(marked, 1000, 60).astype(np.int16), name="phantom")

    def build(threshold: float):
        return build_scene(lesion_view(image, chance, threshold), folder, mm=FIRST, key="lesions", title="A lesion")

    with gr.Blocks() as demo:
        with gr.Group(visible=False, elem_id="fallback") as fallback:
            layers = list(lesion_view(image, chance, 0.5).layers.values())
            gr.Image(planes.draw_three_planes(layers, FIRST), format="png", label="Three planes")
        with gr.Row(elem_classes="work"), gr.Column(elem_id="holder"):
            view = component.Viewer(build(0.5), elem_id="one", name="one")
        gr.HTML('<div id="one-layers"></div>')
        threshold = gr.Slider(0.05, 1.0, 0.5, step=0.05, label="Threshold", elem_id="threshold")
        jump, swap, warp = gr.Button("Jump"), gr.Button("Phantom"), gr.Button("Deformation")
        reading = gr.Textbox(label="Told", elem_id="told")
        jump.click(lambda: component.move_crosshair(SECOND), None, view)
        threshold.change(lambda t: build(t).model_copy(update={"crosshair": None}), threshold, view)
        blobs = View({"phantom": Layer(phantom, window=Window(0, 990))})
        swap.click(lambda: build_scene(blobs, folder, mm=(0, 0, 10), key="phantom"), None, view)
        warp.click(lambda: build_scene(warp_view(), folder, mm=(0, 0, 5), key="warp"), None, view)
        view.select(tell, None, reading)
        view.nowebgl(lambda: gr.Group(visible=True), None, fallback)
    _, url, _ = demo.launch(
        prevent_thread_lock=True, quiet=True, head=component.render_head(), allowed_paths=[str(folder)],
        css="#holder, #one, #one .html-container, #one .html-container > div { height: 460px; padding: 0; }",
    )  # fmt: skip
    yield url
    demo.close()


def tell(event: gr.EventData) -> str:
    return f"mm {np.round(event.mm).tolist()} read {list(event.values)} in {event.regions}"


@pytest.fixture
def page(browser, app):
    page = opened(browser, app)
    ready(page, "lesions")
    yield page
    page.context.close()


def opened(browser, url, **options):
    options.setdefault("viewport", {"width": 900, "height": 800})
    page = browser.new_context(**options).new_page()
    page.set_default_timeout(PATIENCE)
    page.goto(url)
    return page


def js(expression: str) -> str:
    """JavaScript with `s` for the stage, undefined before it is mounted, and `nv` for NiiVue."""
    return f"() => {{ const s = window.medapp?.stages.one, nv = s?.nv; return {expression} }}"


def ready(page, key: str):
    page.wait_for_function(js(f"s?.root.dataset.shown === '{key}'"))
    page.wait_for_timeout(300)


def show(page, button: str, key: str):
    page.get_by_role("button", name=button, exact=True).click()
    ready(page, key)


def at(page) -> np.ndarray:
    """Where the crosshair is, RAS+ millimetres."""
    return np.array(page.evaluate(js("Array.from(nv.frac2mm(nv.scene.crosshairPos, 0, true)).slice(0, 3)")))


def picture(page) -> np.ndarray:
    page.wait_for_timeout(300)
    shot = page.locator("#one .mv-view").screenshot()
    return np.asarray(Image.open(io.BytesIO(shot)).convert("RGB")).astype(int)


def tiles(page) -> dict[int, np.ndarray]:
    """The tiles of the picture by NiiVue's number of the plane: 0 axial, 1 coronal, 2 sagittal, 4 in 3-D."""
    shown = picture(page)
    boxes = page.evaluate(js("nv.screenSlices.map((t) => [t.axCorSag, ...t.leftTopWidthHeight].map(Math.round))"))
    return {plane: shown[top : top + height, left : left + width] for plane, left, top, width, height in boxes}


def orange(shown: np.ndarray) -> int:
    return int(((shown[..., 0] - shown[..., 2] > 90) & (shown[..., 0] > shown[..., 1] + 40)).sum())


def blue(shown: np.ndarray) -> int:
    return int(((shown[..., 2] - shown[..., 0] > 60) & (shown[..., 2] > 120)).sum())


def different(one: np.ndarray, other: np.ndarray) -> int:
    return int((np.abs(one - other).max(axis=-1) > 20).sum())


def brightest(tile: np.ndarray) -> np.ndarray:
    """Where the white blobs of the phantom are: (column, row) from the tile's middle, in shares of its size."""
    white = tile.min(axis=-1) > 235
    margin = len(white) // 10
    white[:margin] = white[-margin:] = False  # without the letters and the scale at the borders
    row, column = np.argwhere(white).mean(axis=0)
    return np.array([column / tile.shape[1], row / tile.shape[0]]) - 0.5


def test_first_sight(page):
    """Four tiles that are not blank, millimetres, values, regions, and which side is which."""
    shown = tiles(page)
    assert sorted(shown) == [0, 1, 2, 4]
    for plane, tile in shown.items():
        assert tile.std() > 15, plane
    np.testing.assert_allclose(at(page), FIRST, atol=0.01)
    said = page.locator("#one .mv-readout").inner_text()
    assert "R 30.0" in said and "P 20.0" in said and "S 20.0 mm" in said
    assert "MNI152 835" in said and "first 100 %" in said and "third 50 %" in said
    assert "Lesion" in said and "Expert" in said and "left is the patient’s right" in said
    assert page.locator("#one-layers .mv-side").is_visible() and page.locator("#one .mv-side").count() == 0


def test_regions_and_maps_show_and_hide(page):
    both = picture(page)
    assert orange(both) > 100 and blue(both) > 100
    page.get_by_label("Lesion", exact=True).uncheck()
    one = picture(page)
    assert orange(one) < orange(both) / 10
    assert 0.7 < blue(one) / blue(both) < 1.3  # the other stays
    page.get_by_label("Lesion", exact=True).check()
    page.get_by_label("Drawn as").select_option("both")
    assert different(picture(page), both) > 200
    for name in ("Expert", "Lesion"):
        page.get_by_label(name, exact=True).uncheck()
    bare = picture(page)
    page.locator("[data-field=map]").select_option("Probability")
    assert different(picture(page), bare) > 200


@pytest.mark.parametrize(("threshold", "smallest"), [(0.3, 0.0), (0.6, 0.0), (0.3, 10.0), (0.3, 1000.0)])
def test_the_browser_counts_as_the_server_does(page, chance, threshold, smallest):
    """The vote of three networks of which two say the same is what these two say. Too small ones are candidates."""
    page.evaluate(js(f"s.set('min_lesion_ml', {smallest}) && s.set('threshold', {threshold})"))
    corners = np.ones((3, 3, 3))
    labels, count = ndimage.label(np.rint(chance.array * 255) >= threshold * 255, corners)
    ml = np.bincount(labels.ravel())[1:] * chance.grid.voxel_ml
    kept = ml[ml >= smallest]
    expected = f"{kept.sum():.1f} ml in {len(kept)} lesion{'s' if len(kept) != 1 else ''}"
    expected = expected if len(kept) else f"{count} candidates below {smallest:g} ml"
    assert count == 2 and page.locator("#one .mv-figure").inner_text() == expected


def test_switched_off_networks_and_the_mean_count(page, chance):
    page.evaluate(js("['first', 'second'].map((name) => s.set(name, false)) && s.set('threshold', 0.4)"))
    half = ndimage.label(np.rint(chance.array * 127.5) >= 0.4 * 255)[1]
    assert f"in {half} lesion" in page.locator("#one .mv-figure").inner_text()
    before = picture(page)
    page.get_by_role("button", name="Fusion").click()
    assert different(picture(page), before) > 200


def test_a_threshold_of_the_server_changes_the_mask_and_nothing_else(page):
    page.evaluate(js("nv.setPan2Dxyzmm([3, 4, 5, 1.6])"))
    page.locator("#one canvas").first.click(position={"x": 120, "y": 100})
    page.locator("summary", has_text="Window").click()
    page.get_by_label("Preset").select_option(label="Narrow")
    kept = js("JSON.stringify([nv.scene.pan2Dxyzmm, nv.volumes[0].cal_min, nv.volumes[0].cal_max])")
    place, before, loads = at(page), page.evaluate(kept), page.evaluate(js("s.loads"))
    labels = page.evaluate(js("s.textures.get('labels').url"))
    page.locator("#threshold input[type=number]").fill("0.2")
    page.locator("#threshold input[type=number]").press("Enter")
    page.wait_for_function(js(f"s.textures.get('labels').url && s.textures.get('labels').url !== '{labels}'"))
    assert page.evaluate(js("s.loads")) == loads  # no image again
    np.testing.assert_allclose(at(page), place, atol=0.01)
    assert page.evaluate(kept) == before
    assert page.evaluate(js("Object.keys(window.medapp.stages).length")) == 1


def test_python_moves_the_crosshair(page):
    loads = page.evaluate(js("s.loads"))
    page.get_by_role("button", name="Jump").click()
    page.wait_for_function(js("nv.frac2mm(nv.scene.crosshairPos, 0, true)[0] < -30"))
    np.testing.assert_allclose(at(page), SECOND, atol=0.01)
    assert page.evaluate(js("s.loads")) == loads
    assert "L 35.0" in page.locator("#one .mv-readout").inner_text()


def test_a_click_tells_python(page):
    page.locator("#one canvas").first.click(position={"x": 150, "y": 200})
    page.wait_for_function("document.querySelector('#told textarea').value !== ''")
    reading = page.locator("#told textarea").input_value()
    assert reading.startswith(f"mm {np.round(at(page)).tolist()} read ['MNI152']")
    page.locator("#one canvas").first.press("ArrowLeft")
    page.wait_for_function("old => document.querySelector('#told textarea').value !== old", arg=reading)


COUNT_DRAWINGS = """
() => {
  const { nv } = window.medapp.stages.one;
  const draw = nv.drawSceneCore;
  window.drawn = []; // the frame of each drawing
  nv.drawSceneCore = (...rest) => { window.drawn.push(document.timeline.currentTime); return draw(...rest); };
}
"""


def test_right_front_and_head_are_where_a_radiologist_expects_them(page):
    page.evaluate(COUNT_DRAWINGS)
    show(page, "Phantom", "phantom")
    frames = page.evaluate("window.drawn")
    assert frames and len(set(frames)) == len(frames), "what is set up is drawn once a frame: drawing is slow"
    page.locator("summary", has_text="Display").click()
    page.get_by_label("Crosshair", exact=True).uncheck()
    shown = tiles(page)
    axial, coronal = shown[0], shown[1]
    half = axial.shape[1] // 2
    assert (axial[:, : half - 10].min(axis=-1) > 235).sum() > (axial[:, half + 10 :].min(axis=-1) > 235).sum() + 20
    assert brightest(axial)[1] < 0  # the front is up
    assert brightest(coronal)[0] < 0 and brightest(coronal)[1] < 0  # right on the left; head up
    page.get_by_label("Left is").select_option("neurological")
    axial = tiles(page)[0]
    assert (axial[:, : half - 10].min(axis=-1) > 235).sum() + 20 < (axial[:, half + 10 :].min(axis=-1) > 235).sum()
    assert "left is the patient’s left" in page.locator("#one .mv-readout").inner_text()
    assert page.locator("[data-section=regions]").is_hidden()  # those of the scene before are gone


def test_the_deformation_brings_the_moving_image_onto_the_fixed_one(page):
    """On an oblique grid: nothing of the difference is left at 100 %, and places go where the field says."""
    show(page, "Deformation", "warp")
    page.evaluate(js("s.field('cross').checked = false"))
    page.evaluate(js("s.warp.setShare(0)"))
    apart = sum(orange(tile) + blue(tile) for plane, tile in tiles(page).items() if plane < 4)
    page.evaluate(js("s.warp.setShare(1)"))
    together = sum(orange(tile) + blue(tile) for plane, tile in tiles(page).items() if plane < 4)
    assert apart > 400 and together < apart / 20
    moved = page.evaluate(js("s.warp.vectorAt([0.5, 0.5, 0.5])"))
    np.testing.assert_allclose(moved["mm"], SHIFT, atol=0.1)
    assert abs(moved["log"]) < 0.02
    said = page.locator("#one .mv-readout").inner_text()
    assert "moves 14." in said and "volume × 1.00" in said
    page.get_by_label("Grid", exact=True).check()
    page.get_by_label("Arrows", exact=True).check()
    assert different(picture(page), np.zeros(3)) > 2000


def test_a_line_between_two_images_is_drawn_aside(page):
    page.locator("[data-field=other]").select_option("Inverted")
    page.locator("[data-field=way]").select_option("swipe")
    page.wait_for_function(js("s.comparison.volume"))
    before = picture(page)
    left, top, width, height = page.evaluate(js("nv.screenSlices[0].leftTopWidthHeight"))
    box = page.locator("#one .mv-view").bounding_box()
    y = box["y"] + top + height / 3
    page.mouse.move(box["x"] + left + width / 2, y)
    page.mouse.down()
    page.mouse.move(box["x"] + left + width * 0.8, y, steps=4)
    page.mouse.up()
    assert abs(page.evaluate(js("s.shader.values.swipe")) - 0.8) < 0.02
    assert different(picture(page), before) > 1000
    np.testing.assert_allclose(at(page), FIRST, atol=0.01)  # the crosshair stays


def test_layout(page):
    page.get_by_role("button", name="Axial").click()
    page.wait_for_timeout(300)
    assert page.evaluate(js("nv.screenSlices.map((tile) => tile.axCorSag)")) == [0]


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
    assert page.locator("#one canvas").first.is_hidden()
