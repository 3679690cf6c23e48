"""What every request passes, and every answer: login, origin, rate, disk, headers; nothing else of Gradio is needed."""

import asyncio
import socket
import time
import urllib.error
import urllib.request
from urllib.parse import urlsplit

import pytest
from gradio_client import Client
from starlette.formparsers import MultiPartException
from starlette.testclient import TestClient

from medapp import __version__
from medapp.ui import rate_limit, request_body, security
from medapp.ui.caller import Caller
from medapp.ui.ownership import ownership
from medapp.ui.rate_limit import RateLimiter
from medapp.ui.security import SecurityMiddleware

HOST = "http://testserver"


async def app(scope, receive, send):
    """Reads and answers everything, for everybody."""
    while (await receive()).get("more_body"):
        pass
    errors = [(b"content-type", b"text/plain"), (b"access-control-allow-origin", b"*"), (b"cache-control", b"public")]
    await send({"type": "http.response.start", "status": 200, "headers": errors})
    await send({"type": "http.response.body", "body": b"here"})


@pytest.fixture
def guarded(monkeypatch):
    """A client of the guarded app under an environment."""

    def build(**environment: str) -> TestClient:
        for name in ("MEDAPP_LOGIN", "MEDAPP_ORIGINS", "MEDAPP_PROXIES", "MEDAPP_RATE", "MEDAPP_SPARE_MB", "SPACE_ID"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("MEDAPP_HOSTS", urlsplit(HOST).netloc)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        return TestClient(SecurityMiddleware(app), HOST)

    return build


def test_every_answer_has_the_headers(guarded):
    answer = guarded().get("/")
    assert answer.text == "here" and answer.headers["x-content-type-options"] == "nosniff"
    assert "frame-ancestors 'self'" in answer.headers["content-security-policy"]
    assert answer.headers["x-frame-options"] == "SAMEORIGIN" and answer.headers["cache-control"] == "public"
    space = guarded(SPACE_ID="a/b").get("/").headers
    assert "huggingface.co" in space["content-security-policy"] and "x-frame-options" not in space


def test_health_is_told_without_a_password_and_nothing_else_is(guarded):
    client = guarded(MEDAPP_LOGIN="ada:secret")
    assert client.get("/health").json() == {"status": "ok", "version": __version__}
    assert client.get("/healthy").status_code == client.get("/config").status_code == client.get("/").status_code == 401


def test_images_are_not_kept_by_browsers(guarded):
    client = guarded()
    ownership.give("/tmp/a.nii.gz", Caller("testclient"))
    ownership.publish(["/tmp/niivue.js"])
    assert client.get("/gradio_api/file=/tmp/a.nii.gz").headers["cache-control"] == "private, no-store"
    assert client.get("/gradio_api/file=/tmp/niivue.js").headers["cache-control"] == "public"
    assert client.get("/gradio_api/file=/tmp/b.nii.gz").status_code == 404


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://testserver.evil.example", "http://testserver:81"]
)
def test_pages_of_other_sites_get_nothing(guarded, origin):
    client = guarded()
    assert client.post("/gradio_api/queue/join", headers={"origin": origin}).status_code == 403
    assert "access-control-allow-origin" not in client.get("/", headers={"origin": origin}).headers
    named = guarded(MEDAPP_ORIGINS=f"http://a, {origin}")
    assert named.post("/gradio_api/reset", headers={"origin": origin}).status_code == 200


@pytest.mark.parametrize("origin", ["http://[::1", "http://[x]", "http://a]", "null", ""])
def test_what_is_no_origin_is_refused_and_nothing_breaks(guarded, origin):
    assert guarded().get("/", headers={"origin": origin}).status_code == 200
    assert guarded().post("/gradio_api/queue/join", headers={"origin": origin}).status_code == 403


def test_a_file_whose_name_is_none_is_not_there(guarded):
    assert guarded().get("/gradio_api/file=%00").status_code == 404


def test_nobody_comes_back_to_a_page_but_by_its_heartbeat(guarded, monkeypatch):
    arrived = []
    monkeypatch.setattr(security.connections, "open", arrived.append)
    guarded().post("/gradio_api/heartbeat/one")
    assert not arrived
    guarded().get("/gradio_api/heartbeat/one")
    assert arrived == ["one"]


def test_our_own_page_and_programs_are_let_in(guarded):
    client = guarded()
    assert client.post("/gradio_api/queue/join", headers={"origin": HOST}).status_code == 200
    assert client.post("/gradio_api/queue/join").status_code == 200
    proxied = {"origin": "https://a.hf.space", "x-forwarded-host": "a.hf.space"}
    assert client.post("/gradio_api/queue/join", headers=proxied).status_code == 403
    space = guarded(SPACE_ID="user/a", SPACE_HOST="a.hf.space")
    assert space.post("/gradio_api/queue/join", headers=proxied).status_code == 200


