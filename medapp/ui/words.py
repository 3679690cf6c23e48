"""Words: the small pieces of HTML on the page. Everything that comes from a file or a user is escaped."""

from collections.abc import Sequence
from dataclasses import replace
from html import escape
from types import ModuleType

import numpy as np

from medapp.card import Card
from medapp.examples import Example
from medapp.imaging.volume import Grid
from medapp.result import NOT_A_DIAGNOSIS, Result
from medapp.ui.session import LIFETIME

NAMES = {
    "volume": "Volume",
    "lesions": "Lesions",
    "left_out": "Smaller ones left out",
    "threshold": "Threshold",
    "dice": "Dice",
    "hd95": "HD95",
    "reference_volume": "Reference volume",
    "volume_difference": "Volume difference",
    "lesion_f1": "Lesion-wise F1",
}


def head() -> str:
    return '<div class="med-head"><h1>medapp</h1><p>Put your scan in, see what published methods make of it.</p></div>'


def banner() -> str:
    minutes = LIFETIME // 60 + 10
    return (
        f'<div class="med-banner" role="note"><strong>{escape(NOT_A_DIAGNOSIS)}</strong> '
        "Uploads and results are seen by you alone and stay on the machine that runs this page, "
        f"which deletes them within {minutes} minutes.</div>"
    )


def about(card: Card) -> str:
    return (
        f'<div class="med-about"><p>{escape(card.about)}</p>'
        "<details><summary>What it was trained on, how good it is, its limits</summary>"
        f"<p><b>Trained on</b> {escape(card.trained_on)}</p><p><b>Scores</b> {escape(card.scores)}</p>"
        f"<p><b>Limits</b> {escape(card.limits)}</p><p><b>Licence of the weights</b> {escape(card.licence)}</p>"
        f"<p><b>Cite</b> {escape(card.cite)}</p></details></div>"
    )


def welcome(task: ModuleType) -> str:
    return (
        f'<div class="med-status"><h2>{escape(task.ABOUT)}</h2>'
        f"<p>Put a scan in and press <b>{escape(task.RUN)}</b>, or click an example.</p></div>"
    )


def headline(sentence: str, notes: Sequence[str]) -> str:
    listed = "".join(f"<li>{escape(note)}</li>" for note in notes)
    more = f"<ul>{listed}</ul>" if listed else ""
    return f'<div class="med-status" role="status"><h2>{escape(sentence)}</h2>{more}</div>'


def asking(sentence: str) -> str:
    return f'<div class="med-status" role="status"><h2>Which one?</h2><p>{escape(sentence)}</p></div>'


def numbers(result: Result) -> str:
    """The metrics, and what the lesion table's values mean."""
    said = {
        NAMES.get(n, n): "not defined" if m.value is None else f"{m.value} {m.unit}" for n, m in result.metrics.items()
    }
    cells = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in said.items())
    abouts = "".join(f"<p>{escape(t.about)}</p>" for t in result.tables.values())
    return f'<dl class="med-numbers">{cells}</dl><div class="med-small">{abouts}</div>'


def origin(result: Result, card: Card) -> str:
    facts = result.facts()
    weights = facts["weights"]
    rows = {
        "Pipeline": f"{card.name}: {card.title}",
        "Weights": f"{weights.get('file', '')} ({weights.get('source', '')})",
        "sha256": weights.get("sha256", ""),
        "Device": f"{facts['device']}, {facts['engine']}, {facts['precision']}",
        "Time": f"{facts['seconds']:.1f} s, peak memory {facts['peak_memory_mb']:.0f} MB",
        "Options": ", ".join(f"{k} = {v}" for k, v in facts["settings"].items()),
        "Versions": ", ".join(f"{k} {v}" for k, v in facts["versions"].items()),
        "Licence of the weights": card.licence,
        "Cite": card.cite,
    }
    body = "".join(f'<tr><th scope="row">{escape(k)}</th><td>{escape(str(v))}</td></tr>' for k, v in rows.items())
    return f'<table class="med-origin">{body}</table>'


def along(grid: Grid, shares: Sequence[float]) -> np.ndarray:
    """(3,) RAS+ millimetres at shares (0 to 1) of the grid's box: right to left, back to front, foot to head."""
    corners = grid.to_mm(np.array(np.meshgrid(*((0, n - 1) for n in grid.shape))).reshape(3, -1).T)
    low, high = corners.min(axis=0), corners.max(axis=0)
    share = np.array([1 - shares[0], shares[1], shares[2]])
    return low + share * (high - low)


def facts(card: Card) -> dict[str, str]:
    """What else a report says of the method."""
    return {
        "Trained on": card.trained_on,
        "Scores": card.scores,
        "Limits": card.limits,
        "Licence of the weights": card.licence,
        "Cite": card.cite,
    }


def noted(result: Result, example: Example) -> Result:
    """The result of an example, with where the example comes from among its notes."""
    kind = "Synthetic example." if example.synthetic else "Example."
    about = example.about.removeprefix("Synthetic. ")
    return replace(
        result, notes=(f"{kind} {about} Source: {example.source}. Licence: {example.licence}.", *result.notes)
    )
