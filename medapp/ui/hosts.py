"""Hosts: which names this server answers to, and whose word on an address counts.

A page of another site can have its own name lead to this machine (DNS rebinding), after which the browser takes this
server's answers for that site's. So a name that is not known here is not answered.

Environment: MEDAPP_HOSTS lists further names, with commas, `*` for any, `*.example.org` for all of a domain.
MEDAPP_PROXIES lists the addresses of proxies, with commas, also networks (10.0.0.0/8), whose X-Forwarded headers count.
"""

import ipaddress
import os
import socket
from collections.abc import MutableMapping
from typing import Any
from urllib.parse import urlsplit

from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

Scope = MutableMapping[str, Any]
LOOPBACK = {"localhost", "127.0.0.1", "::1"}
FORWARDED_HEADERS = (b"x-forwarded-", b"forwarded", b"x-real-ip", b"x-gradio-server")
UNKNOWN_HOST_MESSAGE = (
    "This server does not go by the name that it was asked for; MEDAPP_HOSTS lists the names it goes by."
)


def is_space() -> bool:
    """Whether this is a Hugging Face Space, which nobody reaches but through its own proxy."""
    return "SPACE_ID" in os.environ


class AllowedHosts:
    """The names that requests may be addressed to."""

    def __init__(self) -> None:
        listens = os.environ.get("GRADIO_SERVER_NAME", "").strip("[]")
        self.everywhere = listens in ("0.0.0.0", "::")
        given = [name.strip().lower() for name in os.environ.get("MEDAPP_HOSTS", "").split(",")]
        given += [os.environ.get("SPACE_HOST", "*.hf.space").lower()] if is_space() else []
        given += [socket.gethostname().lower()] if self.everywhere else [listens.lower()]
        self.names = LOOPBACK | {name for name in given if name}

    def is_allowed(self, host: str) -> bool:
        """Whether a request with this Host header, with or without a port, is to be answered."""
        if "*" in self.names:
            return True
        try:
            name = (urlsplit(f"//{host}").hostname or "").rstrip(".")
        except ValueError:
            return False
        if any(name == known or (known.startswith("*.") and name.endswith(known[1:])) for known in self.names):
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        return self.everywhere or address.is_loopback


class TrustedProxies:
    """ASGI middleware: takes the caller's address and scheme from proxies that are trusted, and from nobody else."""

    def __init__(self, app: Any) -> None:
        given = [name.strip() for name in os.environ.get("MEDAPP_PROXIES", "").split(",") if name.strip()]
        self.trusted: Any = ProxyHeadersMiddleware(app, given)
        self.app = app

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        client = (scope.get("client") or ("",))[0]
        if client in self.trusted.trusted_hosts:
            return await self.trusted(scope, receive, send)
        own = (b"x-forwarded-host", b"x-forwarded-proto") if is_space() else ()
        scope["headers"] = [(k, v) for k, v in scope["headers"] if k in own or not k.startswith(FORWARDED_HEADERS)]
        await self.app(scope, receive, send)
