"""The weights' way from a real server that speaks the Hub's protocol to a checked file, and the accidents on it."""

import hashlib
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import huggingface_hub.constants
import huggingface_hub.file_download
import numpy as np
import pytest
from safetensors.numpy import save

from medapp.card import Weights
from medapp.errors import WeightsError
from medapp.serving import weight_files

GOOD = save({"weight": np.random.default_rng(0).standard_normal(50_000).astype(np.float32)})
SHA = hashlib.sha256(GOOD).hexdigest()
WEIGHTS = Weights("tiny.safetensors", "someone/tiny", "main", SHA)
COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(ThreadingHTTPServer):
    """A Hub with one repository. `served` are the bodies it gives, one a download, the last one for ever."""

    def __init__(self):
        self.served, self.status, self.error, self.cuts, self.requests = [GOOD], 200, "", 0, []
        self.file = WEIGHTS.file
        super().__init__(("127.0.0.1", 0), Talk)
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def downloads(self) -> list[str]:
        return [asked for method, asked in self.requests if method == "GET"]


class Talk(BaseHTTPRequestHandler):
    def do_HEAD(self):
        self.answer()

    def do_GET(self):
        self.answer()

    def answer(self):
        hub, asked = self.server, self.headers.get("Range", "")
        hub.requests.append((self.command, asked))
        path = f"/{WEIGHTS.repo}/resolve/{WEIGHTS.revision}/{hub.file}"
        status = hub.status if hub.status != 200 or self.path == path else 404
        if status != 200:
            self.send_response(status)
            self.send_header("X-Error-Code", hub.error or "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        body = hub.served[0]
        start = int(asked.removeprefix("bytes=").split("-")[0]) if asked else 0
        self.send_response(206 if asked else 200)
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        self.send_header("Content-Length", str(len(body) - start))
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()
        if self.command == "HEAD":
            return
        if hub.cuts:
            hub.cuts -= 1
            self.wfile.write(body[start : start + len(body) // 3])
            self.wfile.flush()
            self.close_connection = True
            return
        self.wfile.write(body[start:])
        if len(hub.served) > 1:
            hub.served.pop(0)

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch, tmp_path):
    server = Hub()
    monkeypatch.setenv("HF_ENDPOINT", server.address)
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def alone(monkeypatch, tmp_path):
    """No weights beside the app, an empty Hugging Face cache, no token, no waiting."""
    monkeypatch.setenv("MEDAPP_WEIGHTS", str(tmp_path / "weights"))
    for name in ("HF_HUB_OFFLINE", "HF_TOKEN", "MEDAPP_REPO", "MEDAPP_REPO_TINY", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(huggingface_hub.constants, "DOWNLOAD_CHUNK_SIZE", 1000)  # only whole ones survive a cut
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.file_download.time, "sleep", lambda seconds: None)


def put(folder, body=GOOD):
    folder.mkdir(exist_ok=True)
    (folder / WEIGHTS.file).write_bytes(body)


def test_beside_the_app_no_request_is_made(server, tmp_path):
    put(tmp_path / "weights")
    located = weight_files.locate_weights(WEIGHTS)
    assert located == (tmp_path / "weights" / WEIGHTS.file, SHA, "beside the app")
    assert not server.requests


def test_a_file_is_hashed_again_only_if_it_changed(monkeypatch, tmp_path):
    put(tmp_path / "weights")
    weight_files.hash_file.cache_clear()
    for _ in range(3):
        weight_files.locate_weights(WEIGHTS)
    assert weight_files.hash_file.cache_info().misses == 1
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    put(tmp_path / "weights", GOOD + b"x")
    with pytest.raises(WeightsError):
        weight_files.locate_weights(WEIGHTS)


def test_downloaded_checked_and_then_served_from_the_cache_without_a_request(server):
    located = weight_files.locate_weights(WEIGHTS)
    assert located.path.read_bytes() == GOOD
    assert located.source == "Hugging Face Hub someone/tiny@main"
    server.requests.clear()
    again = weight_files.locate_weights(WEIGHTS)
    assert again.path.read_bytes() == GOOD and again.source == "Hugging Face cache someone/tiny@main"
    assert not server.requests


def test_the_hub_is_down_but_the_cache_is_there(server):
    weight_files.locate_weights(WEIGHTS)
    server.shutdown()
    server.server_close()
    assert "cache" in weight_files.locate_weights(WEIGHTS).source


def test_a_wrong_file_beside_the_app_is_passed_over(server, tmp_path):
    put(tmp_path / "weights", b"version https://git-lfs.github.com/spec/v1")
    assert "Hub" in weight_files.locate_weights(WEIGHTS).source
    server.status = 404
    with pytest.raises(WeightsError, match="another file"):
        weight_files.locate_weights(Weights(WEIGHTS.file, "someone/other", "main", SHA))


def test_a_cut_connection_is_resumed_where_it_broke(server):
    server.cuts = 2
    assert weight_files.locate_weights(WEIGHTS).path.read_bytes() == GOOD
    third = len(GOOD) // 3 // 1000 * 1000
    assert server.downloads() == ["", f"bytes={third}-", f"bytes={2 * third}-"]


def test_a_connection_that_gives_nothing_is_given_up(server):
    server.cuts, server.served = 10**6, [GOOD[:2]]  # a third of two bytes is none
    with pytest.raises(WeightsError, match="repeatedly"):
        weight_files.locate_weights(WEIGHTS)


def test_a_wrong_hash_is_fetched_once_more(server):
    server.served = [GOOD[:-4] + b"oops", GOOD]
    assert weight_files.locate_weights(WEIGHTS).path.read_bytes() == GOOD
    assert len(server.downloads()) == 2


def test_a_wrong_hash_twice_is_refused_and_removed(server, tmp_path):
    server.served = [GOOD[:-4] + b"oops"]
    with pytest.raises(WeightsError, match="sha256"):
        weight_files.locate_weights(WEIGHTS)
    assert len(server.downloads()) == 2
    assert not [p for p in (tmp_path / "hub").rglob("*") if p.is_file() and p.stat().st_size > 1000]


def test_a_spoilt_cache_is_mended_from_the_hub(server):
    path = weight_files.locate_weights(WEIGHTS).path
    path.resolve().write_bytes(b"spoilt")
    assert weight_files.locate_weights(WEIGHTS).path.read_bytes() == GOOD


@pytest.mark.parametrize(
    ("status", "error", "words"),
    [
        (404, "RepoNotFound", "no such repository"),
        (404, "EntryNotFound", "no such file"),
        (404, "RevisionNotFound", "no such revision"),
        (401, "RepoNotFound", "HF_TOKEN"),
        (401, "", "HF_TOKEN"),
        (403, "GatedRepo", "HF_TOKEN"),
        (403, "x", "HF_TOKEN"),
        (503, "x", "answered 503"),
    ],
)
def test_a_refusal_is_told_in_words(server, monkeypatch, status, error, words):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    server.status, server.error = status, error
    with pytest.raises(WeightsError, match=words) as caught:
        weight_files.locate_weights(WEIGHTS)
    assert "hf_secret" not in str(caught.value) and "/" not in str(caught.value).replace(WEIGHTS.repo, "")


def test_no_network(monkeypatch):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{closed.getsockname()[1]}")
    with pytest.raises(WeightsError, match="cannot be reached"):
        weight_files.locate_weights(WEIGHTS)


def test_a_silent_hub_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(weight_files, "SECONDS_TO_ANSWER", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(WeightsError, match="did not answer in time"):
            weight_files.locate_weights(WEIGHTS)


def test_offline_is_respected(server, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(WeightsError, match="HF_HUB_OFFLINE"):
        weight_files.locate_weights(WEIGHTS)
    assert not server.requests


def test_only_safetensors(server):
    with pytest.raises(WeightsError, match="safetensors"):
        weight_files.locate_weights(Weights("tiny.pt", "someone/tiny", "main", SHA))
    assert not server.requests


@pytest.mark.parametrize("name", ["MEDAPP_REPO", "MEDAPP_REPO_TINY"])
def test_another_repository(server, monkeypatch, name):
    monkeypatch.setenv(name, "someone/tiny")
    assert "someone/tiny" in weight_files.locate_weights(Weights(WEIGHTS.file, "nobody/nothing", "main", SHA)).source


def test_weights_of_others_may_be_of_another_kind_and_in_a_folder_of_their_repository(server, monkeypatch, tmp_path):
    theirs = Weights("checkpoints/tiny.pth", "someone/tiny", "main", SHA, third_party=True)
    monkeypatch.setenv("MEDAPP_REPO", "nobody/nothing")  # where ours would be looked for
    with pytest.raises(WeightsError, match=r"no checkpoints/tiny\.pth.*put tiny\.pth into"):
        weight_files.locate_weights(theirs)
    server.file = theirs.file
    assert weight_files.locate_weights(theirs).path.read_bytes() == GOOD
    put(tmp_path / "weights", GOOD)
    (tmp_path / "weights" / WEIGHTS.file).rename(tmp_path / "weights" / "tiny.pth")
    assert weight_files.locate_weights(theirs).source == "beside the app"
    with pytest.raises(WeightsError, match="safetensors"):
        weight_files.locate_weights(Weights(theirs.file, theirs.repo, "main", SHA))
