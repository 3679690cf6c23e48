"""Metric table: metrics before and after beside each other, with their meaning, as HTML."""

from medapp.result import Result, Table
from medapp.ui import html

MAX_REGIONS = 10  # of those that two sets of prompts move the furthest apart
REGISTRATION_METRICS = (
    "dice",
    "ncc",
    "tre",
    "tre_max",
    "displacement_mean",
    "displacement_max",
    "folding",
    "sdlogj",
    "sdlogj_learn2reg",
    "bending_energy",
    "inverse_residual",
    "inverse_residual_max",
    "prompts_network",
    "prompts",
    "boundary_jump",
)


def render_registration_metrics(result: Result) -> str:
    """Return what words have done, the metrics of the affine transform and of the result, and what the values mean."""
    content = ""
    if "words" in result.tables:
        content += html.render_understanding(result.tables["words"], ())
    if "prompts" in result.tables:
        content += render_prompt_table(result.tables["prompts"])
    if "similarity" in result.tables:
        content += render_similarity(result.tables["similarity"])
    content += html.render_metric_comparison(result, REGISTRATION_METRICS, "Affine only", "Result")
    return content + html.render_table_help(result)


def render_similarity(table: Table) -> str:
    """Return bars of how near the words of each changed prompt are to regions."""
    groups: dict[str, list[tuple[str, float]]] = {}
    for prompt, region, cosine in table.rows:
        groups.setdefault(prompt, []).append((region, cosine))
    return html.render_bars(groups, "Similarity of the words")


def render_prompt_table(table: Table) -> str:
    """Return the regions that two sets of prompts move the furthest apart."""
    rows = sorted(table.rows, key=lambda row: -float(row[-1]))[:MAX_REGIONS]
    return html.render_comparison(table.columns, rows)
