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
from medapp.ui.ownership import ownership, upload_session
from medapp.ui.session_state import RATE_LIMIT
from medapp.ui.viewer.niivue_asset import CDN

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

REQUESTS_PER_MINUTE = 1200  # a slider that is dragged asks ten times a second
PAGE_COST = 4  # what asking for the page counts, whose making takes the one thread that answers everybody a while
MAX_ADDRESSES = 10_000  # addresses that are remembered
MAX_OPEN_REQUESTS = 500  # requests of one address that are being answered; every page that is open keeps two
DISK_CHECK_BYTES = 16 * 1024**2  # bytes of an upload between looks at the disk
STARTUP_PATH = "/gradio_api/startup-events"  # Gradio asks itself for it when it starts; tells nothing
HEALTH_PATH = "/health"  # answers that the page can be had, also without the password
FILE_PATH = "/gradio_api/file="
STATIC_SUFFIXES = (".js", ".css", ".woff2")
HEARTBEAT_PATH = "/gradio_api/heartbeat/"  # every open page keeps one
UPLOAD_PATH = "/gradio_api/upload"
MCP_PATH = "/gradio_api/mcp"
COSTLY_PATHS = (
    UPLOAD_PATH,
    MCP_PATH,
    "/gradio_api/queue/join",
    "/gradio_api/run",
    "/gradio_api/call",
    "/gradio_api/api",
)
PAGE_PATHS = ("/config", "/gradio_api/info", "/gradio_api/openapi.json", "/gradio_api/heartbeat", MCP_PATH)
SERVED_PATHS = re.compile(
    r"/(config|theme\.css|robots\.txt|favicon\.ico|manifest\.json|pwa_icon.*|(assets|static|svelte)/.*|gradio_api/("
    r"info|openapi\.json|app_id|login_check|token|user|theme\.css|startup-events|upload|upload_progress|cancel|reset|"
    r"queue/(data|join|status)|heartbeat/.*|(run|call|api)/.*|custom_component/.*|mcp|mcp/.*|file=(?!\s*[a-z]{2,}:).*))?/?",
    re.IGNORECASE | re.DOTALL,
)  # what the page, its API and its tools consist of: Gradio has more doors, one of which leads to any web address
COOKIE_PATHS = ("/", "/config", "/config/")  # what browsers and clients ask for first
OUTCOME_KEY = "medapp.outcome"  # of what became of a request, in its scope
MAX_BODY_BYTES_BY_PATH = {
    UPLOAD_PATH: MAX_UPLOAD_BYTES + 1024**2,
    MCP_PATH: 64 * 1024**2,
}  # bytes that may be sent there; tools take images in words
MAX_BODY_BYTES = 1024**2  # bytes that may be sent anywhere else


def request_cost(method: str, path: str) -> int:
    """What a request takes of the requests in a minute."""
    if method == "POST":
        return int(path.startswith(COSTLY_PATHS))
    return PAGE_COST if path == "/" or path.startswith(PAGE_PATHS) else 0


def response_headers(embedded: bool) -> dict[str, str]:
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


def read_headers(scope: Scope) -> dict[str, str]:
    """A request's headers by name."""
    return {key.decode("latin-1").lower(): value.decode("latin-1") for key, value in scope["headers"]}


class RequestChecks(Protocol):
    """What looks at requests to Gradio's doors, see `gate`."""

    def needs_body(self, method: str, path: str) -> bool: ...

    def check_stream(self, path: str, query: bytes, caller: Caller) -> tuple[int, str] | None: ...

    def check_body(self, path: str, raw: bytes, caller: Caller) -> tuple[int, str] | None: ...


