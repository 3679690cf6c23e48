"""Security: the checks that every request passes before Gradio sees it.

Environment: MEDAPP_LOGIN is `user:password`, without which nothing is served (HTTP Basic: a secret only over HTTPS).
MEDAPP_ORIGINS lists, separated by commas, the addresses of other sites whose pages may call this one. MEDAPP_RATE is
how many requests that cost something one address may make in a minute; 0 means any number, as on a Space, where all
visitors come from one address, and any number may then stay open. MEDAPP_HOSTS and MEDAPP_PROXIES: see `hosts`.
"""

import base64
import hmac
import json
import os
import re
from collections import Counter
from collections.abc import Awaitable, Callable, MutableMapping
from functools import partial
from typing import Any, Protocol
from urllib.parse import urlsplit

from starlette.exceptions import HTTPException

from medapp import __version__
from medapp.serving import run_log
from medapp.ui import hosts
from medapp.ui.caller import Caller, caller_of_scope
from medapp.ui.connections import connections
from medapp.ui.exchange import Exchange, read_headers
from medapp.ui.gradio_compat import (
    API_PATH,
    CALL_PATH,
    FILE_PATH,
    HEARTBEAT_PATH,
    JOIN_PATH,
    MCP_PATH,
    STARTUP_PATH,
    UPLOAD_PATH,
)
from medapp.ui.ownership import ownership
from medapp.ui.rate_limit import RateLimiter
from medapp.ui.request_body import Receive, Refusal, RequestBody, Send, check_size
from medapp.ui.response_headers import list_headers
from medapp.ui.session_state import RATE_LIMIT

Scope = MutableMapping[str, Any]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

REQUESTS_PER_MINUTE = 1200  # dragging a slider makes ten a second
PAGE_COST = 4  # requests that loading the page counts, since it keeps the server busy for a while
LOGIN_COST = 5  # requests that a wrong password counts
MAX_OPEN_REQUESTS = 500  # of one address at a time; every open page keeps two
HEALTH_PATH = "/health"  # tells that the page is up, also without the password
COSTLY_PATHS = (UPLOAD_PATH, MCP_PATH, JOIN_PATH, f"{API_PATH}/run", CALL_PATH, f"{API_PATH}/api")
PAGE_PATHS = ("/config", f"{API_PATH}/info", f"{API_PATH}/openapi.json", f"{API_PATH}/heartbeat", MCP_PATH)
SERVED_PATHS = re.compile(
    r"/(config|theme\.css|robots\.txt|favicon\.ico|manifest\.json|pwa_icon.*|(assets|static|svelte)/.*|gradio_api/("
    r"info|openapi\.json|app_id|login_check|token|user|theme\.css|startup-events|upload|upload_progress|cancel|reset|"
    r"queue/(data|join|status)|heartbeat/.*|(run|call|api)/.*|custom_component/.*|mcp|mcp/.*|file=(?!\s*[a-z]{2,}:).*))?/?",
    re.IGNORECASE | re.DOTALL,
)  # of the page, its API and its tools; Gradio has more addresses, one of which opens any web address


def request_cost(method: str, path: str) -> int:
    """Return how many requests this one counts against the rate limit."""
    if method == "POST":
        return int(path.startswith(COSTLY_PATHS))
    return PAGE_COST if path == "/" or path.startswith(PAGE_PATHS) else 0


class RequestChecks(Protocol):
    """The checks of requests to Gradio's events, see `RequestChecker`."""

    def needs_body(self, method: str, path: str) -> bool:
        """Whether `check_body` is to be asked about this request."""

    def check_stream(self, path: str, query: bytes, caller: Caller) -> Refusal | None:
        """Refuse to open a stream of messages, or return None."""

    def check_body(self, path: str, raw: bytes, caller: Caller) -> Refusal | None:
        """Refuse to act on a body, or return None."""


