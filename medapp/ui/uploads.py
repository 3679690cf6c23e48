"""Uploads: images reach the app by upload alone, never by a web address.

Gradio would fetch any public web address that somebody names in place of a file, all of it into memory, after a name
server chosen by Gradio has been asked for it.
"""

import os
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote, urlsplit

import gradio as gr

from medapp.errors import InputError
from medapp.ui.gradio_compat import FILE_PATH

WEB_ADDRESS_MESSAGE = "Web addresses are not opened here: upload the image itself."


def local_path(path: str) -> str:
    """Return the path of a file on this server that is named by its path or by its address, as MCP clients do.

    Raises InputError for any other web address.
    """
    address = urlsplit(path)
    if address.scheme.lower() not in ("http", "https"):
        return path
    _, is_file, file = unquote(address.path).partition(FILE_PATH)
    if not is_file:
        raise InputError(WEB_ADDRESS_MESSAGE)
    return file


async def resolve_upload(url: str, cache_dir: str = "") -> str:
    """Return the path of an earlier upload from its address here; its owner has been checked by then.

    Takes the place of Gradio's downloads. Raises gr.Error for any other address.
    """
    with suppress(InputError):
        path = Path(local_path(url)).resolve()
        if path.is_file() and path.is_relative_to(Path(os.environ["GRADIO_TEMP_DIR"]).resolve()):
            return str(path)
    raise gr.Error(WEB_ADDRESS_MESSAGE, duration=20, print_exception=False)
