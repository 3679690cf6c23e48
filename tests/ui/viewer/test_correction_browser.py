"""A correction by hand in a real browser: strokes land on the voxels that are seen, in every plane and on any grid."""

import gradio as gr
import numpy as np
import pytest
from conftest import BROWSER
from nibabel.affines import from_matvec
from scipy.spatial.transform import Rotation

from medapp.algorithms.click_crops import Clicked
from medapp.algorithms.lesion_proposals import propose_addition, propose_removal
from medapp.analysis.hand_correction import ERASED, PAINTED
from medapp.analysis.mask_metrics import compute_dice
from medapp.imaging.volume import Grid, Volume
from medapp.rendering.layers import Layer
from medapp.rendering.view import LiveMask, Tile, View
from medapp.ui.corrections import unpack_voxels
from medapp.ui.proposals import pack_proposals
from medapp.ui.viewer import component, niivue_asset
from medapp.ui.viewer.scene import build_scene

PATIENCE = 120_000  # milliseconds
pytestmark = [
    pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome here"),
    pytest.mark.skipif(
        niivue_asset.fetch_script(60) is None, reason="NiiVue's script is not here and cannot be fetched"
    ),
]
SHAPE = (60, 50, 24)
TILT = Rotation.from_euler("xyz", [12, -9, 20], degrees=True).as_matrix()
AFFINES = {  # flipped axes; thick slices along a permuted axis; oblique
    "flipped": from_matvec(np.diag([-1.5, -1.5, 4.0]), (45, 40, -50)),
    "thick": from_matvec(np.array([[0, 0, 6.0], [-1.5, 0, 0], [0, -2.0, 0]]), (-70, 45, 50)),
    "oblique": from_matvec(TILT @ np.diag([-1.5, 1.8, 4.0]), (45, -45, -50)),
}
CENTRE, RADIUS = (30, 25, 12), 8.0  # voxel and mm of the automatic lesion
SPOT = (17, 18, 9)  # voxel of a second lesion, which the mask has missed
NOTHING = (25, 25, 9)  # voxel near it from which nothing grows
PLANES = {"axial": 0, "coronal": 1, "sagittal": 2}
TARGETS = {"axial": (14, 30, 9), "coronal": (44, 12, 15), "sagittal": (20, 36, 6)}


def phantom(grid: str) -> Volume:
    array = np.full(SHAPE, 100, np.int16)
    array[10:50, 10:40, 4:20] = 400
    image = Volume(array, AFFINES[grid], name=grid)
    return image.new_like((array + 300 / (1 + np.exp(measure_distance(image.grid, SPOT) - RADIUS))).astype(np.int16))


def measure_distance(grid: Grid, voxel) -> np.ndarray:
    """In mm from a voxel."""
    points = grid.to_mm(np.moveaxis(np.indices(SHAPE), 0, -1))
    return np.linalg.norm(points - grid.to_mm(np.array(voxel)), axis=-1)


