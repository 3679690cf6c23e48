"""Two visitors of the running app: neither sees or touches what the other has, whichever way they ask."""

import asyncio
import json
import secrets
import time
from urllib.parse import urlsplit

import httpx
import nibabel
import pytest
from gradio_client import Client, handle_file

from medapp import examples

CASE = next(e for e in examples.of_task("segmentation") if e.reference and set(e.images) == {"flair"})
NAME = "segment_glioma_ar2unet"


class Visitor:
    """A browser without its pictures: it keeps the cookie, and has a session."""

    def __init__(self, address: str) -> None:
        self.line = httpx.Client(base_url=address, timeout=120)
        self.config = self.line.get("config").json()
        self.session = secrets.token_hex(6)

    def upload(self, name: str = "scan.nii.gz") -> str:
        sent = CASE.images["flair"].read_bytes()
        (path,) = self.line.post("gradio_api/upload", files={"files": (name, sent)}).json()
        return path

    def ask(self, data: list, session: str | None = None, **more) -> dict:
        """What the glioma's endpoint answers to values in the order of its parameters."""
        number = next(d["id"] for d in self.config["dependencies"] if d["api_name"] == NAME)
        body = {"data": data, "fn_index": number, "session_hash": session or self.session, **more}
        joined = self.line.post("gradio_api/queue/join", json=body)
        if joined.status_code != 200:
            return {"status": joined.status_code, **joined.json()}
        with self.line.stream("GET", "gradio_api/queue/data", params={"session_hash": body["session_hash"]}) as stream:
            for line in stream.iter_lines():
                message = json.loads(line[5:]) if line.startswith("data:") else {}
                if message.get("msg") == "process_completed":
                    return message["output"]
        return {}


@pytest.fixture
def scan(tmp_path):
    """A scan that is not the example: what is found in an example is the page's, and everybody may open it."""
    image = nibabel.load(CASE.images["flair"])
    affine = image.affine.copy()
    affine[:3, 3] += secrets.randbelow(1000) / 100 + 1  # mm; no test's answer is another's, byte for byte
    path = tmp_path / "scan.nii.gz"
    nibabel.save(nibabel.Nifti1Image(image.get_fdata(dtype="float32"), affine), path)
    return path


@pytest.fixture(scope="module")
def both(served):
    return Visitor(served), Visitor(served)


@pytest.fixture
def result(served, scan):
    """What the client of a third visitor was given, as addresses, while it stays."""
    client = Client(served, verbose=False, download_files=False)
    given = client.predict(flair=handle_file(str(scan)), api_name=f"/{NAME}")
    yield [file["path"] for file in given[1]]
    client.close()


def fits(visitor: Visitor, path: str) -> list:
    """As many values as the endpoint takes, of the kinds that it takes; the first is a file."""
    endpoint = visitor.line.get("gradio_api/info").json()["named_endpoints"][f"/{NAME}"]["parameters"]
    file = {"path": path, "meta": {"_type": "gradio.FileData"}}
    return [file, *(each.get("parameter_default") for each in endpoint[1:])]


def test_ones_own_is_read_and_anothers_is_not(both, result):
    one, two = both
    path = one.upload()
    folder, root = path.rsplit("/", 1)[0], path.rsplit("/", 2)[0]
    for theirs in (path, folder, root, *result):
        word = two.ask(fits(two, theirs))
        assert "not yours" in word.get("error", ""), word
    assert "not yours" in one.ask(fits(one, root))["error"] and "not yours" in one.ask(fits(one, folder))["error"]
    assert "data" in one.ask(fits(one, path))
    assert one.line.get(f"gradio_api/file={path}").status_code == 200
    for theirs in (path, folder, root, *result):
        assert two.line.get(f"gradio_api/file={theirs}").status_code == 404
        assert two.line.head(f"gradio_api/file={theirs}").status_code == 404
    assert httpx.get(f"{two.line.base_url}gradio_api/file={path}").status_code == 404, "nor without a cookie"


