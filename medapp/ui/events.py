"""Events: how the page's events wait and who may call them, as arguments of Gradio's listeners."""

from typing import Any

from medapp.ui import queue

GPU: dict[str, Any] = {"concurrency_id": queue.COMPUTE_LINE, "concurrency_limit": 1}  # one line for all that computes
PRIVATE: dict[str, Any] = {"api_visibility": "private"}  # no endpoint of the API
HIDDEN: dict[str, Any] = {"show_progress": "hidden", **PRIVATE}
LIVE: dict[str, Any] = {"trigger_mode": "always_last", **HIDDEN}  # of a control that is moved: its last position counts
AT_ONCE: dict[str, Any] = {"queue": False, **PRIVATE}  # costs nothing, waits for nobody
