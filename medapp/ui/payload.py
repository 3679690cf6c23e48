"""Payload: the values that a request to an event, an endpoint or a tool may hold, by their components.

Values of another kind are refused before anything is computed from them.
"""

import math
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import unquote

import gradio as gr
import numpy as np
from pydantic import ValidationError

from medapp.errors import InputError
from medapp.result import Result
from medapp.ui import workspace
from medapp.ui.caller import Caller
from medapp.ui.gradio_compat import FILE_PATH, FileData
from medapp.ui.ownership import find_values, ownership
from medapp.ui.session import parse_position
from medapp.ui.uploads import local_path

MAX_DEPTH = 16  # of nested lists and dictionaries
MAX_TEXT_LENGTH = 100_000  # characters of a text box
MAX_NUMBER = 1e9  # larger than any number on the page


class MalformedRequestError(InputError):
    """The request is not one that the page, its API or its tools send."""

    def __init__(self, what: str) -> None:
        """Complete the sentence "The request is malformed: ..."."""
        super().__init__(f"The request is malformed: {what}.")


def check_values(fn: Any, blocks: Mapping[int, Any], data: Sequence[Any], event_data: Any = None) -> None:
    """Raise MalformedRequestError unless the values fit the inputs of a function of the page with these `blocks`."""
    check_nesting((data, event_data))
    if fn.fn is None:
        raise MalformedRequestError("this event has nothing to compute")
    if len(data) != len(fn.inputs):
        raise MalformedRequestError(f"{len(fn.inputs)} values are needed, and {len(data)} were sent")
    for number, (block, value) in enumerate(zip(fn.inputs, data, strict=True), 1):
        if not block.stateful and not _is_valid_value(block, value):
            kind = type(block).__name__
            label = getattr(block, "label", None) or kind
            raise MalformedRequestError(f"value {number}, “{label}”, is not what a {kind} holds")
    if fn.collects_event_data:
        selected = [blocks[number] for number, event in fn.targets if event == "select" and number in blocks]
        if not (isinstance(event_data, dict) and all(_is_valid_selection(block, event_data) for block in selected)):
            raise MalformedRequestError("it does not say what was selected")


def row_position(find: Callable[[Result, list], np.ndarray], result: Result, row: list) -> np.ndarray:
    """Return the (3,) RAS+ mm that `find` gives for a row of a table.

    Raises MalformedRequestError if the table has no such row.
    """
    try:
        return parse_position(find(result, row))
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        raise MalformedRequestError("there is no such row in the table") from error


def check_nesting(data: Any) -> None:
    """Raise MalformedRequestError if data are nested too deep, or hold numbers that JSON does not know."""
    level, depth = [data], 0
    while level := [
        inner
        for outer in level
        if isinstance(outer, dict | list | tuple)
        for inner in (outer.values() if isinstance(outer, dict) else outer)
    ]:
        depth += 1
        if depth > MAX_DEPTH:
            raise MalformedRequestError("it is nested too deep")
        if not all(math.isfinite(each) for each in level if isinstance(each, float)):
            raise MalformedRequestError("it holds a number that is not finite")


def check_files(data: Any, caller: Caller, session_hash: str | None = None) -> None:
    """Raise InputError unless every file that is named in the data belongs to the caller.

    Files are the values of `path`; other text may not point into the app's folders either.
    """
    files = list(find_values(data))
    for path in files:
        if not isinstance(path, str):
            raise MalformedRequestError("a file's path is no text")
        ownership.check(local_path(path), caller, session_hash)
    for text in _find_texts(data):
        path = unquote(text.partition(FILE_PATH)[2]) or text  # of an address here
        if text not in files and _is_in_home_folder(path):
            ownership.check(path, caller, session_hash)


def _is_valid_value(block: Any, value: Any) -> bool:
    if isinstance(block, gr.Slider):
        return _is_number(value)
    if isinstance(block, gr.Checkbox):
        return isinstance(value, bool)
    if value is None and isinstance(block, gr.Radio | gr.Dropdown | gr.Textbox):
        return block.value is None  # as long as nothing is chosen
    if isinstance(block, gr.Radio | gr.Dropdown):
        return isinstance(value, str) or _is_number(value)
    if isinstance(block, gr.Textbox):
        return isinstance(value, str) and len(value) <= MAX_TEXT_LENGTH
    if isinstance(block, gr.File):
        many = isinstance(value, list) and block.file_count != "single"
        return value is None or all(_is_file(each) for each in (value if many else [value]))
    return True


def _is_valid_selection(block: Any, data: dict) -> bool:
    """Whether the data tell where in a component something was selected."""
    index, has_value = data.get("index"), "value" in data
    if isinstance(block, gr.Gallery):
        return has_value and type(index) is int and 0 <= index < len(block.value or ())
    if isinstance(block, gr.Image | gr.Dataframe):
        is_pair = isinstance(index, list) and len(index) == 2 and all(map(_is_number, index))
        return has_value and is_pair and (isinstance(block, gr.Image) or isinstance(data.get("row_value"), list))
    return True


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and -MAX_NUMBER < value < MAX_NUMBER


def _is_file(value: Any) -> bool:
    if not isinstance(value, dict) or not isinstance(value.get("meta"), dict):
        return False
    try:
        FileData.model_validate(value, context={"validate_meta": True})
    except ValidationError:
        return False
    return True


def _find_texts(data: Any) -> list[str]:
    if isinstance(data, str):
        return [data]
    inner = data.values() if isinstance(data, dict) else data if isinstance(data, list | tuple) else ()
    return [text for each in inner for text in _find_texts(each)]


def _is_in_home_folder(text: str) -> bool:
    """Whether a text is or contains a path into the app's folders."""
    home = str(workspace.home_folder())
    if home in text:
        return True
    return os.sep in text and len(text) < 4096 and "\0" not in text and os.path.realpath(text).startswith(home + os.sep)
