"""Group: tables, maps, charts and the quality page of all cases that the participant level has run."""

import sys
from pathlib import Path

from plotly.io import to_html

from medapp.card import Card
from medapp.cohorts.atomic_files import write_atomically, write_json, write_text
from medapp.cohorts.bids_study import Selection
from medapp.cohorts.case import Study
from medapp.cohorts.case_record import CaseRecord, read_records
from medapp.cohorts.exam_changes import ABOUT, COLUMNS, find_changes
from medapp.cohorts.frequency_map import FrequencyMap, compute_frequency, draw_frequency
from medapp.cohorts.group_charts import plot_metrics
from medapp.cohorts.group_table import MARKS_FILE, GroupRow, describe_columns, make_rows, read_marks, tabulate
from medapp.cohorts.quality_page import render_quality_page
from medapp.cohorts.stacked_tables import stack_tables
from medapp.cohorts.text_tables import write_tsv
from medapp.errors import InputError
from medapp.io import files
from medapp.presenters.catalogue import get_title
from medapp.presenters.derivative_names import TEMPLATE_NAME
from medapp.rendering import html_page
from medapp.result import NOT_A_DIAGNOSIS

GROUP = "group"  # folder of a dataset


def report_group(study: Study, card: Card, selection: Selection) -> int:
    """Write all files of the group and return 0. Raises InputError without cases, or if nothing can be written."""
    records = [record for record in read_records(study.dataset) if selection.covers(record.entities)]
    if not records:
        raise InputError(f"There are no results in {study.dataset}: run the participant level first.")
    folder = study.dataset / GROUP
    rows = make_rows(records, read_marks(folder / MARKS_FILE))
    try:
        frequency = write_group(rows, study.dataset, folder, card.title)
    except OSError as error:
        raise InputError(f"The group's files could not be written to {folder}: {error.strerror}.") from error
    if frequency and frequency.unread:
        print(f"note: masks that could not be read: {', '.join(frequency.unread)}", file=sys.stderr)
    failed = sum(row.record.status != "done" for row in rows)
    left_out = sum(row.mark == "fail" for row in rows)
    print(f"{len(rows) - failed} cases, {failed} failed, {left_out} marked as fail: {folder}")
    return 0


def write_group(rows: list[GroupRow], dataset: Path, folder: Path, title: str) -> FrequencyMap | None:
    """Write tables, map and pages into `folder`, and return the map. Raises OSError."""
    columns, cells = tabulate(rows)
    write_tsv(folder / "metrics.tsv", columns, cells)
    write_json(folder / "metrics.json", describe_columns(columns, rows))
    failures = [row.record for row in rows if row.record.status != "done"]
    write_tsv(folder / "failures.tsv", ("case", "reason"), [(r.name, r.reason) for r in failures])
    for name, table in stack_tables(rows, dataset).items():
        write_tsv(folder / f"{name}.tsv", table.columns, table.rows)
    changes = find_changes(rows)
    for name in ("changes.tsv", "changes.json"):
        (folder / name).unlink(missing_ok=True)
    if changes:
        write_tsv(folder / "changes.tsv", COLUMNS, [change.cells() for change in changes])
        write_json(folder / "changes.json", ABOUT)
    frequency = compute_frequency(rows, dataset)
    if frequency:
        name = f"space-{TEMPLATE_NAME}_label-lesion_desc-frequency_probseg"
        write_atomically(folder / f"{name}.nii.gz", lambda path: files.write(frequency.share, path))
        text = f"Share of people with a lesion at each voxel, of {frequency.people} people"
        write_json(folder / f"{name}.json", {"Description": text, "People": frequency.people})
    write_text(folder / "charts.html", render_charts(rows, failures, frequency, title))
    write_text(folder / "quality.html", render_quality_page(rows, dataset, f"{title}: quality"))
    return frequency


def render_charts(rows: list[GroupRow], failures: list[CaseRecord], frequency: FrequencyMap | None, title: str) -> str:
    """Return the page of charts, which needs no network."""
    figures = plot_metrics(rows)
    charts = "".join(
        to_html(figure, full_html=False, include_plotlyjs=number == 0, config={"displaylogo": False})
        for number, figure in enumerate(figures)
    )
    picture = ""
    if frequency:
        highest = float(frequency.share.array.max())
        caption = f"Share of people with a lesion, of {frequency.people}; at most {highest:.0%}. Through the maximum."
        picture = html_page.render_picture(draw_frequency(frequency), "The map over the template", caption)
    outliers = [(row.name, ", ".join(map(get_title, row.outliers))) for row in rows if row.outliers]
    failed = [(record.name, record.reason) for record in failures]
    parts = [
        html_page.render_section("Lesion frequency", picture),
        html_page.render_section("Distribution", charts),
        html_page.render_section(
            "Outliers", html_page.render_table(("Case", "Metrics"), outliers, empty="None", kind="cases")
        ),
        html_page.render_section(
            "Failed cases", html_page.render_table(("Case", "Reason"), failed, empty="None", kind="cases")
        ),
    ]
    return html_page.render_page(f"{title}: {len(rows)} cases", parts, notice=NOT_A_DIAGNOSIS)
