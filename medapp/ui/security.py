"""Guard: what every request passes on its way in, and every answer on its way out.

Environment: MEDAPP_LOGIN is `user:password`, without which nothing is served (HTTP Basic: only behind HTTPS is it a
secret). MEDAPP_ORIGINS lists, with commas, the addresses of other sites whose pages may call this one. MEDAPP_RATE is
how many requests that cost something an address may make in a minute, 0 for any number, as on a Space, where all
visitors come from one address; it may then keep any number open, too. MEDAPP_SPARE_MB is how much of the disk stays
free of uploads. MEDAPP_HOSTS and MEDAPP_PROXIES: see `hosts`.
"""

import base64
import hmac
import json
import os
import re
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from functools import partial
from typing import Any, Protocol
from urllib.parse import parse_qs, urlsplit

from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException

from medapp import __version__
from medapp.limits import MAX_UPLOAD_BYTES
from medapp.serving import run_log
from medapp.ui import caller as callers
from medapp.ui import hosts, workspace
from medapp.ui.caller import Caller
from medapp.ui.connections import connections
from medapp.ui.ownership import ownership, upload
from medapp.ui.session_state import ASKED
from medapp.ui.viewer.niivue_asset import CDN

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

RATE = 1200  # a slider that is dragged asks ten times a second
DEAR = 4  # what asking for the page counts, whose making takes the one thread that answers everybody a while
KNOWN = 10_000  # addresses that are remembered
OPEN_AT_ONCE = 500  # requests of one address that are being answered; every page that is open keeps two
LOOK = 16 * 1024**2  # bytes of an upload between looks at the disk
OPEN = "/gradio_api/startup-events"  # Gradio asks itself for it when it starts; tells nothing
HEALTH = "/health"  # answers that the page can be had, also without the password
FILE, STATIC = "/gradio_api/file=", (".js", ".css", ".woff2")
HEARTBEAT = "/gradio_api/heartbeat/"  # every open page keeps one
UPLOAD, MCP = "/gradio_api/upload", "/gradio_api/mcp"
COSTLY = (UPLOAD, MCP, "/gradio_api/queue/join", "/gradio_api/run", "/gradio_api/call", "/gradio_api/api")
PAGES = ("/config", "/gradio_api/info", "/gradio_api/openapi.json", "/gradio_api/heartbeat", MCP)
SERVED = re.compile(
    r"/(config|theme\.css|robots\.txt|favicon\.ico|manifest\.json|pwa_icon.*|(assets|static|svelte)/.*|gradio_api/("
    r"info|openapi\.json|app_id|login_check|token|user|theme\.css|startup-events|upload|upload_progress|cancel|reset|"
    r"queue/(data|join|status)|heartbeat/.*|(run|call|api)/.*|custom_component/.*|mcp|mcp/.*|file=(?!\s*[a-z]{2,}:).*))?/?",
    re.IGNORECASE | re.DOTALL,
)  # what the page, its API and its tools consist of: Gradio has more doors, one of which leads to any web address
COOKIES = ("/", "/config", "/config/")  # what browsers and clients ask for first
OUTCOME = "medapp.outcome"  # of what became of a request, in its scope
BODIES = {
    UPLOAD: MAX_UPLOAD_BYTES + 1024**2,
    MCP: 64 * 1024**2,
}  # bytes that may be sent there; tools take images in words
BODY = 1024**2  # bytes that may be sent anywhere else


def costs(method: str, path: str) -> int:
    """What a request takes of the requests in a minute."""
    if method == "POST":
        return int(path.startswith(COSTLY))
    return DEAR if path == "/" or path.startswith(PAGES) else 0


