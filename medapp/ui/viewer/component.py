"""Viewer: three linked planes and a 3-D view in the page, drawn by NiiVue in the visitor's browser.

Python sends a `Scene`; `viewer.js` shows it and tells where the crosshair went.
"""

import json
from collections.abc import Sequence
from html import escape
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import quote

import gradio as gr

from medapp.ui.gradio_compat import Component
from medapp.ui.viewer import niivue_asset
from medapp.ui.viewer.scene import Scene, script_file

HERE = Path(__file__).parent
SCRIPTS = ("viewer.js", "viewer_layers.js", "viewer_controls.js")  # pieces of one function


class Viewer(gr.HTML):
    """A `gr.HTML` whose value is a `Scene`. Viewers with the same `sync` name follow each other.

    Events: `select` when the visitor has moved the crosshair, with `evt.mm`, `evt.voxel` and `evt.values`;
    `nowebgl` when the browser cannot draw, with `evt.reason`, so that the page may show pictures drawn by the server.
    """

    data_model = Scene

    def __init__(self, value: Scene | None = None, *, sync: str = "", height: int = 720, **rest: Any) -> None:
        template = (HERE / "viewer.html").read_text("utf-8")
        for mark, content in {
            "HEIGHT": str(height),
            "SYNC": escape(sync),
            "CDN": escape(json.dumps(niivue_asset.CDN)),
            "INTEGRITY": niivue_asset.INTEGRITY,
        }.items():
            template = template.replace(f"%{mark}%", content)
        rest = {
            "html_template": template,
            "css_template": (HERE / "viewer.css").read_text("utf-8"),
            "js_on_load": "\n".join((HERE / name).read_text("utf-8") for name in SCRIPTS),
            "apply_default_css": False,
            "jump": None,
            **rest,
        }
        super().__init__(value, **rest)

    def postprocess(self, value: Scene | None) -> Scene | None:
        return value

    def preprocess(self, payload: Scene | None) -> Scene | None:
        return payload

    def api_info(self) -> dict[str, Any]:
        return Component.api_info(self)

    def example_payload(self) -> Any:
        return None

    def example_value(self) -> Any:
        return None


_jumps = count(1)


def move_crosshair(mm: Sequence[float]) -> dict[str, Any]:
    """An update for a viewer that only moves its crosshair, to `mm` in RAS+ millimetres."""
    return gr.update(jump=[*(float(x) for x in mm), next(_jumps)])


def render_prefetch_link() -> str:
    """For `launch(head=...)`: lets browsers fetch the script before the first image; the viewer works without it.

    This is where the script is obtained if it is not in the cache, for at most three seconds.
    """
    file = script_file()
    return f'<link rel="prefetch" as="script" href="gradio_api/file={quote(file.path)}">' if file else ""
