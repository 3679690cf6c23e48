"""Scan offer: the visitor's scan of one method, offered to the method that is chosen next."""

from pathlib import Path

import gradio as gr

from medapp.ui.form import Form
from medapp.ui.own_files import shorten_name, uploaded_paths
from medapp.ui.tab import Tab


class ScanOffer:
    """A button that puts the visitor's own scan into the empty main box of the chosen method."""

    def __init__(self, name: str) -> None:
        """Lay out the button; `name` begins its id."""
        self.button = gr.Button(visible=False, size="sm", elem_id=f"{name}-use-scan")

    def render(self, tab: Tab, data: dict) -> gr.Button:
        """Return the button with the name of the scan, hidden where there is none to offer."""
        paths = find_scan(tab, data)
        if not paths:
            return gr.Button(visible=False)
        name = shorten_name(Path(paths[0]).name) if len(paths) == 1 else f"the same {len(paths)} files"
        return gr.Button(f"Use {name}", visible=True)

    def use(self, tab: Tab, data: dict) -> dict:
        """Return the scan for the main box of the chosen method, by component, and no further offer."""
        paths = find_scan(tab, data)
        filled = {main_box(tab.by_name[data[tab.method]]): paths} if paths else {}
        return filled | {self.button: gr.Button(visible=False)}


def main_box(form: Form) -> gr.File:
    """The box of the first image that a method must have."""
    return form.boxes[next(source.name for source in form.card.inputs if not source.optional)]


def find_scan(tab: Tab, data: dict) -> list[str]:
    """Find the visitor's own files in another method's main box; none if that of the chosen method is filled."""
    if data[main_box(tab.by_name[data[tab.method]])]:
        return []
    return next(filter(None, (uploaded_paths(data[main_box(form)]) for form in tab.by_name.values())), [])
