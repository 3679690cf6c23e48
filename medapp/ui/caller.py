"""Caller: who sends a request: the cookie that a browser or a client keeps, or else the address it comes from."""

import re
import secrets
from collections.abc import MutableMapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from starlette.requests import cookie_parser

COOKIE = "medapp_visitor"
RELAY = "x-medapp-relay"  # a header by which the app's own client says for whom it calls a tool
PLACE = "medapp.caller"  # of the caller in a request's scope
SHAPE = re.compile(r"[A-Za-z0-9_-]{43}")

Scope = MutableMapping[str, Any]


@dataclass(frozen=True)
class Caller:
    """`cookie` is None for who keeps none. `fresh` is one that is handed out with the answer to this very request.

    `relayed` callers are those of tools (MCP); their client is the app's own, and `address` is theirs all the same.
    """

    address: str
    cookie: str | None = None
    fresh: bool = False
    relayed: bool = False


@cache
def _secret() -> str:
    """Known to this process alone: nobody else can speak for another address."""
    return secrets.token_urlsafe(32)


def relay(caller: Caller) -> str:
    """What the header RELAY is to hold in requests that are sent for this caller."""
    return f"{_secret()}:{caller.address}"


def new_cookie() -> str:
    return secrets.token_urlsafe(32)


def of_scope(scope: Scope) -> Caller:
    """The caller of a request. A header RELAY that is not of this process counts for nothing."""
    if PLACE in scope:
        return scope[PLACE]
    address, cookie = (scope.get("client") or ("",))[0], None
    for name, value in scope.get("headers", ()):
        if name == RELAY.encode():
            secret, _, whom = value.decode("latin-1").partition(":")
            if secrets.compare_digest(secret.encode(), _secret().encode()):
                return Caller(whom, relayed=True)
        elif name == b"cookie" and cookie is None:
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
