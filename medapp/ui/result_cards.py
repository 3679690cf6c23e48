"""Result cards: the HTML of a visitor's last results."""

from collections.abc import Sequence
from typing import NamedTuple

from medapp.result import Table
from medapp.ui.html import TEMPLATES, render_help


class ResultCard(NamedTuple):
    """A kept result: `case` names it, `thumbnail` is a data address; `fits` are (title, name, task) of methods."""

    case: str
    title: str
    headline: str
    thumbnail: str
    is_corrected: bool
    is_shown: bool
    is_beside: bool
    fits: Sequence[tuple[str, str, str]] = ()


def render_history(name: str, cards: Sequence[ResultCard], compared: str) -> str:
    """Return the cards of a tab's results, below them what their scan can be used for, and a comparison as HTML."""
    return TEMPLATES.render_macro("history", name, cards) + compared


def render_beside(sentence: str, measures: Table) -> str:
    """Return a sentence on two results beside each other, or "", and a table of their measures."""
    return (render_help(sentence) if sentence else "") + TEMPLATES.render_macro("beside", measures)