def test_login_stands_before_everything(guarded):
    client = guarded(MEDAPP_LOGIN="ada:pass:wörd")
    for path in ("/", "/gradio_api/upload", "/gradio_api/mcp/", "/gradio_api/file=/etc/passwd"):
        answer = client.get(path)
        assert (
            answer.status_code == 401
            and answer.headers["www-authenticate"].startswith("Basic")
            and "here" not in answer.text
        )
    assert client.get("/", auth=("ada", "pass:wörd".encode())).text == "here"
    for wrong in ("Basic", "Basic %%%", "Bearer YWRh", "Basic YWRhOg=="):
        assert client.get("/", headers={"authorization": wrong}).status_code == 401
    assert client.get(security.STARTUP_PATH).status_code == 200
    with pytest.raises(ValueError, match="user:password"):
        guarded(MEDAPP_LOGIN="ada:").get("/")


def test_guessing_a_password_is_slow(guarded):
    client = guarded(MEDAPP_LOGIN="ada:x", MEDAPP_RATE="20")
    codes = [client.get("/", auth=("ada", str(n))).status_code for n in range(6)]
    assert codes == [401] * 4 + [429] * 2
    assert client.get("/assets/a.js", auth=("ada", "x")).status_code == 200


def test_what_costs_is_counted_and_what_does_not_is_not(guarded):
    client = guarded(MEDAPP_RATE="3")
    assert [client.post("/gradio_api/upload").status_code for _ in range(5)] == [200] * 3 + [429] * 2
    assert all(client.get("/assets/a.js").status_code == 200 for _ in range(9))
    assert guarded(MEDAPP_RATE="3").get("/").status_code == 429
    pages = guarded(MEDAPP_RATE="9")
    assert [pages.get(f"/{page}").status_code for page in ("", "config/", "gradio_api/heartbeat/a")] == [200, 200, 429]
    assert all(guarded(MEDAPP_RATE="0").post("/gradio_api/upload").status_code == 200 for _ in range(9))


def test_a_bucket_fills_again(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(rate_limit.time, "monotonic", lambda: now[0])
    rate = RateLimiter(60)
    assert all(rate.allows("a") for _ in range(60)) and not rate.allows("a") and rate.allows("b")
    now[0] = 2.0
    assert rate.allows("a") and rate.allows("a") and not rate.allows("a")


def test_uploads_leave_room_on_the_disk(guarded):
    full = guarded(MEDAPP_SPARE_MB=str(10**12))
    assert full.post("/gradio_api/upload").status_code == 507
    assert full.post("/gradio_api/queue/join").status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "file=https://example.com/a", "file= HTTP://example.com", "file=ftp:a", "proxy=https://example.com/a",
        "vibe-edit/", "process_recording", "deep_link?session_hash=a", "component_server", "stream/a", "runs", "",
        "dev/reload", "run-history/records", "profiling/traces",
        "../docs", "../monitoring/summary", "../login", "../openapi.json",
    ],
)  # fmt: skip
def test_doors_of_gradio_that_the_page_does_not_need_are_closed(guarded, path):
    client = guarded()
    for asked in (client.get, client.post):
        answer = asked(f"/gradio_api/{path}")
        assert answer.status_code == 404 and "here." in answer.json()["detail"]


def posted(path: str) -> dict:
    headers = [(b"host", urlsplit(HOST).netloc.encode())]
    return {"type": "http", "method": "POST", "path": path, "query_string": b"", "headers": headers}


def poured(path: str, pieces: list[bytes]) -> int:
    """The status of the answer to what comes without saying beforehand how much it is."""
    statuses, left = [], list(pieces)

    async def receive():
        return {"type": "http.request", "body": left.pop(0), "more_body": bool(left)}

    async def send(message):
        statuses.append(message.get("status"))

    asyncio.run(SecurityMiddleware(app)(posted(path), receive, send))
    return statuses[0]


def test_what_is_sent_has_an_end(guarded, monkeypatch):
    client, much = guarded(), bytes(request_body.MAX_BODY_BYTES + 1)
    monkeypatch.setitem(request_body.MAX_BODY_BYTES_BY_PATH, security.UPLOAD_PATH, 2 * request_body.DISK_CHECK_BYTES)
    for path in ("/gradio_api/queue/join", "/gradio_api/run/predict", "/gradio_api/cancel"):
        assert client.post(path, content=much).status_code == 413
        assert poured(path, [much[:9], much]) == 413
        assert client.post(path, content=much[1:]).text == "here"
    for path in ("/gradio_api/upload", "/gradio_api/mcp/"):
        assert poured(path, [much, much]) == 200
    assert poured(security.UPLOAD_PATH, [much] * 64) == 413
    assert client.post(security.UPLOAD_PATH, headers={"content-length": str(10**12)}).status_code == 413


