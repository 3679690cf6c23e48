"""Guard: what every request passes on its way in, and every answer on its way out.

Environment: MEDAPP_LOGIN is `user:password`, without which nothing is served (HTTP Basic: only behind HTTPS is it a
secret). MEDAPP_ORIGINS lists, with commas, the addresses of other sites whose pages may call this one. MEDAPP_RATE is
how many requests that cost something an address may make in a minute, 0 for any number, as on a Space, where all
visitors come from one address. MEDAPP_SPARE_MB is how much of the disk stays free of uploads.
"""

import base64
import hmac
import json
import os
import shutil
import tempfile
import threading
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

from medapp import __version__
from medapp.ui.niivue import CDN

Scope = MutableMapping[str, Any]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Callable[[], Awaitable[Any]], Send], Awaitable[None]]

RATE, SPARE_MB = 1200, 1024  # a slider that is dragged asks ten times a second
KNOWN = 10_000  # addresses that are remembered
OPEN = "/gradio_api/startup-events"  # Gradio asks itself for it when it starts; tells nothing
HEALTH = "/health"  # answers that the page can be had, also without the password
FILES, STATIC = "/gradio_api/file", (".js", ".css", ".woff2")
COSTLY = ("/gradio_api/upload", "/gradio_api/queue/join", "/gradio_api/run", "/gradio_api/call", "/gradio_api/api",
          "/gradio_api/mcp", "/gradio_api/component_server")  # fmt: skip


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
        self.spare = int(os.environ.get("MEDAPP_SPARE_MB", SPARE_MB)) * 1024**2
        space = "SPACE_ID" in os.environ
        self.rate = Rate(int(os.environ.get("MEDAPP_RATE", 0 if space else RATE)))
        self.headers = [(k.lower().encode(), v.encode()) for k, v in headers(space).items()]

    async def __call__(self, scope: Scope, receive: Callable[[], Awaitable[Any]], send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            return await self.app(scope, receive, send)
        asked = {key.decode("latin-1").lower(): value.decode("latin-1") for key, value in scope["headers"]}
        if scope["type"] == "http" and scope["path"] == HEALTH:
            return await self.told(send, 200, {"status": "ok", "version": __version__})
        refusal = self.refusal(scope, asked)
        if refusal is None:
            return await self.app(scope, receive, lambda message: send(self.answered(message, scope, asked)))
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

    def refusal(self, scope: Scope, asked: dict[str, str]) -> tuple[int, str] | None:
        """Status and sentence, if the request is not to be answered."""
        who, path, own = (scope.get("client") or ("",))[0], scope["path"], self.own(asked)
        if self.login and path != OPEN and not self.known(asked.get("authorization", "")):
            if not self.rate.allows(who, 5):
                return 429, "Too many tries; wait a minute."
            return 401, "This page asks for a name and a password."
        if not own and (scope.get("method", "GET") not in ("GET", "HEAD", "OPTIONS") or scope["type"] == "websocket"):
            return 403, "Pages of other sites may not use this one."
        if scope.get("method") == "POST" and path.startswith(COSTLY):
            if not self.rate.allows(who):
                return 429, "Too many requests; wait a minute."
            if path.startswith(COSTLY[0]) and shutil.disk_usage(tempfile.gettempdir()).free < self.spare:
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

    def answered(self, message: MutableMapping[str, Any], scope: Scope, asked: dict[str, str]) -> MutableMapping:
        """The message with our headers in place of its own, and without leave for other sites."""
        if message["type"] != "http.response.start":
            return message
        extra = list(self.headers)
        if scope["path"].startswith(FILES) and not scope["path"].endswith(STATIC):
            extra.append((b"cache-control", b"private, no-store"))
        replaced = {key for key, _ in extra}
        kept = [(k, v) for k, v in message.get("headers", []) if k.lower() not in replaced]
        if not self.own(asked):
            kept = [(k, v) for k, v in kept if not k.lower().startswith(b"access-control-")]
        return {**message, "headers": [*kept, *extra]}


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
