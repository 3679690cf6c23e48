"""The app as a visitor meets it: a process of its own on a port of this machine."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
import zipfile
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
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


@pytest.fixture(scope="session")
def served(tmp_path_factory):
    """The address of the running app, and the folder where it keeps uploads."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    kept = tmp_path_factory.mktemp("gradio")
    log = (kept.parent / "app.log").open("w")
    environment = os.environ | {
        "GRADIO_SERVER_PORT": str(port),
        "GRADIO_TEMP_DIR": str(kept),
        "GRADIO_SERVER_NAME": "127.0.0.1",
    }
    process = subprocess.Popen(
        [sys.executable, "app.py"], cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT
    )
    address = f"http://127.0.0.1:{port}/"
    for _ in range(240):
        try:
            urllib.request.urlopen(address, timeout=2)
            break
        except OSError:
            assert process.poll() is None, (kept.parent / "app.log").read_text()
            time.sleep(0.5)
    yield address
    process.terminate()
    process.wait(10)


@contextmanager
def browsed(served: str, height: int = 1700):
    """The app's page in a browser of its own, its segmentation tab open."""
    from playwright import sync_api

    with sync_api.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=BROWSER, args=FLAGS)
        page = browser.new_page(viewport={"width": 1500, "height": height})
        page.set_default_timeout(180_000)
        page.goto(served)
        page.wait_for_selector("#segmentation-run")
        yield page
        browser.close()


def unpacked(page, tab: str, folder: Path) -> list[Path]:
    """The files of the zip that a tab's page offers, once it does, unpacked into `folder`."""
    page.get_by_role("tab", name="Files").locator("visible=true").click()
    page.wait_for_selector(f"#{tab}-zip:not([disabled])")
    with page.expect_download() as download:
        page.click(f"#{tab}-zip")
    download.value.save_as(folder / "all.zip")
    with zipfile.ZipFile(folder / "all.zip") as packed:
        packed.extractall(folder)
        return [folder / name for name in packed.namelist() if not name.endswith("/")]


def put_file(page, box: str, path: Path) -> None:
    """Put a file into an upload box; again where a page that was still being set up took no notice."""
    shown = page.locator(f"{box} :text('{path.name[:8]}')").first
    for attempt in range(4):
        page.set_input_files(f"{box} input[type=file]", str(path))
        try:
            return shown.wait_for(timeout=30_000)
        except Exception:
            if attempt == 3:
                raise