class SecurityMiddleware:
    """ASGI middleware: name, login, origin, rate, disk, sessions and files before the app, headers after it."""

    def __init__(self, app: App, gate: RequestChecks | None = None) -> None:
        self.app, self.checks = app, gate
        given = os.environ.get("MEDAPP_LOGIN", "")
        if given and not all(given.partition(":")):
            raise ValueError("MEDAPP_LOGIN is to be user:password")
        self.login = given.encode()
        self.origins = {o.strip() for o in os.environ.get("MEDAPP_ORIGINS", "").split(",") if o.strip()}
        self.hosts, self.proxies = hosts.AllowedHosts(), hosts.TrustedProxies(self.handle_request)
        self.rate = RateLimiter(int(os.environ.get("MEDAPP_RATE", 0 if hosts.is_space() else REQUESTS_PER_MINUTE)))
        self.open: Counter[str] = Counter()  # address -> requests that are being answered
        self.headers = [(k.lower().encode(), v.encode()) for k, v in response_headers(hosts.is_space()).items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        within = self.proxies if scope["type"] in ("http", "websocket") else self.app
        await within(scope, receive, send)

    async def handle_request(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A request whose caller's address is known by now."""
        asked = read_headers(scope)
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        caller = callers.caller_of_scope(scope)
        who = caller.address
        refusal = self.check_host(asked)
        if refusal is None and scope["type"] == "http" and path == HEALTH_PATH:
            return await self.send_json(send, 200, {"status": "ok", "version": __version__})
        refusal = refusal or self.check_request(scope, path, caller, asked)
        if refusal is None:
            visit = Exchange(self, scope, path, caller, send)
            body = RequestBody(self, path, receive, visit.send)
            self.open[who] += 1
            page = path.partition(HEARTBEAT_PATH)[2].rstrip("/") if scope.get("method") == "GET" else ""
            if page:
                connections.open(page)
            if scope.get("method") == "POST":
                RATE_LIMIT.set(partial(self.rate.allows, who))
            try:
                receive = body.receive
                if self.checks and self.checks.needs_body(scope.get("method", "GET"), path):
                    raw = await body.read_all()
                    refusal = None if body.refused else self.check_body(path, raw, visit.caller)
                    receive = body.replay(raw)
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
        await self.send_json(send, refusal[0], {"detail": refusal[1]})

    def check_body(self, path: str, raw: bytes, caller: Caller) -> tuple[int, str] | None:
        """Status and sentence, if what was sent is not to be acted upon."""
        assert self.checks
        try:
            return self.checks.check_body(path, raw, caller)
        except Exception as error:
            run_log.log_fault(error)
            return 500, "Something went wrong, and the fault is ours."

    async def send_json(self, send: Send, status: int, what: dict[str, Any]) -> None:
        """An answer of our own; of what is malformed in the form in which Gradio's clients show it."""
        if status == 422:
            note = {"__type__": "validate", "is_valid": False, "parameter_name": "request", "message": what["detail"]}
            what = {"detail": [note]}
        more = [(b"content-type", b"application/json"), *self.headers]
        more += [(b"www-authenticate", b'Basic realm="medapp", charset="UTF-8"')] if status == 401 else []
        await send({"type": "http.response.start", "status": status, "headers": more})
        await send({"type": "http.response.body", "body": json.dumps(what).encode()})

    def check_host(self, asked: dict[str, str]) -> tuple[int, str] | None:
        """Status and sentence, if the request is addressed to none of our names."""
        named = asked.get("x-forwarded-host", asked.get("host", "")).split(",")[0].strip()
        return None if self.hosts.is_allowed(named) else (421, hosts.UNKNOWN_HOST_MESSAGE)

    def check_request(self, scope: Scope, path: str, caller: Caller, asked: dict[str, str]) -> tuple[int, str] | None:
        """Status and sentence, if the request for `path` is not to be answered."""
        who, method = caller.address, scope.get("method", "GET")
        if self.login and path != STARTUP_PATH and not self.is_login_correct(asked.get("authorization", "")):
            if not self.rate.allows(who, 5):
                return 429, "Too many tries; wait a minute."
            return 401, "This page asks for a name and a password."
        if not SERVED_PATHS.fullmatch(path) or scope["type"] == "websocket":
            return 404, "There is nothing here."
        if self.rate.per_minute and self.open[who] >= MAX_OPEN_REQUESTS:
            return 429, "Too many pages are open; close one."
        if not self.is_same_site(asked) and method not in ("GET", "HEAD", "OPTIONS"):
            return 403, "Pages of other sites may not use this one."
        if (cost := request_cost(method, path)) and not self.rate.allows(who, cost):
            return 429, "Too many requests; wait a minute."
        if path.startswith(FILE_PATH) and not ownership.opens(path.removeprefix(FILE_PATH), caller):
            return 404, "There is no such file, or it is not yours."
        if (
            self.checks
            and method == "GET"
            and (refusal := self.checks.check_stream(path, scope["query_string"], caller))
        ):
            return refusal
        size = asked.get("content-length", "0")
        return self.check_size(path, int(size[:20]) if size.isdecimal() else 0)

    def check_size(self, path: str, size: int) -> tuple[int, str] | None:
        """Status and sentence, if so many bytes are not to be sent there."""
        most = next((most for start, most in MAX_BODY_BYTES_BY_PATH.items() if path.startswith(start)), MAX_BODY_BYTES)
        if size > most:
            return 413, f"More than {most // 1024**2} MB are not taken here."
        if path.rstrip("/") == UPLOAD_PATH and not workspace.has_free_space():
            return 507, workspace.DISK_FULL_MESSAGE
        return None

    def is_login_correct(self, authorization: str) -> bool:
        kind, _, given = authorization.partition(" ")
        try:
            words = base64.b64decode(given, validate=True)
        except ValueError:
            return False
        return kind.lower() == "basic" and hmac.compare_digest(words, self.login)

    def is_same_site(self, asked: dict[str, str]) -> bool:
        """Whether the request comes from a page of ours, or from no page at all."""
        origin = asked.get("origin")
        if origin is None or origin in self.origins:
            return True
        named = {asked.get("host"), *(name.strip() for name in asked.get("x-forwarded-host", "").split(","))}
        try:
            return urlsplit(origin).netloc in named - {None, ""}
        except ValueError:  # no address at all
            return False


class Exchange:
    """One request with its answer: who the caller is, and what becomes theirs."""

    def __init__(self, guard: SecurityMiddleware, scope: Scope, path: str, caller: Caller, send: Send) -> None:
        self.middleware, self.path, self._send = guard, path, send
        self.asked = asked = read_headers(scope)
        self.uploads = path.rstrip("/") == UPLOAD_PATH and scope.get("method") == "POST"
        self.tools = path.startswith(MCP_PATH)
        if self.tools:
            caller = Caller(caller.address, tool=True)
        elif caller.cookie is None and (self.uploads or path in COOKIE_PATHS):
            caller = Caller(caller.address, callers.create_cookie(), fresh=True)
        if self.uploads:
            scope["headers"] = [(k, v) for k, v in scope["headers"] if k != b"accept-encoding"]
            for name in parse_qs(scope["query_string"].decode("latin-1")).get("upload_id", [])[-1:]:  # as Gradio does
                ownership.enter(upload_session(name), caller)
        self.caller = scope[callers.CALLER_KEY] = caller
        self.secure = scope.get("scheme") == "https" or asked.get("x-forwarded-proto", "") == "https"
        self.outcome: dict[str, bool] = scope.setdefault(OUTCOME_KEY, {})
        self.listed = b""

    async def send(self, message: Message) -> None:
        """The message with our headers in place of its own, and without leave for other sites."""
        if message["type"] == "http.response.start":
            message = self._start_response(message)
        elif self.uploads and self.status == 200:
            self.listed += message.get("body", b"")
            if not message.get("more_body"):
                with suppress(ValueError, TypeError):
                    for path in json.loads(self.listed):
                        ownership.give(path, self.caller)
        await self._send(message)

    def _start_response(self, message: Message) -> Message:
        extra = list(self.middleware.headers)
        if self.path.startswith(FILE_PATH) and not self.path.endswith(STATIC_SUFFIXES):
            extra.append((b"cache-control", b"private, no-store"))
        replaced = {key for key, _ in extra}
        kept = [(k, v) for k, v in message.get("headers", []) if k.lower() not in replaced]
        if not self.middleware.is_same_site(self.asked):
            kept = [(k, v) for k, v in kept if not k.lower().startswith(b"access-control-")]
        if self.caller.fresh and self.caller.cookie:
            cookie = callers.format_cookie(self.caller.cookie, secure=self.secure, embedded=hosts.is_space())
            kept.append((b"set-cookie", cookie.encode()))
        self.status = message["status"]
        if self.status == 500 and self.outcome.get("refused"):  # Gradio has one status for all
            self.status = 400
        return {**message, "status": self.status, "headers": [*kept, *extra]}


class RequestBody:
    """What one request sends, handed on to the app piece by piece, until it is too much or there is no more room."""

    def __init__(self, guard: SecurityMiddleware, path: str, receive: Receive, send: Send) -> None:
        self.middleware, self.path, self._receive, self._send = guard, path, receive, send
        self.often = DISK_CHECK_BYTES if path.rstrip("/") == UPLOAD_PATH else 1
        self.size, self.looked, self.ended, self.refused = 0, 0, False, False

    async def receive(self) -> Message:
        """Raises MultiPartException if there is no end, after which Gradio removes what it has written of an upload."""
        message = await self._receive()
        if message["type"] == "http.request":
            self.size += len(message.get("body", b""))
            self.ended = not message.get("more_body", False)
            await self._check_size()
        elif not self.ended and self.often == DISK_CHECK_BYTES:
            self.refused = True
        if self.refused:
            raise MultiPartException("The upload was not finished.")
        return message

    async def send(self, message: Message) -> None:
        if not self.refused:
            await self._send(message)

    async def read_all(self) -> bytes:
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

    def replay(self, raw: bytes) -> Receive:
        """What hands on the whole at once, and then what else comes."""
        left = [{"type": "http.request", "body": raw, "more_body": False}]

        async def receive() -> Message:
            return left.pop() if left else await self._receive()

        return receive

    async def _check_size(self) -> None:
        if self.size - self.looked < self.often:
            return
        self.looked = self.size
        if refusal := self.middleware.check_size(self.path, self.size):
            await self.middleware.send_json(self._send, refusal[0], {"detail": refusal[1]})
            self.refused = True


class RateLimiter:
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
            if len(self._left) > MAX_ADDRESSES:
                self._left.popitem(last=False)
            return left >= cost