def chance(image: Volume) -> Volume:
    distance = measure_distance(image.grid, CENTRE)
    return image.new_like(np.clip(1 - 0.5 * distance / RADIUS, 0, 1).astype(np.float32), name="chance")


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    """A stage with buttons for the phantoms, and a threshold; `received` are the corrections that came."""
    folder, received = tmp_path_factory.mktemp("scene"), []

    def build(grid: str, threshold: float = 0.5):
        image = phantom(grid)
        mask = image.new_like((chance(image).array >= threshold).astype(np.uint8), labels={1: "lesion"})
        layers = {grid: Layer(image), "Lesion": Layer(mask, "mask", opacity=0.9, contour=2)}
        live = LiveMask("Lesion", {"chance": chance(image)}, {"threshold": threshold, "min_lesion_ml": 0.0})
        tiles = [Tile(plane, (number / 3, 0, 1 / 3, 1)) for number, plane in enumerate(PLANES)]  # without 3-D: faster
        view = View(layers, live=live, arrangements={"Planes": tiles}, arrangement="Planes")
        scene = build_scene(view, folder, mm=image.grid.to_mm(np.array(CENTRE)), key=grid)
        return scene.model_copy(update={"case": grid})

    def take(event: gr.EventData):
        image = phantom(event.case)
        sent = unpack_voxels(event.voxels, image.grid, image).array if event.voxels else np.zeros(SHAPE, np.uint8)
        received.append((event.case, event.strokes, sent))
        return build(event.case).model_copy(update={"strokes": event.strokes, "crosshair": None})

    def propose(event: gr.EventData):
        image = phantom(event.case)
        clicked = Clicked(image, chance(image).array >= 0.5)
        mm = np.array(event.clicks[-1]["mm"])
        proposals = (propose_removal if event.removes else propose_addition)(clicked, mm)
        answer = {"case": event.case, "number": event.number, "removes": event.removes}
        answer |= pack_proposals(proposals, image.grid)
        return gr.update(proposals=answer)

    with gr.Blocks() as demo:
        with gr.Column(elem_id="holder"):
            view = component.Viewer(build("flipped"), elem_id="one", name="one")
        gr.HTML('<div id="one-layers"></div>')
        for grid in AFFINES:
            gr.Button(grid).click(lambda grid=grid: build(grid), None, view)
        lower = gr.Button("Lower")
        lower.click(lambda: build("flipped", 0.4).model_copy(update={"crosshair": None}), None, view)
        view.correct(take, None, view, trigger_mode="multiple")
        view.propose(propose, None, view, trigger_mode="multiple")
    _, url, _ = demo.launch(
        prevent_thread_lock=True, quiet=True, head=component.render_head(), allowed_paths=[str(folder)],
        css="#holder, #one, #one .html-container, #one .html-container > div { height: 400px; padding: 0; }",
    )  # fmt: skip
    yield url, received
    demo.close()


def js(expression: str) -> str:
    return f"(argument) => {{ const s = window.medapp?.stages.one, nv = s?.nv; return {expression} }}"


@pytest.fixture(scope="module")
def shared(browser, app):
    """A page with the tools open."""
    page = browser.new_context(viewport={"width": 900, "height": 700}).new_page()
    page.set_default_timeout(PATIENCE)
    page.goto(app[0])
    ready(page, "flipped")
    page.click("#one [data-do=correct]")
    yield page
    page.context.close()


@pytest.fixture
def page(shared, app):
    """The shared page with the first phantom, nothing painted, the brush in hand, no answer under way."""
    if shared.is_enabled("#one [data-tool=clear]"):
        shared.click("#one [data-tool=clear]")
        last(shared, app[1])
    if shared.evaluate(js("s.scene.case")) != "flipped":
        show(shared, "flipped")
    shared.click("#one [data-tool=disc]")
    shared.keyboard.press("b")
    return shared


def ready(page, key: str) -> None:
    page.wait_for_function(js(f"s?.root.dataset.shown === '{key}' && !document.querySelector('.generating')"))
    page.wait_for_timeout(200)


def show(page, grid: str) -> None:
    page.get_by_role("button", name=grid, exact=True).click()
    ready(page, grid)
    page.click("#one [data-do=correct]")


def find(page, grid: str, plane: str, index) -> tuple[float, float]:
    """Go to a voxel, and return where it is in a plane, in pixels of the page."""
    page.wait_for_function(
        js("Math.abs(s.canvas.height - s.view.clientHeight * devicePixelRatio) < 2")
    )  # tools make room
    mm = [float(x) for x in phantom(grid).grid.to_mm(np.array(index))]
    page.evaluate(js("[s.goTo(argument), nv.drawScene()].length"), mm)
    across, up = {"axial": (0, 1), "coronal": (0, 2), "sagittal": (1, 2)}[plane]
    left, top, width, height, at, fov, box = page.evaluate(
        js(
            "(t => [...t.leftTopWidthHeight, [...t.leftTopMM], [...t.fovMM], s.canvas.getBoundingClientRect()])"
            "(nv.screenSlices.find((t) => t.axCorSag === argument))"
        ),
        PLANES[plane],
    )
    x = left + (mm[across] - at[0]) / fov[0] * width
    y = top + height - (mm[up] - at[1]) / fov[1] * height
    ratio = page.evaluate("devicePixelRatio")
    return box["x"] + x / ratio, box["y"] + y / ratio


def set_size(page, step: int) -> None:
    """The size of the tip by its number in the list; 0 is 1 mm, 6 is 8 mm."""
    page.locator("#one [data-pick=size]").fill(str(step))


