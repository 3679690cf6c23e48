"""Intake: images come in by upload alone.

Gradio would fetch any public web address for whoever names one in place of a file, all of it into memory, after asking
a name server of its own choice where that is.
"""

import os
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote, urlsplit

import gradio as gr
from gradio import processing_utils

from medapp.errors import InputError
from medapp.ui.security import FILE_PATH

WEB_ADDRESS_MESSAGE = "Web addresses are not opened here: upload the image itself."


def disable_downloads() -> None:
    """Have Gradio fetch nothing for anybody."""
    for name in ("async_ssrf_protected_download", "async_ssrf_protected_get"):
        if not hasattr(processing_utils, name):
            raise AttributeError(f"this version of Gradio fetches by another way than {name}")
        setattr(processing_utils, name, resolve_upload)


def local_path(path: str) -> str:
    """Where a file lies that is named by its path, or by its address here, as programs that speak MCP name it.

    Raises InputError for any other web address.
    """
    address = urlsplit(path)
    if address.scheme.lower() not in ("http", "https"):
        return path
    _, found, place = unquote(address.path).partition(FILE_PATH)
    if not found:
        raise InputError(WEB_ADDRESS_MESSAGE)
    return place


async def resolve_upload(url: str, cache_dir: str = "") -> str:
    """The path of what was uploaded here before, from its address here; whose it is has been asked by then.

    Raises gr.Error for any other address.
    """
    with suppress(InputError):
        path = Path(local_path(url)).resolve()
        if path.is_file() and path.is_relative_to(Path(os.environ["GRADIO_TEMP_DIR"]).resolve()):
            return str(path)
    raise gr.Error(WEB_ADDRESS_MESSAGE, duration=20, print_exception=False)