def test_a_disk_that_fills_while_an_upload_comes_in_stops_it(guarded, monkeypatch):
    free = iter([10**12, 10**12, 0])
    monkeypatch.setattr(request_body.workspace, "has_free_space", lambda: next(free) > 0)
    guarded()
    assert poured(security.UPLOAD_PATH, [bytes(request_body.DISK_CHECK_BYTES)] * 9) == 507


def test_gradio_learns_of_half_an_upload_in_the_way_in_which_it_tidies_up(guarded):
    errors, messages = [], [{"type": "http.request", "body": b"a", "more_body": True}, {"type": "http.disconnect"}]

    async def reads(scope, receive, send):
        try:
            while (await receive()).get("more_body"):
                pass
        except MultiPartException as error:
            errors.append(error)
            raise

    async def receive():
        return messages.pop(0)

    guarded()
    asyncio.run(SecurityMiddleware(reads)(posted(security.UPLOAD_PATH), receive, None))
    assert len(errors) == 1 and not messages


def test_one_address_cannot_keep_everything_open(guarded, monkeypatch):
    monkeypatch.setattr(security, "MAX_OPEN_REQUESTS", 2)
    guarded()

    async def held(who: str) -> int:
        """The status that the last of three sees who come one after the other and stay."""
        statuses = []

        async def stays(scope, receive, send):
            if len(statuses) < 2:
                statuses.append(0)
                await outer(scope, receive, hear)
            else:
                await send({"type": "http.response.start", "status": 200, "headers": []})

        async def hear(message):
            statuses.append(message.get("status"))

        outer = SecurityMiddleware(stays)
        await outer(posted("/") | {"method": "GET", "client": (who, 1)}, None, hear)
        assert not outer.open_requests
        return statuses[2]

    assert asyncio.run(held("a")) == 429
    monkeypatch.setenv("MEDAPP_RATE", "0")
    assert asyncio.run(held("a")) == 200


@pytest.fixture
def uploads(served, tmp_path_factory):
    (errors,) = (tmp_path_factory.getbasetemp() / "temporary").glob("medapp-app-*/uploads")
    return errors


def test_half_an_upload_leaves_nothing(served, uploads):
    place = urlsplit(served)
    form = b'--b\r\nContent-Disposition: form-data; name="files"; filename="scan.nii"\r\n\r\n' + bytes(3 * 2**20)
    head = (
        f"POST {security.UPLOAD_PATH} HTTP/1.1\r\nHost: {place.netloc}\r\n"
        f"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: {10**8}\r\n\r\n"
    )
    with socket.create_connection((place.hostname, place.port)) as line:
        line.sendall(head.encode() + form)
        deadline = time.monotonic() + 20
        while not (written := [path for path in uploads.iterdir() if path.is_file() and path.stat().st_size]):
            assert time.monotonic() < deadline
            time.sleep(0.05)
    while any(path.exists() for path in written):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_what_lies_at_a_web_address_is_not_fetched_for_anybody(served):
    client = Client(served, verbose=False)
    method = "/segment_glioma_ar2unet"
    with socket.create_server(("127.0.0.1", 0)) as other:
        here = f"http://127.0.0.1:{other.getsockname()[1]}/a.nii"
        for address in (here, "https://images.example.org/a.nii", f"{here}?/gradio_api/file=/etc/passwd"):
            file = {"path": address, "url": address, "meta": {"_type": "gradio.FileData"}}
            with pytest.raises(Exception, match="upload the image itself"):
                client.predict(flair=file, api_name=method)
        for address in (here, "https://images.example.org/a.nii"):
            with pytest.raises(urllib.error.HTTPError) as caught:
                urllib.request.urlopen(f"{served}gradio_api/file={address}")
            assert caught.value.code == 404
        other.settimeout(0.5)
        with pytest.raises(TimeoutError):
            other.accept()


def test_the_running_page_is_guarded(served):
    with urllib.request.urlopen(served) as answer:
        assert "script-src" in answer.headers["Content-Security-Policy"]
    evil = {"Origin": "https://evil.example"}
    with urllib.request.urlopen(urllib.request.Request(f"{served}config", headers=evil)) as answer:
        assert answer.headers["Access-Control-Allow-Origin"] is None
    foreign = urllib.request.Request(f"{served}gradio_api/upload", b"", evil)
    for request in (foreign, f"{served}gradio_api/file=/etc/passwd", f"{served}gradio_api/file=app.py"):
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(request)
        assert caught.value.code in (403, 404)


def test_the_page_keeps_to_its_policy(page):
    statuses = []
    page.on("console", lambda message: statuses.append(message.text))
    page.reload()
    page.wait_for_selector("#segmentation-run")
    page.wait_for_timeout(3000)
    made = page.evaluate("() => new Function('return 1')()")
    refused = [text for text in statuses if "Content Security Policy" in text and "iframe-resizer" not in text]
    assert made == 1 and not refused