def stroke(page, *points: tuple[float, float]) -> None:
    page.mouse.move(*points[0])
    page.mouse.down()
    for point in points[1:]:
        page.mouse.move(*point, steps=4)
    page.mouse.up()


def last(page, received) -> np.ndarray:
    """The correction as the stage has it now, once it has come and was answered."""
    page.wait_for_function(js("s.scene.strokes === s.correction.strokes"))
    case, strokes, voxels = received[-1]
    assert [case, strokes] == page.evaluate(js("[s.scene.case, s.scene.strokes]"))
    return voxels


def figure(page) -> str:
    return page.inner_text("#one .mv-figure")


@pytest.mark.parametrize("grid", AFFINES)
def test_a_point_in_any_plane_is_the_voxel_that_is_seen_there(page, app, grid):
    if grid != "flipped":
        show(page, grid)
    set_size(page, 0)
    for plane, target in TARGETS.items():
        stroke(page, find(page, grid, plane, target))
    painted = last(page, app[1])
    np.testing.assert_array_equal(np.argwhere(painted), sorted(TARGETS.values()))
    assert (painted[painted > 0] == PAINTED).all()


def test_tips_are_measured_in_millimetres_and_a_ball_goes_through_slices(page, app):
    set_size(page, 11)  # 25 mm
    for tip, expected in (("disc", np.pi * 12.5**2 * 4), ("ball", 4 / 3 * np.pi * 12.5**3)):
        page.click(f"#one [data-tool={tip}]")
        stroke(page, find(page, "flipped", "axial", (30, 25, 12)))
        painted = last(page, app[1])
        assert np.count_nonzero(painted) * 9 == pytest.approx(expected, rel=0.05), tip
        assert np.ptp(np.argwhere(painted), axis=0)[2] == (0 if tip == "disc" else 6)
        page.keyboard.press("u")
        assert not last(page, app[1]).any()


def test_erase_fill_undo_redo_and_reset_are_counted_at_once(page, app):
    automatic = figure(page).split(" in ")[0]
    assert automatic.endswith("ml")
    page.keyboard.press("e")
    set_size(page, 9)
    stroke(page, find(page, "flipped", "coronal", CENTRE))
    erased = last(page, app[1])
    assert (erased[erased > 0] == ERASED).all() and erased[CENTRE] == ERASED and "−" in figure(page)
    page.keyboard.press("b")
    page.keyboard.press("f")
    a, b, c, d = (
        find(page, "flipped", "axial", index) for index in ((40, 30, 5), (48, 30, 5), (48, 38, 5), (40, 38, 5))
    )
    stroke(page, a, b, c, d)
    filled = last(page, app[1]) == PAINTED
    assert filled[40:49, 30:39, 5].all() and filled[:, :, :5].sum() == 0 and filled.sum() <= 11 * 11
    assert "in 2 lesions" in figure(page) and "+" in figure(page)
    page.keyboard.press("f")
    page.keyboard.press("u")
    assert "+" not in figure(page)
    page.keyboard.press("u")
    assert figure(page).startswith(automatic) and "hand" not in figure(page)
    page.keyboard.press("Shift+U")
    page.keyboard.press("y")
    assert (last(page, app[1]) == PAINTED).sum() == filled.sum()
    page.click("#one [data-tool=clear]")
    assert not last(page, app[1]).any() and page.is_disabled("#one [data-tool=clear]")
    page.keyboard.press("u")
    assert (last(page, app[1]) == PAINTED).sum() == filled.sum(), "to reset is a step like others"


def test_twenty_steps_can_be_undone(page):
    set_size(page, 0)
    script = """([x, y]) => {
      const canvas = document.querySelector('#one canvas');
      for (let n = 0; n < 22; n++)
        for (const kind of ['pointerdown', 'pointerup']) {
          const place = { clientX: x + 4 * n, clientY: y, pointerId: 1, bubbles: true };
          canvas.dispatchEvent(new PointerEvent(kind, place));
        }
      for (let n = 0; n < 20; n++) canvas.dispatchEvent(new KeyboardEvent('keydown', { key: 'u', bubbles: true }));
    }"""
    page.evaluate(script, find(page, "flipped", "axial", (12, 12, 10)))
    assert page.is_disabled("#one [data-tool=undo]") and "+" in figure(page), "the first two strokes stay"