def test_other_ways_lead_no_further(both):
    one, two = both
    path = one.upload("other.nii.gz")
    data = fits(two, path)
    for door in (f"run/{NAME}", f"api/{NAME}"):
        assert two.line.post(f"gradio_api/{door}", json={"data": data}).status_code in range(400, 500)
    called = two.line.post(f"gradio_api/call/{NAME}", json={"data": data}).json()["event_id"]
    assert "not yours" in two.line.get(f"gradio_api/call/{NAME}/{called}").text
    named = two.line.post(f"gradio_api/call/v2/{NAME}", json={"flair": data[0]}).json()["event_id"]
    assert "not yours" in two.line.get(f"gradio_api/call/{NAME}/{named}").text
    for url in (f"{two.line.base_url}gradio_api/file={path}", f"http://elsewhere.example/gradio_api/file={path}"):
        assert "not yours" in two.ask(fits(two, url))["error"]


def test_nobody_acts_in_anothers_session(both):
    one, two = both
    path = one.upload()
    one.ask(fits(one, path.rsplit("/", 1)[0]))  # begins the session
    taken = one.session
    assert two.ask(fits(two, path), session=taken)["status"] == 403
    for way in (f"heartbeat/{taken}", f"queue/data?session_hash={taken}", f"call/{NAME}/{taken}"):
        assert two.line.get(f"gradio_api/{way}").status_code == 403, way
        assert httpx.get(f"{two.line.base_url}gradio_api/{way}").status_code == 403, way
    for way, more in (("cancel", {"fn_index": 0, "event_id": "x"}), ("reset", {"event_id": "x"})):
        body = {"session_hash": taken, **more}
        assert two.line.post(f"gradio_api/{way}", json=body).status_code == 403
    for way in (f"run/{NAME}", f"call/{NAME}"):
        assert (
            two.line.post(f"gradio_api/{way}", json={"data": fits(two, path), "session_hash": taken}).status_code == 403
        )


def test_a_tool_reads_no_visitors_upload(served, both):
    mcp = pytest.importorskip("mcp")
    from mcp.client.streamable_http import streamablehttp_client

    path = both[0].upload("tool.nii.gz")

    async def call(flair: str):
        async with (
            streamablehttp_client(f"{served}gradio_api/mcp/") as (read, write, _),
            mcp.ClientSession(read, write) as session,
        ):
            await session.initialize()
            return await session.call_tool(NAME, {"flair": flair})

    for named in (path, path.rsplit("/", 1)[0], "/etc/passwd"):
        for flair in (named, f"{served}gradio_api/file={named}"):
            answer = asyncio.run(call(flair))
            assert answer.isError, answer.content[0].text[:300]
            assert "root:" not in answer.content[0].text


def test_what_one_had_is_gone_seconds_after_they_left(served, scan):
    client = Client(served, verbose=False, download_files=False)
    given = client.predict(flair=handle_file(str(scan)), api_name=f"/{NAME}")
    paths = [file["path"] for file in given[1]]
    cookies = dict(client.cookies)
    assert all(httpx.get(f"{served}gradio_api/file={path}", cookies=cookies).status_code == 200 for path in paths)
    client.close()
    deadline = time.monotonic() + 60
    while any(httpx.get(f"{served}gradio_api/file={path}", cookies=cookies).status_code == 200 for path in paths):
        assert time.monotonic() < deadline
        time.sleep(1)


def test_a_visitor_is_known_by_a_cookie_that_no_script_reads(served):
    answer = httpx.get(served)
    (cookie,) = (value for name, value in answer.headers.multi_items() if name == "set-cookie")
    assert "HttpOnly" in cookie and "SameSite=Lax" in cookie and "Secure" not in cookie
    assert len(cookie.split("=", 1)[1].split(";")[0]) == 43 and urlsplit(served).scheme == "http"
