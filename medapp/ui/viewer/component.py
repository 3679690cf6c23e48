"""Viewer: three linked planes and a 3-D view, drawn by NiiVue in the visitor's browser.

Python sends a `Scene`; `viewer.js` displays it and reports where the crosshair is moved.
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
SCRIPTS = (  # pieces of one function, each a part of the stage
    "shader.js", "textures.js", "live_mask.js", "regions.js", "maps.js", "comparison.js", "hand_voxels.js",
    "proposals.js", "correction.js", "warp.js", "view_3d.js", "window.js", "layout.js", "pointer.js", "readout.js",
    "picture.js", "view_state.js", "film.js", "links.js", "share.js", "stage.js",
)  # fmt: skip


class Viewer(gr.HTML):
    """A `gr.HTML` whose value is a `Scene`; the page's scripts find it as `medapp.stages[name]`.

    Events: `correct` when the visitor has painted or erased, with `evt.case`, `evt.strokes` and `evt.voxels`, see
    `ui.corrections`; `propose` when they have clicked for a proposal, see `ui.proposals`, whose answer is the property
    `proposals`; `select` when they have moved the crosshair, with `evt.mm` (RAS+), `evt.voxel` and `evt.values`;
    `nowebgl` when the browser cannot draw, with `evt.reason`, so that the page can show the server's pictures instead;
    `link` when the page was opened by a link, see `ui.links`; `save_scene` and `save_document` when the visitor wants
    such a file, with `evt.state`, a `ViewState`, and `evt.with_image`.
    """

    data_model = Scene

    def __init__(self, value: Scene | None = None, *, name: str = "", **rest: Any) -> None:
        """Create the viewer of the tab `name`, as high as what holds it; `rest` are arguments of `gr.HTML`.

        Its controls move into the element "`name`-layers" of the page, if there is one.
        """
        template = (HERE / "viewer.html").read_text("utf-8")
        for placeholder, content in {
            "NAME": escape(name),
            "CDN": escape(json.dumps(niivue_asset.CDN)),
            "INTEGRITY": niivue_asset.INTEGRITY,
        }.items():
            template = template.replace(f"%{placeholder}%", content)
        rest = {
            "html_template": template,
            "css_template": (HERE / "viewer.css").read_text("utf-8"),
            "js_on_load": "\n".join((HERE / name).read_text("utf-8") for name in SCRIPTS),
            "apply_default_css": False,
            "jump": None,
            "proposals": None,
            **rest,
        }
        super().__init__(value, **rest)

    def postprocess(self, value: Scene | None) -> Scene | None:
        """Send a scene as it is."""
        return value

    def preprocess(self, payload: Scene | None) -> Scene | None:
        """Receive a scene as it is."""
        return payload

    def api_info(self) -> dict[str, Any]:
        """Describe the value by its data model."""
        return Component.api_info(self)

    def example_payload(self) -> Any:
        """Return no example."""
        return None

    def example_value(self) -> Any:
        """Return no example."""
        return None


_jumps = count(1)


def move_crosshair(mm: Sequence[float]) -> dict[str, Any]:
    """Return an update for a viewer that only moves its crosshair, to `mm` (RAS+ mm)."""
    return gr.update(jump=[*(float(x) for x in mm), next(_jumps)])


def render_head() -> str:
    """Return the HTML for `launch(head=...)`: the style of the controls, which leave the viewer for the panel.

    A link besides lets browsers fetch NiiVue's script ahead of the first image.

    Fetches the script, for at most three seconds, if it is not in the cache. The viewer also works without the link.
    """
    style = f"<style>{(HERE / 'controls.css').read_text('utf-8')}</style>"
    file = script_file()
    return style + (f'<link rel="prefetch" as="script" href="gradio_api/file={quote(file.path)}">' if file else "")