def test_a_correction_stays_at_another_threshold_and_goes_with_its_result(page, app):
    set_size(page, 9)
    stroke(page, find(page, "flipped", "axial", (14, 14, 8)))
    painted = last(page, app[1])
    page.get_by_role("button", name="Lower", exact=True).click()
    page.wait_for_function(js("s.scene.live.settings.threshold === 0.4"))
    assert page.evaluate(js("s.correction.voxels.bytes.reduce((n, v) => n + v, 0)")) == painted.sum()
    page.select_option("#one [data-pick=shown]", "automatic")
    assert page.evaluate(js("s.shader.values.byHand")) == 0 and figure(page).startswith("Automatic: ")
    page.keyboard.press("a")
    assert "by hand +" in figure(page)
    assert page.evaluate(js("s.shader.values.byHand")) == 1
    page.keyboard.press("Escape")
    assert page.is_hidden("#one .mv-tools") and page.evaluate(js("s.shader.values.byHand")) == 1
    page.get_by_role("button", name="oblique", exact=True).click()
    ready(page, "oblique")
    assert page.evaluate(js("s.correction.voxels")) is None


def test_what_is_painted_on_is_seen(page, app):
    page.keyboard.press("Escape")
    page.get_by_role("checkbox", name="Lesion").uncheck()
    assert page.evaluate(js("s.shader.values.live")) == 0
    page.click("#one [data-do=correct]")
    assert page.evaluate(js("s.shader.values.live")) == 1 and page.get_by_role("checkbox", name="Lesion").is_checked()


def test_what_was_painted_last_is_sent_though_another_result_is_shown_before_the_answer(page, app):
    stroke(page, find(page, "flipped", "axial", (14, 14, 8)))
    painted = last(page, app[1])
    script = """() => {
      const stage = window.medapp.stages.one, { correction, canvas } = stage;
      for (const key of ['u', 'y']) {
        canvas.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true }));
        correction.flush();
      }
      stage.scene = { ...stage.scene, case: 'another' };
      correction.load();
    }"""
    count, strokes = len(app[1]), app[1][-1][1]
    page.evaluate(script)
    page.wait_for_function(js("s.scene.case === 'flipped' && s.scene.strokes === argument"), arg=strokes + 2)
    assert len(app[1]) == count + 2 and not app[1][-2][2].any()
    np.testing.assert_array_equal(app[1][-1][2], painted)
    page.click("#one [data-do=correct]")


def test_a_finger_paints_and_two_fingers_do_not(page, app):
    set_size(page, 5)
    x, y = find(page, "flipped", "axial", (14, 30, 9))
    hand = page.context.new_cdp_session(page)
    hand.send("Emulation.setTouchEmulationEnabled", {"enabled": True, "maxTouchPoints": 2})

    def touch(kind: str, *points: tuple[float, float]) -> None:
        at = [{"x": a, "y": b, "id": number} for number, (a, b) in enumerate(points)]
        hand.send("Input.dispatchTouchEvent", {"type": f"touch{kind}", "touchPoints": at})

    touch("Start", (x, y))
    touch("Move", (x + 20, y))
    touch("End")
    painted = last(page, app[1])
    assert painted[14, 30, 9] == PAINTED and np.ptp(np.argwhere(painted)[:, 0]) > 4
    touch("Start", (x, y + 30))
    touch("Move", (x + 10, y + 30))
    touch("Start", (x + 10, y + 30), (x + 60, y + 60))
    touch("Move", (x + 5, y + 30), (x + 80, y + 60))
    touch("End")
    page.wait_for_timeout(800)
    np.testing.assert_array_equal(last(page, app[1]), painted)
    assert page.evaluate(js("nv.scene.pan2Dxyzmm[3]")) > 1, "two fingers zoom"
    hand.send("Emulation.setTouchEmulationEnabled", {"enabled": False})
    page.click("#one [data-do=reset]")


def offered(page) -> str:
    """What is proposed, once the answer is there."""
    page.wait_for_function("document.querySelector('#one [data-offer=text]').textContent.endsWith('…') === false")
    return page.inner_text("#one [data-offer=text]")


