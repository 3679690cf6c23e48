"""Caller: who sends a request: the cookie that a browser or a client keeps, or else the address it comes from."""

import re
import secrets
from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Any

from starlette.requests import cookie_parser

COOKIE_NAME = "medapp_visitor"
CALLER_KEY = "medapp.caller"  # of the caller in a request's scope
COOKIE_PATTERN = re.compile(r"[A-Za-z0-9_-]{43}")

Scope = MutableMapping[str, Any]


@dataclass(frozen=True)
class Caller:
    """`cookie` is None for who keeps none. `fresh` is one that is handed out with the answer to this very request.

    `tool` callers are those of tools (MCP), whose cookies count for nothing.
    """

    address: str
    cookie: str | None = None
    fresh: bool = False
    tool: bool = False


def create_cookie() -> str:
    return secrets.token_urlsafe(32)


def caller_of_scope(scope: Scope) -> Caller:
    """The caller of a request."""
    if CALLER_KEY in scope:
        return scope[CALLER_KEY]
    address, cookie = (scope.get("client") or ("",))[0], None
    for name, value in scope.get("headers", ()):
        if name == b"cookie" and cookie is None:
            found = cookie_parser(value.decode("latin-1")).get(COOKIE_NAME, "")
            cookie = found if COOKIE_PATTERN.fullmatch(found) else None
    return Caller(address, cookie)


def caller_of_request(request: Any) -> Caller:
    """The caller of Gradio's or Starlette's request; of none, somebody who owns nothing."""
    inner = getattr(request, "request", None) or request
    scope = getattr(inner, "scope", None)
    return Caller("") if scope is None else caller_of_scope(scope)


def format_cookie(value: str, *, secure: bool, embedded: bool) -> str:
    """For Set-Cookie: not for scripts; `embedded` in a page of another site, as Hugging Face shows a Space."""
    where = "SameSite=None; Partitioned" if embedded else "SameSite=Lax"
    return f"{COOKIE_NAME}={value}; Path=/; HttpOnly; {where}{'; Secure' if secure or embedded else ''}"
