"""Caller: who sends a request: the cookie that a browser or a client keeps, or else the address it comes from."""

import re
import secrets
from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Any

from starlette.requests import cookie_parser

COOKIE = "medapp_visitor"
PLACE = "medapp.caller"  # of the caller in a request's scope
SHAPE = re.compile(r"[A-Za-z0-9_-]{43}")

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


def new_cookie() -> str:
    return secrets.token_urlsafe(32)


def of_scope(scope: Scope) -> Caller:
    """The caller of a request."""
    if PLACE in scope:
        return scope[PLACE]
    address, cookie = (scope.get("client") or ("",))[0], None
    for name, value in scope.get("headers", ()):
        if name == b"cookie" and cookie is None:
            found = cookie_parser(value.decode("latin-1")).get(COOKIE, "")
            cookie = found if SHAPE.fullmatch(found) else None
    return Caller(address, cookie)


def of_request(request: Any) -> Caller:
    """The caller of Gradio's or Starlette's request; of none, somebody who owns nothing."""
    inner = getattr(request, "request", None) or request
    scope = getattr(inner, "scope", None)
    return Caller("") if scope is None else of_scope(scope)


def cookie_header(value: str, *, secure: bool, embedded: bool) -> str:
    """For Set-Cookie: not for scripts; `embedded` in a page of another site, as Hugging Face shows a Space."""
    where = "SameSite=None; Partitioned" if embedded else "SameSite=Lax"
    return f"{COOKIE}={value}; Path=/; HttpOnly; {where}{'; Secure' if secure or embedded else ''}"