@pytest.mark.parametrize("grid", ["flipped", "oblique"])
def test_a_click_proposes_what_was_missed_and_enter_paints_it_as_one_step(page, app, grid):
    if grid != "flipped":
        show(page, grid)
    page.keyboard.press("c")
    page.mouse.click(*find(page, grid, "coronal", SPOT))
    first = offered(page)
    assert first.startswith("Add ") and "ml" in first
    page.keyboard.press("[")
    assert offered(page) != first
    page.click("#one [data-offer=larger]")
    assert offered(page) == first
    page.mouse.click(*find(page, grid, "axial", NOTHING))
    page.wait_for_function("document.querySelector('#one [data-offer=hint]').textContent.startsWith('Nothing')")
    assert offered(page) == first, "a further click that means nothing leaves it"
    page.keyboard.press("Enter")
    painted = last(page, app[1])
    lesion = measure_distance(phantom(grid).grid, SPOT) < RADIUS
    assert set(np.unique(painted)) == {0, PAINTED} and compute_dice(painted > 0, lesion) > 0.9
    assert not page.is_visible("#one [data-offer=take]") and "+" in figure(page)
    page.keyboard.press("u")
    assert not last(page, app[1]).any()


def test_a_click_on_the_mask_proposes_to_take_away_and_escape_drops_it(page, app):
    page.keyboard.press("c")
    inside = find(page, "flipped", "axial", CENTRE)
    page.mouse.click(*inside)
    assert offered(page).startswith("Take away ")
    page.keyboard.press("Escape")
    assert not page.is_visible("#one [data-offer=take]") and page.is_visible("#one .mv-tools")
    page.mouse.click(*inside)
    offered(page)
    page.click("#one [data-offer=take]")
    erased = last(page, app[1])
    np.testing.assert_array_equal(erased, ERASED * (chance(phantom("flipped")).array >= 0.5))


def test_a_tap_proposes_and_an_answer_that_comes_too_late_is_not_shown(page):
    page.keyboard.press("c")
    x, y = find(page, "flipped", "axial", SPOT)
    hand = page.context.new_cdp_session(page)
    hand.send("Emulation.setTouchEmulationEnabled", {"enabled": True, "maxTouchPoints": 2})
    hand.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [{"x": x, "y": y}]})
    hand.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    assert offered(page).startswith("Add ")
    hand.send("Emulation.setTouchEmulationEnabled", {"enabled": False})
    answer = "{ case: argument, number: 1, removes: false, message: 'late' }"
    for case in ("flipped", "another"):
        page.evaluate(js(f"s.correction.proposals.take({answer})"), case)
    assert offered(page).startswith("Add ")
    show(page, "thick")
    assert not page.is_visible("#one [data-offer=take]") and page.evaluate(js("s.shader.values.offerBit")) == 0


def test_a_pen_paints_its_other_end_erases_and_a_palm_does_not_paint(page, app):
    set_size(page, 5)
    x, y = find(page, "flipped", "axial", (14, 30, 9))
    hand = page.context.new_cdp_session(page)
    pen = {"button": "left", "pointerType": "pen", "clickCount": 1}
    for kind, more in (
        ("mousePressed", {"x": x, "y": y, "buttons": 1}),
        ("mouseMoved", {"x": x + 20, "y": y, "buttons": 1}),
        ("mouseReleased", {"x": x + 20, "y": y, "buttons": 0}),
    ):
        hand.send("Input.dispatchMouseEvent", {"type": kind, **pen, **more})
    painted = last(page, app[1])
    assert painted[14, 30, 9] == PAINTED and np.ptp(np.argwhere(painted)[:, 0]) > 4
    send = """([x, y, pointerType, button, buttons]) => {
      for (const [kind, held] of [['pointerdown', buttons], ['pointerup', 0]])
        document.querySelector('#one canvas').dispatchEvent(new PointerEvent(
          kind, { clientX: x, clientY: y, pointerId: 7, pointerType, button, buttons: held, bubbles: true }));
    }"""
    page.evaluate(send, [x, y, "pen", 5, 32])  # turned round; DevTools cannot
    assert last(page, app[1])[14, 30, 9] == ERASED
    before = page.evaluate(js("s.correction.strokes"))
    page.evaluate(send, [x, y, "touch", 0, 1])
    assert page.evaluate(js("s.correction.strokes")) == before
