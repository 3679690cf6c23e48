"""Report: a result as one HTML page that needs nothing else, and as a zip of its files with a README."""

import logging
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from medapp.card import Card
from medapp.presenters.base import Picture, Presenter
from medapp.presenters.catalogue import describe_file, get_title, split_metrics
from medapp.rendering import html_page, lesion_charts
from medapp.result import CORRECTED, NOT_A_DIAGNOSIS, WHOLE, Provenance, Result, Table, WrittenFiles

log = logging.getLogger(__name__)
GENERAL_README = (
    "The space of the input image is that of its own voxels and of its own position in the scanner:",
    "open a NIfTI file of this folder over the image that was put in, and they lie on each other.",
)


def render_report(
    result: Result,
    presenter: Presenter,
    title: str,
    about: Mapping[str, str] | None = None,
    *,
    radiological: bool = True,
) -> str:
    """The page: `title` is the method's; `about` what else is to be said of it, for example its licence and its limits.

    It holds no link and loads nothing.
    """
    own, against = split_metrics(result.metrics)
    if presenter.reference is None or not presenter.reference.compared:
        own, against = list(result.metrics), []
    return html_page.render_page(
        title,
        [
            html_page.render_warning(result.warnings),
            html_page.render_section("Metrics", _metrics(result, own)),
            html_page.render_section("Comparison with the reference", _metrics(result, against)),
            html_page.render_section("Notes", html_page.render_list(result.notes) if result.notes else ""),
            html_page.render_section("Pictures", _pictures(presenter.pictures(result, radiological))),
            *(html_page.render_section(name.capitalize(), _table(table)) for name, table in result.tables.items()),
            html_page.render_section("Inputs", _inputs(result, presenter)),
            html_page.render_section("Settings", html_page.render_pairs(result.settings.items())),
            html_page.render_section("Method", html_page.render_pairs((about or {}).items())),
            html_page.render_section(
                "Provenance", html_page.render_pairs(_origin(result.provenance)) if result.provenance else ""
            ),
        ],
        notice=NOT_A_DIAGNOSIS,
    )


class SavedResult(NamedTuple):
    """The files of a result with its report, and a zip of them all."""

    written: WrittenFiles
    files: list[Path]
    archive: Path
    notes: tuple[str, ...]  # on files that could not be made


def save_with_report(
    result: Result,
    presenter: Presenter,
    folder: Path,
    title: str,
    about: Mapping[str, str] | None = None,
    *,
    earlier: WrittenFiles | None = None,
    radiological: bool = True,
) -> SavedResult:
    """Write all that a result has to `folder`, with the report, and a zip of it all with a README.

    Names begin with the method's. What cannot be written or drawn is left out, and the report, the README and
    `result.json` say so. `earlier` files are linked where nothing has changed.
    """
    method = result.provenance.pipeline if result.provenance and result.provenance.pipeline else "medapp"
    written = result.write_files(folder, presenter.files, prefix=f"{method}_", earlier=earlier)
    files, notes = list(written.paths), written.result.notes[len(result.notes) :]
    try:
        page = render_report(written.result, presenter, title, about, radiological=radiological)
    except Exception as error:  # the files are worth more than their report
        log.warning("the report was not drawn: %s", type(error).__name__)
        notes += (f"report.html could not be drawn: this is a fault of ours. {WHOLE}",)
    else:
        files.append(folder / f"{method}_{result.name_part('report')}.html")
        files[-1].write_text(page, encoding="utf-8")
    readme = describe_files(title, method, [file.name for file in files], notes)
    archive = folder / f"{method}{'_corrected' * result.is_corrected}.zip"
    return SavedResult(written, files, pack_files(files, readme, archive), notes)


def describe_method(card: Card) -> dict[str, str]:
    """Return what a report says of the method, by title."""
    return {
        "Trained on": card.trained_on,
        "Scores": card.scores,
        "Limits": card.limits,
        "Licence of the weights": card.licence,
        "Cite": card.cite,
    }


def pack_files(files: Iterable[Path], readme: str, path: Path) -> Path:
    """Write the zip `path` of files, and of folders with the files in them, and of the README."""
    return write_zip(path, [*((file.name, file) for file in files), ("README.txt", readme)])


def write_zip(path: Path, entries: Iterable[tuple[str, Path | str]]) -> Path:
    """Write the zip `path` of names with what they hold: a file, a folder of files, or a text."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries:
            if isinstance(content, str):
                archive.writestr(name, content)
                continue
            for part in sorted(content.iterdir()) if content.is_dir() else [content]:
                inside = f"{name}/{part.name}" if content.is_dir() else name
                archive.write(part, inside, zipfile.ZIP_STORED if part.suffix in (".gz", ".png") else None)
    return path


def describe_files(title: str, method: str, names: Iterable[str], missing: Iterable[str] = ()) -> str:
    """The README of a zip: which file is what, and in which space; `missing` says which are not there, and why."""
    lines = [f"{title} ({method})", NOT_A_DIAGNOSIS, "", "Files"]
    lines += [f"  {name}: {describe_file(name.removeprefix(f'{method}_').removeprefix(CORRECTED))}" for name in names]
    return "\n".join([*lines, *missing, "", *GENERAL_README, ""])


def _metrics(result: Result, keys: Iterable[str]) -> str:
    values = {key: result.metrics[key] for key in keys}
    return html_page.render_pairs(
        (get_title(key), "not defined" if value is None else f"{value} {unit}".rstrip())
        for key, (value, unit) in values.items()
    )


def _table(table: Table) -> str:
    empty = lesion_charts.NO_LESION if "lesion" in table.columns else "None"
    return html_page.render_table(table.columns, table.rows, table.about, empty=empty, kind="numbers")


def _inputs(result: Result, presenter: Presenter) -> str:
    columns = ("Role", "Image", "Voxels", "Voxel size (mm)", "Axes", "Unit")
    rows = []
    for role, volume in presenter.inputs(result).items():
        size, spacing = " × ".join(map(str, volume.shape)), " × ".join(f"{s:.3g}" for s in volume.spacing)
        rows.append((role, volume.name, size, spacing, volume.axis_codes, volume.unit or "arbitrary"))
    about = "Axes: where each voxel axis points, R or L, A (front) or P, S (head) or I."
    return html_page.render_table(columns, rows, about, empty="No image", kind="inputs")


def _origin(origin: Provenance) -> list[tuple[str, object]]:
    pairs = [("Pipeline", origin.pipeline), *((f"Weights, {name}", value) for name, value in origin.weights.items())]
    pairs += [("Device", origin.device), ("Engine", origin.engine), ("Precision", origin.precision)]
    pairs += [("Time", f"{origin.seconds:.1f} s" if origin.seconds else "")]
    pairs += [("Peak memory", f"{origin.peak_memory_mb:.0f} MB" if origin.peak_memory_mb else "")]
    pairs += [(f"Version of {name}", version) for name, version in origin.versions.items()]
    return [(name, value) for name, value in pairs if value]


def _pictures(pictures: Iterable[Picture]) -> str:
    return "\n".join(
        html_page.render_svg(picture.content, picture.caption)
        if isinstance(picture.content, str)
        else html_page.render_picture(picture.content, picture.alt or picture.caption, picture.caption, picture.keys)
        for picture in pictures
    )
