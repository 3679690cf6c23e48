"""Measures: the figures of a registration as a table, each with how it is to be read."""

from collections.abc import Sequence
from html import escape

from medapp.result import Result, Table

MOST = 10  # regions, of those that two sets of words move apart

READ = (
    ("dice", "Dice, mean over the regions", "overlap of the regions; 1 is full"),
    ("ncc", "Correlation", "how alike the images are in the brain; 1 is the same but for brightness and contrast"),
    ("tre", "Error at the landmarks, mean (TRE)", "how far from its partner a landmark comes to lie"),
    ("tre_max", "Error at the landmarks, largest", ""),
    ("displacement_mean", "Displacement, mean", "how far points go after the affine"),
    ("displacement_max", "Displacement, largest", ""),
    ("folding", "Folding", "brain voxels that turn inside out, on the raw determinant; 0 is right"),
    ("sdlogj", "SDlogJ", "how unevenly volume changes; lower is smoother"),
    ("sdlogj_learn2reg", "SDlogJ as Learn2Reg counts it", "to compare with its tables"),
    ("bending_energy", "Bending energy", "how curved the field is; lower is smoother"),
    ("inverse_residual", "Inverse residual, mean", "by how much a point that goes there and back misses itself"),
    ("inverse_residual_max", "Inverse residual, largest", ""),
    (
        "prompts_network",
        "Prompts A to B, network",
        "how far the network's fields under the two sets of words part, mean",
    ),
    ("prompts", "Prompts A to B, result", "the same after refinement, which knows no words"),
    ("boundary_jump", "Jump between regions, mean", "0 where the field runs on evenly from region to region"),
)


def measures(result: Result) -> str:
    """The figures, before and after beside each other where there are both, and what the tables' values mean."""
    values = {name: metric for name, metric in result.metrics.items() if metric.value is not None}
    rows = ""
    for name, title, read in READ:
        if name not in values:
            continue
        before = values.get(f"{name}_before")
        cells = [_said(before.value) if before else "", _said(values[name].value), values[name].unit, read]
        line = "".join(f"<td>{escape(cell)}</td>" for cell in cells)
        rows += f'<tr><th scope="row">{escape(title)}</th>{line}</tr>'
    head = "".join(f'<th scope="col">{c}</th>' for c in ("Figure", "Affine alone", "Result", "Unit", "Read it as"))
    table = f'<table class="med-figures"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>' if rows else ""
    table += parted(result.tables["prompts"]) if "prompts" in result.tables else ""
    abouts = "".join(f"<p>{escape(t.about)}</p>" for t in result.tables.values() if t.about)
    return f'{table}<div class="med-small">{abouts}</div>'


def parted(words: Table) -> str:
    """The regions that two sets of words move the furthest apart."""
    rows = sorted(words.rows, key=lambda row: -float(row[1]))[:MOST]
    head = "".join(f'<th scope="col">{escape(column)}</th>' for column in words.columns)
    body = "".join(
        f'<tr><th scope="row">{escape(name)}</th>{"".join(f"<td>{_said(v)}</td>" for v in values)}</tr>'
        for name, *values in rows
    )
    return f'<table class="med-figures"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def reading(rows: Sequence[tuple[str, str]]) -> str:
    """What is known at a point, in a line; without any, what to do."""
    if not rows:
        return '<p class="med-small">Click in the picture to read the field there.</p>'
    cells = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in rows)
    return f'<dl class="med-numbers" role="status">{cells}</dl>'


def _said(value: float | int | None) -> str:
    return "" if value is None else f"{value:.4g}"
