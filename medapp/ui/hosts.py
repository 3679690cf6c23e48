"""Hosts: the names that this server answers to, and the proxies whose headers it believes.

A page of another site can let its own name lead to this machine (DNS rebinding); the browser then takes this server's
answers for that site's. Requests to unknown names are therefore refused.

Environment: MEDAPP_HOSTS lists further names, separated by commas; `*` for any, `*.example.org` for a whole domain.
MEDAPP_PROXIES lists the addresses or networks (10.0.0.0/8) of proxies whose X-Forwarded headers are believed.
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
UNKNOWN_HOST_MESSAGE = "This server does not answer to the name in the request; MEDAPP_HOSTS lists the names it has."


def is_space() -> bool:
    """Whether this is a Hugging Face Space, which only its own proxy can reach."""
    return "SPACE_ID" in os.environ


class AllowedHosts:
    """The names that requests may be addressed to."""

    def __init__(self) -> None:
        """Read them from the environment: loopback, the address listened on, MEDAPP_HOSTS and the Space's own."""
        address = os.environ.get("GRADIO_SERVER_NAME", "").strip("[]")
        self.listens_everywhere = address in ("0.0.0.0", "::")
        names = [name.strip().lower() for name in os.environ.get("MEDAPP_HOSTS", "").split(",")]
        names += [os.environ.get("SPACE_HOST", "*.hf.space").lower()] if is_space() else []
        names += [socket.gethostname().lower() if self.listens_everywhere else address.lower()]
        self.names = LOOPBACK | {name for name in names if name}

    def is_allowed(self, host: str) -> bool:
        """Whether a request with this Host header, with or without a port, may be answered."""
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
        return self.listens_everywhere or address.is_loopback


class TrustedProxies:
    """ASGI middleware that takes a caller's address and scheme from the headers of trusted proxies only."""

    def __init__(self, app: Any) -> None:
        """Read the proxies from MEDAPP_PROXIES."""
        proxies = [name.strip() for name in os.environ.get("MEDAPP_PROXIES", "").split(",") if name.strip()]
        self.trusted: Any = ProxyHeadersMiddleware(app, proxies)
        self.app = app

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        """Pass a request on, without the forwarding headers of callers that are not trusted."""
        client = (scope.get("client") or ("",))[0]
        if client in self.trusted.trusted_hosts:
            return await self.trusted(scope, receive, send)
        kept = (b"x-forwarded-host", b"x-forwarded-proto") if is_space() else ()
        scope["headers"] = [(k, v) for k, v in scope["headers"] if k in kept or not k.startswith(FORWARDED_HEADERS)]
        await self.app(scope, receive, send)
