"""Relays: the methods over MCP, each call in the name of who sent it.

Gradio's server calls its own page through one client of its own for everybody, who would share one session and their
files; and its library cuts what is sent after 4 MB, where an image may come in words.
"""

import threading
from collections import OrderedDict
from functools import cache, partial
from typing import Any

from gradio_client import Client

from medapp.ui import caller
from medapp.ui.guard import BODIES, MCP

CLIENTS = 32  # addresses whose client is kept


@cache
def replace() -> None:
    """Have Gradio serve its tools in this way; without the library for MCP it serves none."""
    try:
        import gradio.mcp
        from mcp.server import sse, streamable_http_manager
    except ImportError:
        return
    most = BODIES[MCP]

    class Tools(gradio.mcp.GradioMCPServer):
        SseServerTransport = staticmethod(partial(sse.SseServerTransport, max_request_body_size=most))
        StreamableHTTPSessionManager = staticmethod(
            partial(streamable_http_manager.StreamableHTTPSessionManager, max_request_body_size=most)
        )

        def __init__(self, blocks: Any) -> None:
            super().__init__(blocks)
            self._clients: OrderedDict[str, Client] = OrderedDict()
            self._creating = threading.Lock()

        def _get_or_create_client(self) -> Client:
            """A client for the address that the tool is called from."""
            asked = caller.of_request(self.mcp_server.request_context.request)
            with self._creating:
                found = self._clients.pop(asked.address, None) or Client(
                    self.local_url,
                    download_files=False,
                    verbose=False,
                    analytics_enabled=False,
                    ssl_verify=False,
                    _skip_components=False,
                    headers={"x-gradio-user": "mcp", caller.RELAY: caller.relay(asked)},
                )
                self._clients[asked.address] = found
                if len(self._clients) > CLIENTS:
                    self._clients.popitem(last=False)[1].close()
                return found

    if not hasattr(gradio.mcp.GradioMCPServer, "_get_or_create_client"):
        raise AttributeError("this version of Gradio calls its tools in another way")
    gradio.mcp.GradioMCPServer = Tools
