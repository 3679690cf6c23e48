"""The page: a tab for every task that has a method, and how it is launched."""

import os

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

import gradio as gr

from medapp import runtime
from medapp.tasks import segmentation
from medapp.ui import api, style, tab, viewer, words

TASKS = {"segmentation": segmentation}
MAX_UPLOAD = "600mb"


def build() -> gr.Blocks:
    """Lay out and wire the whole page; loads no weights."""
    cards = runtime.cards().values()
    with gr.Blocks(title="medapp", delete_cache=(600, 7200), analytics_enabled=False, fill_width=True) as demo:
        gr.HTML(words.head())
        gr.HTML(words.banner())
        with gr.Tabs():
            for name, task in TASKS.items():
                with gr.Tab(task.TITLE, id=name):
                    tab.build(task, name, [card for card in cards if card.task == name])
        for card in cards:
            api.build(card)
    return demo.queue(max_size=20, default_concurrency_limit=4)


def launch(demo: gr.Blocks, **options: object) -> None:
    """Serve the page, its API and its MCP tools; keeps no history and sends nothing anywhere."""
    demo.launch(
        **{
            "theme": style.theme(),
            "css": style.CSS,
            "head": viewer.head(),
            "max_file_size": MAX_UPLOAD,
            "mcp_server": True,
            "run_history": False,
            "enable_monitoring": False,
            "footer_links": ["api"],
            **options,
        }
    )
