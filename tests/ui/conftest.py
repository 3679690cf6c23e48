"""The app as a visitor meets it: a process of its own on a port of this machine."""

import os
import shutil
import zipfile
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import TimeoutError

from benchmarks import serving
from medapp.ui.viewer.niivue_asset import CDN

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = [
    "--no-sandbox",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
]
WATCH = """
import os, sys

def watch(event, arguments):
    if event in ("socket.connect", "socket.sendto"):
        address = arguments[1]
    elif event == "socket.getaddrinfo":
        address = arguments[:2]
    else:
        return
    here = not isinstance(address, tuple) or str(address[0]).startswith("127.")
    if not here and address[0] not in (None, "", "::1", "localhost", "0.0.0.0"):
        with open(os.environ["MEDAPP_TEST_WATCH"], "a") as file:
            print(address, file=file)

sys.addaudithook(watch)
"""


@pytest.fixture(scope="session")
def served(tmp_path_factory):
    """The address of the running app, whose folder for temporary files is `temporary`."""
    base = tmp_path_factory.getbasetemp()
    log = (base / "app.log").open("w")
    (temporary := base / "temporary").mkdir()
    (hooks := base / "hooks").mkdir()
    (hooks / "sitecustomize.py").write_text(WATCH)
    away = base / "away.txt"
    environment = {
        "PYTHONPATH": os.pathsep.join(filter(None, (str(hooks), os.environ.get("PYTHONPATH")))),
        "MEDAPP_TEST_WATCH": str(away),
        "TMPDIR": str(temporary),
        "MEDAPP_PRECOMPUTE": "0",
        "MEDAPP_FIRST_VIEW": "0",  # a page that begins without a result costs less
    }
    with serving.run_app(log, **environment) as (address, _):
        yield address
    assert not list(temporary.iterdir()), "who is told to terminate tidies up"
    asked = away.read_text().splitlines() if away.exists() else []
    allowed = ("huggingface.co", *(urlsplit(url).hostname for url in CDN))
    assert not [line for line in asked if not any(host in line for host in allowed)], "images could leave the machine"


@pytest.fixture(scope="module")
def browser():
    """Chromium, with a software WebGL. No longer than a module: while it is there, `asyncio.run` does not work."""
    sync_api = pytest.importorskip("playwright.sync_api")
    if BROWSER is None:
        pytest.skip("no Chromium or Chrome here")
    with sync_api.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=BROWSER, args=FLAGS)
        yield browser
        browser.close()


def open_page(browser, address: str, height: int = 720):
    """The app's page as a new visitor sees it, its segmentation tab open."""
    page = browser.new_context(viewport={"width": 1280, "height": height}, accept_downloads=True).new_page()
    page.set_default_timeout(120_000)
    page.goto(address)
    page.wait_for_selector("#segmentation-run")
    return page


@pytest.fixture
def page(browser, served):
    """The page of a visitor who comes for this test alone."""
    page = open_page(browser, served)
    yield page
    page.context.close()


@pytest.fixture(scope="module")
def shared_page(browser, served):
    """The page of a visitor who stays for all tests of the module."""
    page = open_page(browser, served)
    yield page
    page.context.close()


def open_form(page, task: str) -> None:
    """Unfold the form of a tab, which folds away once something has been asked for."""
    if page.locator(f"#{task}-work.drawer-closed").count():
        page.click(f"#{task}-stage .toggle")


def wait_for_picture(page, task: str) -> None:
    """Wait until all of a result is drawn; where it never is, say what the page said."""
    try:
        page.wait_for_selector(f"#{task}-viewer .mv[data-shown]")
    except TimeoutError as error:
        said = " | ".join(filter(None, page.inner_text("body").splitlines()))
        raise AssertionError(f"No picture came. The page: {said[:3000]}") from error


def example_button(page, task: str, number: int):
    """The thumbnail of an example, in the form."""
    open_form(page, task)
    return page.locator(f"#{task}-examples button.thumbnail-item, #{task}-examples .thumbnail-lg").nth(number)


def open_result_tab(page, task: str, title: str) -> None:
    """Open a tab of the panel."""
    page.locator(f"#{task}-panel").get_by_role("tab", name=title, exact=True).click()


def unpacked(page, tab: str, folder: Path) -> list[Path]:
    """The files of the zip that a tab's page offers, once it does, unpacked into `folder`."""
    open_result_tab(page, tab, "Files")
    page.wait_for_selector(f"#{tab}-zip:not([disabled])")
    with page.expect_download() as download:
        page.click(f"#{tab}-zip")
    download.value.save_as(folder / "all.zip")
    with zipfile.ZipFile(folder / "all.zip") as packed:
        packed.extractall(folder)
        return [folder / name for name in packed.namelist() if not name.endswith("/")]


def put_file(page, box: str, path: Path) -> None:
    """Put a file into an upload box; again where a page that was still being set up took no notice."""
    task = page.locator(box).evaluate("box => box.closest('.work').id").removesuffix("-work")
    open_form(page, task)
    shown = page.locator(f"{box} .file-preview :text('{path.stem[:8]}')").first  # the suffix is an element of its own
    for attempt in range(3):
        try:
            with page.expect_request("**/gradio_api/upload*", timeout=75_000):
                page.set_input_files(f"{box} input[type=file]", str(path))
            break  # however slow it is, it must not be sent twice
        except TimeoutError:
            if attempt == 2:
                raise
    shown.wait_for()