def headers(embedded: bool) -> dict[str, str]:
    """The headers of every answer; `embedded` where Hugging Face shows the page in a frame.

    Gradio's page consists of inline scripts, and makes functions of the viewer's, so that these two must be allowed;
    what the policy keeps off is scripts, frames and connections elsewhere.
    """
    script = " ".join(dict.fromkeys("{0.scheme}://{0.netloc}".format(urlsplit(url)) for url in CDN))
    policy = {
        "default-src": "'self'",
        "script-src": f"'self' 'unsafe-inline' 'unsafe-eval' blob: {script}",
        "style-src": "'self' 'unsafe-inline'",
        "img-src": "'self' data: blob:",
        "font-src": "'self' data:",
        "media-src": "'self' data: blob:",
        "connect-src": "'self' data: blob:",
        "worker-src": "'self' blob:",
        "object-src": "'none'",
        "base-uri": "'self'",
        "form-action": "'self'",
        "frame-ancestors": "'self' https://huggingface.co https://*.hf.space" if embedded else "'self'",
    }
    return {
        "Content-Security-Policy": "; ".join(f"{what} {where}" for what, where in policy.items()),
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "same-origin",
        "Permissions-Policy": "camera=(), microphone=(), geolocation=(), payment=(), usb=()",
        "Cross-Origin-Opener-Policy": "same-origin",
        **({} if embedded else {"X-Frame-Options": "SAMEORIGIN", "Cross-Origin-Resource-Policy": "same-origin"}),
    }


def named(scope: Scope) -> dict[str, str]:
    """A request's headers by name."""
    return {key.decode("latin-1").lower(): value.decode("latin-1") for key, value in scope["headers"]}


class Gate(Protocol):
    """What looks at requests to Gradio's doors, see `gate`."""

    def reads(self, method: str, path: str) -> bool: ...

    def opened(self, path: str, query: bytes, caller: Caller) -> tuple[int, str] | None: ...

    def sent(self, path: str, raw: bytes, caller: Caller) -> tuple[int, str] | None: ...