class SecurityMiddleware:
    """ASGI middleware that checks host, login, origin, rate, files, sessions and size, and sets headers.

    `checks` looks at what is sent to Gradio's events.
    """

    def __init__(self, app: App, checks: RequestChecks | None = None) -> None:
        """Read the settings from the environment. Raises ValueError for a MEDAPP_LOGIN without user or password."""
        self.app, self.checks = app, checks
        login = os.environ.get("MEDAPP_LOGIN", "")
        if login and not all(login.partition(":")):
            raise ValueError("MEDAPP_LOGIN is to be user:password")
        self.login = login.encode()
        self.origins = {o.strip() for o in os.environ.get("MEDAPP_ORIGINS", "").split(",") if o.strip()}
        self.hosts, self.proxies = hosts.AllowedHosts(), hosts.TrustedProxies(self.handle_request)
        self.rate = RateLimiter(int(os.environ.get("MEDAPP_RATE", 0 if hosts.is_space() else REQUESTS_PER_MINUTE)))
        self.open_requests: Counter[str] = Counter()  # by address
        self.headers = [(key.lower().encode(), value.encode()) for key, value in list_headers(hosts.is_space()).items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request or, unchecked, an event of the server's lifespan."""
        app = self.proxies if scope["type"] in ("http", "websocket") else self.app
        await app(scope, receive, send)

    async def handle_request(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a request or pass it on to the app; the proxies' headers have been read by now."""
        headers = read_headers(scope)
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        refusal = self.check_host(headers)
        if refusal is None and scope["type"] == "http" and path == HEALTH_PATH:
            return await self.send_json(send, 200, {"status": "ok", "version": __version__})
        refusal = refusal or self.check_request(scope, path, caller_of_scope(scope), headers)
        if refusal is None:
            refusal = await self._pass_on(scope, path, receive, send, headers)
        if refusal is None:
            return None
        if scope["type"] == "websocket":
            return await send({"type": "websocket.close", "code": 1008})
        return await self.refuse(send, *refusal)

    async def _pass_on(
        self, scope: Scope, path: str, receive: Receive, send: Send, headers: dict[str, str]
    ) -> Refusal | None:
        """Let the app answer, unless the body is refused: then return why, if that was not answered yet."""
        method = scope.get("method", "GET")
        exchange = Exchange(scope, path, send, self.headers, self.is_same_site(headers))
        address = exchange.caller.address
        body = RequestBody(path, receive, exchange.send, partial(self.refuse, exchange.send))
        self.open_requests[address] += 1
        session = path.partition(HEARTBEAT_PATH)[2].rstrip("/") if method == "GET" else ""
        if session:
            connections.open(session)
        if method == "POST":
            RATE_LIMIT.set(partial(self.rate.allows, address))
        try:
            receive_body: Receive = body.receive
            if self.checks and self.checks.needs_body(method, path):
                content = await body.read_all()
                if not body.is_refused and (refusal := self._check_body(path, content, exchange.caller)):
                    return refusal
                receive_body = body.replay(content)
            if not body.is_refused:
                await self.app(scope, receive_body, body.send)
        except Exception as error:  # by now the caller has an answer: a refusal, or Gradio's own status 500
            if not (body.is_refused or isinstance(error.__cause__, HTTPException)):  # in the middle of a stream
                run_log.log_fault(error)
        finally:
            if session:
                connections.close(session)
            self.open_requests[address] -= 1
            if not self.open_requests[address]:
                del self.open_requests[address]
        return None

    def _check_body(self, path: str, content: bytes, caller: Caller) -> Refusal | None:
        assert self.checks
        try:
            return self.checks.check_body(path, content, caller)
        except Exception as error:
            run_log.log_fault(error)
            return 500, "Something went wrong, and the fault is ours."

    async def refuse(self, send: Send, status: int, message: str) -> None:
        """Answer with a sentence; for status 422, in the form that Gradio's clients display."""
        detail: Any = message
        if status == 422:
            detail = [
                {"__type__": "validate", "is_valid": False, "parameter_name": "request", "message": message},
            ]
        await self.send_json(send, status, {"detail": detail})

    async def send_json(self, send: Send, status: int, content: dict[str, Any]) -> None:
        """Send an answer of our own."""
        headers = [(b"content-type", b"application/json"), *self.headers]
        if status == 401:
            headers.append((b"www-authenticate", b'Basic realm="medapp", charset="UTF-8"'))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": json.dumps(content).encode()})

    def check_host(self, headers: dict[str, str]) -> Refusal | None:
        """Refuse a request that is addressed to none of this server's names."""
        host = headers.get("x-forwarded-host", headers.get("host", "")).split(",")[0].strip()
        return None if self.hosts.is_allowed(host) else (421, hosts.UNKNOWN_HOST_MESSAGE)

    def check_request(self, scope: Scope, path: str, caller: Caller, headers: dict[str, str]) -> Refusal | None:
        """Refuse a request by what its address and headers say."""
        address, method = caller.address, scope.get("method", "GET")
        if self.login and path != STARTUP_PATH and not self.is_login_correct(headers.get("authorization", "")):
            if not self.rate.allows(address, LOGIN_COST):
                return 429, "Too many tries; wait a minute."
            return 401, "This page asks for a name and a password."
        if not SERVED_PATHS.fullmatch(path) or scope["type"] == "websocket":
            return 404, "There is nothing here."
        if self.rate.per_minute and self.open_requests[address] >= MAX_OPEN_REQUESTS:
            return 429, "Too many pages are open; close one."
        if not self.is_same_site(headers) and method not in ("GET", "HEAD", "OPTIONS"):
            return 403, "Pages of other sites may not use this one."
        if (cost := request_cost(method, path)) and not self.rate.allows(address, cost):
            return 429, "Too many requests; wait a minute."
        if path.startswith(FILE_PATH) and not ownership.opens(path.removeprefix(FILE_PATH), caller):
            return 404, "There is no such file, or it is not yours."
        if self.checks and method == "GET":
            refusal = self.checks.check_stream(path, scope["query_string"], caller)
            if refusal:
                return refusal
        size = headers.get("content-length", "0")
        return check_size(path, int(size[:20]) if size.isdecimal() else 0)

    def is_login_correct(self, authorization: str) -> bool:
        """Whether a request's Authorization header holds the right user and password."""
        scheme, _, encoded = authorization.partition(" ")
        try:
            login = base64.b64decode(encoded, validate=True)
        except ValueError:
            return False
        return scheme.lower() == "basic" and hmac.compare_digest(login, self.login)

    def is_same_site(self, headers: dict[str, str]) -> bool:
        """Whether a request comes from this site's or an allowed site's page, or from no page at all."""
        origin = headers.get("origin")
        if origin is None or origin in self.origins:
            return True
        hosts = {headers.get("host"), *(name.strip() for name in headers.get("x-forwarded-host", "").split(","))}
        try:
            return urlsplit(origin).netloc in hosts - {None, ""}
        except ValueError:  # no address at all
            return False
