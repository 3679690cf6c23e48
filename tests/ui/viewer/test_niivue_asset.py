"""NiiVue's script: kept, checked, taken from npm, from a public copy, or given up. Only a server on this machine."""

import hashlib
import io
import tarfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from medapp.ui.viewer import niivue_asset

SCRIPT = b"window.niivue = {};"


@pytest.fixture
def bare(tmp_path, monkeypatch):
    """An empty cache, no npm, no public copies, and a small script in the place of NiiVue's."""
    monkeypatch.setenv("MEDAPP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(niivue_asset, "SHA256", hashlib.sha256(SCRIPT).hexdigest())
    monkeypatch.setattr(niivue_asset, "CDN", ())
    (tmp_path / "bin").mkdir()
    return tmp_path


@pytest.fixture
def public():
    """A server: /good has the script, /bad another, /slow sends a byte each 0.1 s, anything else is missing."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(200 if self.path in ("/good", "/bad", "/slow") else 404)
            self.end_headers()
            if self.path == "/slow":
                for _ in range(50):
                    self.wfile.write(b" ")
                    time.sleep(0.1)
            else:
                self.wfile.write(SCRIPT if self.path == "/good" else b"not it")

        def log_message(self, *_):
            pass

    asked = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    server.asked = asked
    server.url = f"http://127.0.0.1:{server.server_port}"
    yield server
    server.shutdown()


def fake_npm(folder, content):
    """An `npm` that packs `content` as the script, beside a file that would climb out of the folder."""
    with tarfile.open(folder / "package.tgz", "w:gz") as packed:
        for name, data in (("../climbed", b"x"), (niivue_asset.PATH_IN_PACKAGE, content)):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            packed.addfile(info, io.BytesIO(data))
    npm = folder / "bin" / "npm"
    npm.write_text(f"#!/bin/sh\n/bin/cp {folder}/package.tgz niivue.tgz\n")
    npm.chmod(0o755)


def test_nothing_anywhere_is_none(bare):
    assert niivue_asset.fetch_script() is None
    assert not (bare / "cache").exists()


def test_what_is_kept_is_used_without_asking(bare, monkeypatch, public):
    monkeypatch.setattr(niivue_asset, "CDN", (public.url + "/good",))
    first = niivue_asset.fetch_script()
    assert first.read_bytes() == SCRIPT
    assert niivue_asset.fetch_script() == first
    assert public.asked == ["/good"]


def test_a_damaged_copy_is_fetched_again(bare, monkeypatch, public):
    monkeypatch.setattr(niivue_asset, "CDN", (public.url + "/good",))
    niivue_asset.fetch_script().write_bytes(b"damaged")
    assert niivue_asset.fetch_script().read_bytes() == SCRIPT
    assert len(public.asked) == 2


def test_a_wrong_or_missing_copy_leads_to_the_next(bare, monkeypatch, public):
    monkeypatch.setattr(niivue_asset, "CDN", tuple(public.url + path for path in ("/missing", "/bad", "/good")))
    assert niivue_asset.fetch_script().read_bytes() == SCRIPT
    assert public.asked == ["/missing", "/bad", "/good"]


def test_only_wrong_copies_are_none(bare, monkeypatch, public):
    monkeypatch.setattr(niivue_asset, "CDN", (public.url + "/bad",))
    assert niivue_asset.fetch_script() is None


def test_a_slow_server_does_not_hold_up_the_start(bare, monkeypatch, public):
    monkeypatch.setattr(niivue_asset, "CDN", (public.url + "/slow", public.url + "/slow"))
    begun = time.monotonic()
    assert niivue_asset.fetch_script(seconds=0.5) is None
    assert time.monotonic() - begun < 2.5


def test_npm_is_asked_first_and_only_the_script_is_taken(bare, monkeypatch, public):
    monkeypatch.setattr(niivue_asset, "CDN", (public.url + "/good",))
    fake_npm(bare, SCRIPT)
    assert niivue_asset.fetch_script(seconds=30).read_bytes() == SCRIPT
    assert public.asked == []
    assert not list(bare.rglob("climbed"))


def test_a_wrong_package_leads_to_the_public_copy(bare, monkeypatch, public):
    monkeypatch.setattr(niivue_asset, "CDN", (public.url + "/good",))
    fake_npm(bare, b"another version")
    assert niivue_asset.fetch_script(seconds=30).read_bytes() == SCRIPT
    assert public.asked == ["/good"]


def test_a_folder_that_cannot_be_written_is_none(bare, monkeypatch, public):
    monkeypatch.setattr(niivue_asset, "CDN", (public.url + "/good",))
    (bare / "cache").write_text("a file where the folder should be")
    assert niivue_asset.fetch_script() is None