class Guard:
    """ASGI middleware: name, login, origin, rate, disk, sessions and files before the app, headers after it."""

    def __init__(self, app: App, gate: Gate | None = None) -> None:
        self.app, self.gate = app, gate
        given = os.environ.get("MEDAPP_LOGIN", "")
        if given and not all(given.partition(":")):
            raise ValueError("MEDAPP_LOGIN is to be user:password")
        self.login = given.encode()
        self.origins = {o.strip() for o in os.environ.get("MEDAPP_ORIGINS", "").split(",") if o.strip()}
        self.hosts, self.proxies = hosts.Hosts(), hosts.Proxies(self.received)
        self.rate = Rate(int(os.environ.get("MEDAPP_RATE", 0 if hosts.space() else RATE)))
        self.open: Counter[str] = Counter()  # address -> requests that are being answered
        self.headers = [(k.lower().encode(), v.encode()) for k, v in headers(hosts.space()).items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        within = self.proxies if scope["type"] in ("http", "websocket") else self.app
        await within(scope, receive, send)

    async def received(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A request whose caller's address is known by now."""
        asked = named(scope)
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        caller = callers.of_scope(scope)
        who = caller.address
        refusal = self.strange(asked)
        if refusal is None and scope["type"] == "http" and path == HEALTH:
            return await self.told(send, 200, {"status": "ok", "version": __version__})
        refusal = refusal or self.refusal(scope, path, caller, asked)
        if refusal is None:
            visit = Visit(self, scope, path, caller, send)
            body = Body(self, path, receive, visit.send)
            self.open[who] += 1
            page = path.partition(HEARTBEAT)[2].rstrip("/") if scope.get("method") == "GET" else ""
            if page:
                connections.open(page)
            if scope.get("method") == "POST":
                ASKED.set(partial(self.rate.allows, who))
            try:
                receive = body.receive
                if self.gate and self.gate.reads(scope.get("method", "GET"), path):
                    raw = await body.whole()
                    refusal = None if body.refused else self.judged(path, raw, visit.caller)
                    receive = body.again(raw)
                if refusal is None and not body.refused:
                    return await self.app(scope, receive, body.send)
            except Exception as error:  # who is refused has had an answer, and Gradio itself has given the other, 500
                if not (body.refused or isinstance(error.__cause__, HTTPException)):  # in the middle of a stream
                    run_log.log_fault(error)
                return None
            finally:
                if page:
                    connections.close(page)
                self.open[who] -= 1
                if not self.open[who]:
                    del self.open[who]
            if body.refused:
                return None
        if scope["type"] == "websocket":
            return await send({"type": "websocket.close", "code": 1008})
        assert refusal
        await self.told(send, refusal[0], {"detail": refusal[1]})

    def judged(self, path: str, raw: bytes, caller: Caller) -> tuple[int, str] | None:
        """Status and sentence, if what was sent is not to be acted upon."""
        assert self.gate
        try:
            return self.gate.sent(path, raw, caller)
        except Exception as error:
            run_log.log_fault(error)
            return 500, "Something went wrong, and the fault is ours."

    async def told(self, send: Send, status: int, what: dict[str, Any]) -> None:
        """An answer of our own; of what is malformed in the form in which Gradio's clients show it."""
        if status == 422:
            note = {"__type__": "validate", "is_valid": False, "parameter_name": "request", "message": what["detail"]}
            what = {"detail": [note]}
        more = [(b"content-type", b"application/json"), *self.headers]
        more += [(b"www-authenticate", b'Basic realm="medapp", charset="UTF-8"')] if status == 401 else []
        await send({"type": "http.response.start", "status": status, "headers": more})
        await send({"type": "http.response.body", "body": json.dumps(what).encode()})

    def strange(self, asked: dict[str, str]) -> tuple[int, str] | None:
        """Status and sentence, if the request is addressed to none of our names."""
        named = asked.get("x-forwarded-host", asked.get("host", "")).split(",")[0].strip()
        return None if self.hosts.allow(named) else (421, hosts.STRANGE)

    def refusal(self, scope: Scope, path: str, caller: Caller, asked: dict[str, str]) -> tuple[int, str] | None:
        """Status and sentence, if the request for `path` is not to be answered."""
        who, method = caller.address, scope.get("method", "GET")
        if self.login and path != OPEN and not self.known(asked.get("authorization", "")):
            if not self.rate.allows(who, 5):
                return 429, "Too many tries; wait a minute."
            return 401, "This page asks for a name and a password."
        if not SERVED.fullmatch(path) or scope["type"] == "websocket":
            return 404, "There is nothing here."
        if self.rate.per_minute and self.open[who] >= OPEN_AT_ONCE:
            return 429, "Too many pages are open; close one."
        if not self.own(asked) and method not in ("GET", "HEAD", "OPTIONS"):
            return 403, "Pages of other sites may not use this one."
        if (cost := costs(method, path)) and not self.rate.allows(who, cost):
            return 429, "Too many requests; wait a minute."
        if path.startswith(FILE) and not ownership.opens(path.removeprefix(FILE), caller):
            return 404, "There is no such file, or it is not yours."
        if self.gate and method == "GET" and (refusal := self.gate.opened(path, scope["query_string"], caller)):
            return refusal
        size = asked.get("content-length", "0")
        return self.body_refusal(path, int(size[:20]) if size.isdecimal() else 0)

    def body_refusal(self, path: str, size: int) -> tuple[int, str] | None:
        """Status and sentence, if so many bytes are not to be sent there."""
        most = next((most for start, most in BODIES.items() if path.startswith(start)), BODY)
        if size > most:
            return 413, f"More than {most // 1024**2} MB are not taken here."
        if path.rstrip("/") == UPLOAD and not workspace.has_free_space():
            return 507, workspace.DISK_FULL_MESSAGE
        return None

    def known(self, authorization: str) -> bool:
        kind, _, given = authorization.partition(" ")
        try:
            words = base64.b64decode(given, validate=True)
        except ValueError:
            return False
        return kind.lower() == "basic" and hmac.compare_digest(words, self.login)

    def own(self, asked: dict[str, str]) -> bool:
        """Whether the request comes from a page of ours, or from no page at all."""
        origin = asked.get("origin")
        if origin is None or origin in self.origins:
            return True
        named = {asked.get("host"), *(name.strip() for name in asked.get("x-forwarded-host", "").split(","))}
        try:
            return urlsplit(origin).netloc in named - {None, ""}
        except ValueError:  # no address at all
            return False


class Visit:
    """One request with its answer: who the caller is, and what becomes theirs."""

    def __init__(self, guard: Guard, scope: Scope, path: str, caller: Caller, send: Send) -> None:
        self.guard, self.path, self._send = guard, path, send
        self.asked = asked = named(scope)
        self.uploads = path.rstrip("/") == UPLOAD and scope.get("method") == "POST"
        self.tools = path.startswith(MCP)
        if self.tools:
            caller = Caller(caller.address, tool=True)
        elif caller.cookie is None and (self.uploads or path in COOKIES):
            caller = Caller(caller.address, callers.new_cookie(), fresh=True)
        if self.uploads:
            scope["headers"] = [(k, v) for k, v in scope["headers"] if k != b"accept-encoding"]
            for name in parse_qs(scope["query_string"].decode("latin-1")).get("upload_id", [])[-1:]:  # as Gradio does
                ownership.enter(upload(name), caller)
        self.caller = scope[callers.PLACE] = caller
        self.secure = scope.get("scheme") == "https" or asked.get("x-forwarded-proto", "") == "https"
        self.outcome: dict[str, bool] = scope.setdefault(OUTCOME, {})
        self.listed = b""

    async def send(self, message: Message) -> None:
        """The message with our headers in place of its own, and without leave for other sites."""
        if message["type"] == "http.response.start":
            message = self._begun(message)
        elif self.uploads and self.status == 200:
            self.listed += message.get("body", b"")
            if not message.get("more_body"):
                with suppress(ValueError, TypeError):
                    for path in json.loads(self.listed):
                        ownership.give(path, self.caller)
        await self._send(message)

    def _begun(self, message: Message) -> Message:
        extra = list(self.guard.headers)
        if self.path.startswith(FILE) and not self.path.endswith(STATIC):
            extra.append((b"cache-control", b"private, no-store"))
        replaced = {key for key, _ in extra}
        kept = [(k, v) for k, v in message.get("headers", []) if k.lower() not in replaced]
        if not self.guard.own(self.asked):
            kept = [(k, v) for k, v in kept if not k.lower().startswith(b"access-control-")]
        if self.caller.fresh and self.caller.cookie:
            cookie = callers.cookie_header(self.caller.cookie, secure=self.secure, embedded=hosts.space())
            kept.append((b"set-cookie", cookie.encode()))
        self.status = message["status"]
        if self.status == 500 and self.outcome.get("refused"):  # Gradio has one status for all
            self.status = 400
        return {**message, "status": self.status, "headers": [*kept, *extra]}


class Body:
    """What one request sends, handed on to the app piece by piece, until it is too much or there is no more room."""

    def __init__(self, guard: Guard, path: str, receive: Receive, send: Send) -> None:
        self.guard, self.path, self._receive, self._send = guard, path, receive, send
        self.often = LOOK if path.rstrip("/") == UPLOAD else 1
        self.size, self.looked, self.ended, self.refused = 0, 0, False, False

    async def receive(self) -> Message:
        """Raises MultiPartException if there is no end, after which Gradio removes what it has written of an upload."""
        message = await self._receive()
        if message["type"] == "http.request":
            self.size += len(message.get("body", b""))
            self.ended = not message.get("more_body", False)
            await self._look()
        elif not self.ended and self.often == LOOK:
            self.refused = True
        if self.refused:
            raise MultiPartException("The upload was not finished.")
        return message

    async def send(self, message: Message) -> None:
        if not self.refused:
            await self._send(message)

    async def whole(self) -> bytes:
        """All of it; empty if the caller has gone or has been refused."""
        pieces = []
        with suppress(MultiPartException):
            while not self.ended:
                message = await self.receive()
                if message["type"] != "http.request":
                    self.refused = True
                    return b""
                pieces.append(message.get("body", b""))
        return b"".join(pieces)

    def again(self, raw: bytes) -> Receive:
        """What hands on the whole at once, and then what else comes."""
        left = [{"type": "http.request", "body": raw, "more_body": False}]

        async def receive() -> Message:
            return left.pop() if left else await self._receive()

        return receive

    async def _look(self) -> None:
        if self.size - self.looked < self.often:
            return
        self.looked = self.size
        if refusal := self.guard.body_refusal(self.path, self.size):
            await self.guard.told(self._send, refusal[0], {"detail": refusal[1]})
            self.refused = True


class Rate:
    """So many requests a minute from each address: a bucket that fills again as time passes."""

    def __init__(self, per_minute: int) -> None:
        self.per_minute = per_minute
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()  # address -> requests left, at this time
        self._lock = threading.Lock()

    def allows(self, who: str, cost: float = 1) -> bool:
        if not self.per_minute:
            return True
        with self._lock:
            now = time.monotonic()
            left, then = self._left.pop(who, (float(self.per_minute), now))
            left = min(float(self.per_minute), left + (now - then) * self.per_minute / 60)
            self._left[who] = (left - cost if left >= cost else left, now)
            if len(self._left) > KNOWN:
                self._left.popitem(last=False)
            return left >= cost
