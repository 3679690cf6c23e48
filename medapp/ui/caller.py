"""Caller: who sends a request, known by the cookie that a browser or a client keeps, or else by the address."""

import re
import secrets
from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Any

from starlette.requests import cookie_parser

COOKIE_NAME = "medapp_visitor"
COOKIE_PATTERN = re.compile(r"[A-Za-z0-9_-]{43}")
CALLER_KEY = "medapp.caller"  # in a request's scope

Scope = MutableMapping[str, Any]


@dataclass(frozen=True)
class Caller:
    """The sender of a request; `cookie` is None for callers that keep none.

    `fresh` cookies are handed out with the answer to this very request. `tool` callers are MCP clients, whose cookies
    are not used.
    """

    address: str
    cookie: str | None = None
    fresh: bool = False
    tool: bool = False


def create_cookie() -> str:
    """Return a new random cookie that cannot be guessed."""
    return secrets.token_urlsafe(32)


def caller_of_scope(scope: Scope) -> Caller:
    """Return the caller of an ASGI request; a cookie that this app did not create is ignored."""
    if CALLER_KEY in scope:
        return scope[CALLER_KEY]
    address, cookie = (scope.get("client") or ("",))[0], None
    for name, value in scope.get("headers", ()):
        if name == b"cookie" and cookie is None:
            text = cookie_parser(value.decode("latin-1")).get(COOKIE_NAME, "")
            cookie = text if COOKIE_PATTERN.fullmatch(text) else None
    return Caller(address, cookie)


def caller_of_request(request: Any) -> Caller:
    """Return the caller of Gradio's or Starlette's request; without one, a caller who owns nothing."""
    inner = getattr(request, "request", None) or request
    scope = getattr(inner, "scope", None)
    return Caller("") if scope is None else caller_of_scope(scope)


def format_cookie(value: str, *, secure: bool, embedded: bool) -> str:
    """Return the Set-Cookie header; `embedded` for a Space, whose page Hugging Face shows in a frame.

    Scripts cannot read the cookie.
    """
    policy = "SameSite=None; Partitioned" if embedded else "SameSite=Lax"
    return f"{COOKIE_NAME}={value}; Path=/; HttpOnly; {policy}{'; Secure' if secure or embedded else ''}"
