"""Guard: what every request passes on its way in, and every answer on its way out.

Environment: MEDAPP_LOGIN is `user:password`, without which nothing is served (HTTP Basic: only behind HTTPS is it a
secret). MEDAPP_ORIGINS lists, with commas, the addresses of other sites whose pages may call this one. MEDAPP_RATE is
how many requests that cost something an address may make in a minute, 0 for any number, as on a Space, where all
visitors come from one address; it may then keep any number open, too. MEDAPP_SPARE_MB is how much of the disk stays
free of uploads.
"""

import base64
import hmac
import json
import os
import re
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

from starlette.formparsers import MultiPartException

from medapp import __version__, journal
from medapp.imaging.limits import MAX_BYTES
from medapp.ui import session
from medapp.ui.niivue import CDN

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
UPLOAD, MCP = "/gradio_api/upload", "/gradio_api/mcp"
COSTLY = (UPLOAD, MCP, "/gradio_api/queue/join", "/gradio_api/run", "/gradio_api/call", "/gradio_api/api")
PAGES = ("/config", "/gradio_api/info", "/gradio_api/openapi.json", "/gradio_api/heartbeat", MCP)
SERVED = re.compile(
    r"/(config|theme\.css|robots\.txt|favicon\.ico|manifest\.json|pwa_icon.*|(assets|static|svelte)/.*|gradio_api/("
    r"info|openapi\.json|app_id|login_check|token|user|theme\.css|startup-events|upload|upload_progress|cancel|reset|"
    r"queue/(data|join|status)|heartbeat/.*|(run|call|api)/.*|custom_component/.*|mcp|mcp/.*|file=(?!\s*[a-z]{2,}:).*))?/?",
    re.IGNORECASE | re.DOTALL,
)  # what the page, its API and its tools consist of: Gradio has more doors, one of which leads to any web address
BODIES = {UPLOAD: MAX_BYTES + 1024**2, MCP: 64 * 1024**2}  # bytes that may be sent there; tools take images in words
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


@asynccontextmanager
async def guarded(app: Any) -> AsyncIterator[None]:
    """For `launch(app_kwargs={"lifespan": guarded})`: the guard outside all of Gradio's own middleware.

    One that is handed to FastAPI would stand inside Gradio's, which lets pages of any site read answers.
    """
    app.middleware_stack = Guard(app.middleware_stack)
    yield


class Guard:
    """ASGI middleware: login, origin, rate and disk before the app, headers after it."""

    def __init__(self, app: App) -> None:
        self.app = app
        given = os.environ.get("MEDAPP_LOGIN", "")
        if given and not all(given.partition(":")):
            raise ValueError("MEDAPP_LOGIN is to be user:password")
        self.login = given.encode()
        self.origins = {o.strip() for o in os.environ.get("MEDAPP_ORIGINS", "").split(",") if o.strip()}
        space = "SPACE_ID" in os.environ
        self.rate = Rate(int(os.environ.get("MEDAPP_RATE", 0 if space else RATE)))
        self.open: Counter[str] = Counter()  # address -> requests that are being answered
        self.headers = [(k.lower().encode(), v.encode()) for k, v in headers(space).items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            return await self.app(scope, receive, send)
        asked = {key.decode("latin-1").lower(): value.decode("latin-1") for key, value in scope["headers"]}
        path, who = scope["path"].removeprefix(scope.get("root_path", "")), (scope.get("client") or ("",))[0]
        if scope["type"] == "http" and path == HEALTH:
            return await self.told(send, 200, {"status": "ok", "version": __version__})
        refusal = self.refusal(scope, path, who, asked)
        if refusal is None:
            body = Body(self, path, receive, lambda message: send(self.answered(message, path, asked)))
            self.open[who] += 1
            try:
                return await self.app(scope, body.receive, body.send)
            except Exception as error:  # who is refused has had an answer, and Gradio itself has given the other, 500
                if not body.refused:
                    journal.fault(error)
                return None
            finally:
                self.open[who] -= 1
                if not self.open[who]:
                    del self.open[who]
        if scope["type"] == "websocket":
            return await send({"type": "websocket.close", "code": 1008})
        status, words = refusal
        await self.told(send, status, {"detail": words})

    async def told(self, send: Send, status: int, what: dict[str, str]) -> None:
        """An answer of our own."""
        more = [(b"content-type", b"application/json"), *self.headers]
        more += [(b"www-authenticate", b'Basic realm="medapp", charset="UTF-8"')] if status == 401 else []
        await send({"type": "http.response.start", "status": status, "headers": more})
        await send({"type": "http.response.body", "body": json.dumps(what).encode()})

    def refusal(self, scope: Scope, path: str, who: str, asked: dict[str, str]) -> tuple[int, str] | None:
        """Status and sentence, if the request for `path` by the address `who` is not to be answered."""
        if self.login and path != OPEN and not self.known(asked.get("authorization", "")):
            if not self.rate.allows(who, 5):
                return 429, "Too many tries; wait a minute."
            return 401, "This page asks for a name and a password."
        if not SERVED.fullmatch(path) or scope["type"] == "websocket":
            return 404, "There is nothing here."
        if self.rate.per_minute and self.open[who] >= OPEN_AT_ONCE:
            return 429, "Too many pages are open; close one."
        if not self.own(asked) and scope.get("method", "GET") not in ("GET", "HEAD", "OPTIONS"):
            return 403, "Pages of other sites may not use this one."
        if (cost := costs(scope.get("method", "GET"), path)) and not self.rate.allows(who, cost):
            return 429, "Too many requests; wait a minute."
        size = asked.get("content-length", "0")
        return self.body_refusal(path, int(size[:20]) if size.isdecimal() else 0)

    def body_refusal(self, path: str, size: int) -> tuple[int, str] | None:
        """Status and sentence, if so many bytes are not to be sent there."""
        most = next((most for start, most in BODIES.items() if path.startswith(start)), BODY)
        if size > most:
            return 413, f"More than {most // 1024**2} MB are not taken here."
        if path.rstrip("/") == UPLOAD and not session.roomy():
            return 507, "The disk is full at the moment; try again in an hour."
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
        hosts = {asked.get("host"), *asked.get("x-forwarded-host", "").split(",")}
        return origin is None or origin in self.origins or urlsplit(origin).netloc in hosts - {None, ""}

    def answered(self, message: Message, path: str, asked: dict[str, str]) -> Message:
        """The message with our headers in place of its own, and without leave for other sites."""
        if message["type"] != "http.response.start":
            return message
        extra = list(self.headers)
        if path.startswith(FILE) and not path.endswith(STATIC):
            extra.append((b"cache-control", b"private, no-store"))
        replaced = {key for key, _ in extra}
        kept = [(k, v) for k, v in message.get("headers", []) if k.lower() not in replaced]
        if not self.own(asked):
            kept = [(k, v) for k, v in kept if not k.lower().startswith(b"access-control-")]
        return {**message, "headers": [*kept, *extra]}


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
