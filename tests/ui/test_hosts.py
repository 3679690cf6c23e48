"""Which names are answered, and whose word on an address counts."""

import socket

import pytest
from starlette.testclient import TestClient

from medapp.ui import hosts
from medapp.ui.hosts import AllowedHosts
from medapp.ui.security import SecurityMiddleware


@pytest.fixture
def environment(monkeypatch):
    for name in ("GRADIO_SERVER_NAME", "MEDAPP_HOSTS", "MEDAPP_PROXIES", "MEDAPP_LOGIN", "SPACE_ID", "SPACE_HOST"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch.setenv


ALWAYS = ["localhost", "localhost:7860", "127.0.0.1", "127.0.0.1:9", "127.9.9.9", "[::1]", "[::1]:80", "LOCALHOST"]
NEVER = ["", "[", "a b", "@", "evil.example", "evil.example:7860", "localhost.evil.example", "localhost@evil.example"]
AWAY = ["10.1.2.3", "[fe80::1]", "0.0.0.0", "127.0.0.1.evil.example"]


def test_without_a_setting_only_this_machine_is_answered(environment):
    known = AllowedHosts()
    assert all(known.is_allowed(name) for name in ALWAYS)
    assert not any(known.is_allowed(name) for name in [*NEVER, *AWAY])


def test_the_address_listened_on_is_answered(environment):
    environment("GRADIO_SERVER_NAME", "10.1.2.3")
    assert (
        AllowedHosts().is_allowed("10.1.2.3:7860")
        and not AllowedHosts().is_allowed("10.1.2.4")
        and AllowedHosts().is_allowed("localhost")
    )
    for everywhere in ("0.0.0.0", "::", "[::]"):
        environment("GRADIO_SERVER_NAME", everywhere)
        known = AllowedHosts()
        assert all(known.is_allowed(name) for name in [*ALWAYS, "10.1.2.3:80", "[2001:db8::1]", socket.gethostname()])
        assert not any(known.is_allowed(name) for name in NEVER)


def test_more_names_are_a_setting(environment):
    environment("MEDAPP_HOSTS", "scans.example.org, *.example.net")
    known = AllowedHosts()
    assert (
        known.is_allowed("scans.example.org:443")
        and known.is_allowed("a.b.example.net")
        and known.is_allowed("localhost")
    )
    assert (
        not known.is_allowed("example.org")
        and not known.is_allowed("evilexample.net")
        and not known.is_allowed("example.net")
    )
    environment("MEDAPP_HOSTS", "*")
    assert AllowedHosts().is_allowed("anything.example")


def test_a_space_answers_to_its_own_name(environment):
    environment("SPACE_ID", "user/app")
    environment("SPACE_HOST", "user-app.hf.space")
    assert AllowedHosts().is_allowed("user-app.hf.space") and not AllowedHosts().is_allowed("other.hf.space")


async def app(scope, receive, send):
    """Tells the address and the scheme that it sees, and the forwarded host."""
    forwarded = dict(scope["headers"]).get(b"x-forwarded-host", b"-").decode()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": f"{scope['client'][0]} {scope['scheme']} {forwarded}".encode()})


FORWARDED = {"x-forwarded-for": "9.9.9.9", "x-forwarded-proto": "https", "x-forwarded-host": "scans.example.org"}


def seen(peer: str, headers: dict) -> str:
    return (
        TestClient(SecurityMiddleware(app), "http://localhost", client=(peer, 1)).get("/assets/a", headers=headers).text
    )


def test_nobody_can_say_where_they_come_from(environment):
    assert seen("127.0.0.1", FORWARDED) == "127.0.0.1 http -"
    assert seen("10.0.0.1", FORWARDED) == "10.0.0.1 http -"


def test_but_a_proxy_that_is_trusted(environment):
    environment("MEDAPP_PROXIES", "127.0.0.1, 10.0.0.0/8")
    environment("MEDAPP_HOSTS", "scans.example.org")
    for peer in ("127.0.0.1", "10.0.0.1"):
        assert seen(peer, FORWARDED) == "9.9.9.9 https scans.example.org"
    assert seen("11.0.0.1", FORWARDED) == "11.0.0.1 http -"
    assert "MEDAPP_HOSTS" in seen("10.0.0.1", FORWARDED | {"x-forwarded-host": "evil.example"})
    spoofed = FORWARDED | {"x-forwarded-for": "1.1.1.1, 9.9.9.9, 10.0.0.7"}
    assert seen("127.0.0.1", spoofed).startswith("9.9.9.9"), "the nearest that is no proxy"


def test_strange_names_are_refused_with_a_sentence(environment):
    client = TestClient(SecurityMiddleware(app), "http://localhost", client=("127.0.0.1", 1))
    for path in ("/", "/health", "/gradio_api/upload"):
        answer = client.get(path, headers={"host": "evil.example"})
        assert answer.status_code == 421 and answer.json()["detail"] == hosts.UNKNOWN_HOST_MESSAGE
    rebound = {"host": "evil.example", "origin": "http://evil.example"}
    assert client.post("/gradio_api/queue/join", headers=rebound).status_code == 421
    forwarded = {"origin": "http://evil.example", "x-forwarded-host": "evil.example"}
    assert client.post("/gradio_api/queue/join", headers=forwarded).status_code == 403


def test_passwords_cannot_be_tried_from_many_addresses_at_once(environment):
    environment("MEDAPP_LOGIN", "ada:secret")
    environment("MEDAPP_RATE", "50")
    client = TestClient(SecurityMiddleware(app), "http://localhost", client=("127.0.0.1", 1))
    tries = [client.get("/", auth=("ada", f"{n}"), headers={"x-forwarded-for": f"9.9.9.{n}"}) for n in range(40)]
    assert [answer.status_code for answer in tries].count(401) <= 11
