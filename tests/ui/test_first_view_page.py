"""What a visitor sees before having asked for anything: a result in every tab, for which nothing is computed."""

from conftest import open_page, wait_for_picture

from benchmarks import serving
from medapp.serving import runtime
from medapp.ui.first_view import load_first_view

FIGURE = "document.querySelector('#segmentation-viewer .mv-figure').textContent"
SHARES = """[innerWidth < document.documentElement.scrollWidth || innerHeight < document.documentElement.scrollHeight,
  ...[true, false].map((closed) => {
    document.getElementById('segmentation-work').classList.toggle('drawer-closed', closed)
    const box = document.getElementById('segmentation-stage').getBoundingClientRect()
    return box.width * box.height / (innerWidth * innerHeight)
  })]"""
HEADLINE = "document.querySelector('#segmentation-status h2').textContent"


def test_every_tab_begins_with_a_picture_and_its_threshold_moves(browser, tmp_path):
    path = tmp_path / "log.txt"
    with path.open("w") as log, serving.run_app(log, TMPDIR=str(tmp_path), MEDAPP_PRECOMPUTE="0") as (address, _):
        page = open_page(browser, address)
        for tab in ("registration", "restoration", "segmentation"):
            page.get_by_role("tab", name=tab.capitalize(), exact=True).click()
            wait_for_picture(page, tab)
            assert page.inner_text(f"#{tab}-status h2") == load_first_view(tab).headline
        assert '"outcome"' not in path.read_text(), "nothing has been computed"
        method = load_first_view("segmentation").example.pipeline
        asked = [source.title for source in runtime.find_card(method).inputs]
        assert asked[0] in page.inner_text("#segmentation-used")
        for size in ((1280, 720), (1600, 1000)):
            page.set_viewport_size({"width": size[0], "height": size[1]})
            scrolls, closed, opened = page.evaluate(SHARES)
            assert not scrolls and closed >= 0.6 and opened >= 0.45, (size, closed, opened)
        figure, headline = page.evaluate(FIGURE), page.evaluate(HEADLINE)
        threshold = page.locator(f"#{method}-live input[type=number]").first
        threshold.fill("0.9")
        page.wait_for_function(f"old => {FIGURE} !== old", arg=figure)
        assert '"outcome"' not in path.read_text(), "the browser draws it"
        threshold.press("Enter")
        page.wait_for_function(f"old => {HEADLINE} !== old", arg=headline)
        page.context.close()
