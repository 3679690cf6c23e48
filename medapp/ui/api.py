"""API: a named endpoint of every method for `gradio_client`, from which Gradio makes an MCP tool, too."""

import inspect
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr

from medapp.card import Card
from medapp.errors import InputError
from medapp.imaging.volume import Volume
from medapp.io import files, sandbox
from medapp.options import renaming_note
from medapp.presenters import get_presenter
from medapp.presenters.comparison import prepare_comparison
from medapp.presenters.given_mask import MASK_HELP, check_given_mask, lay_given_mask
from medapp.presenters.raters import RATERS_HELP, check_rater, name_rater
from medapp.serving import runtime
from medapp.ui import queue
from medapp.ui.error_messages import report_errors
from medapp.ui.events import GPU
from medapp.ui.form import create_component
from medapp.ui.visitors import visitors
from medapp.ui.workspace import new_folder

BY_VOXELS = "reference_by_voxels"


def add_endpoint(card: Card) -> None:
    """Add the endpoint `/<card.name>`, from files and options to facts and files, to the current `gr.Blocks`."""
    sources = sorted(card.inputs, key=lambda source: source.optional)
    presenter = get_presenter(card)
    colour = any(source.colour for source in card.inputs)
    former = {old: part.name for part in (*sources, *card.options) for old in part.former}
    mask, raters = (["mask"], ["raters"]) if presenter.mask_role else ([], [])
    names = [*(s.name for s in sources), *(o.name for o in card.options), "reference", "series", BY_VOXELS]
    names += [*mask, *former, *raters]

    @report_errors
    def call(*values: Any) -> tuple[dict, list[str]]:
        visitors.check_space()
        arguments = dict(zip(names, values, strict=True))
        notes = _use_present_names(arguments, former)
        series = card.parse_series(str(arguments["series"] or "").replace(",", " ").split())
        volumes = [
            _read_volume(path, source.name, series, name=source.title, colour=source.colour, labels=source.labels)
            if (path := arguments[source.name])
            else None
            for source in card.inputs
        ]
        how = {"name": "reference", "colour": colour, "labels": presenter.has_label_reference}
        comparison = prepare_comparison(
            card,
            card.name_inputs(volumes),
            lambda: arguments["reference"] and _read_volume(arguments["reference"], "reference", series, **how),
            by_voxels=bool(arguments[BY_VOXELS]),
        )
        given_mask = None
        if mask and arguments["mask"]:
            read = _read_volume(arguments["mask"], "mask", series, name="mask", labels=True)
            given_mask = check_given_mask(read, card.name_inputs(volumes))
        others = [
            check_rater(
                _read_volume(path, "rater", series, name=name_rater(path), labels=True), card.name_inputs(volumes)
            )
            for path in (arguments["raters"] if raters else None) or ()
        ]
        options = {o.name: arguments[o.name] for o in card.options}
        result = runtime.run(card.name, *volumes, progress=lambda fraction, stage: queue.check_abandoned(), **options)
        if given_mask is not None:
            result = lay_given_mask(card, result, given_mask)
        if comparison.wanted:
            result, _ = comparison.apply(presenter, result, result.settings)
        if others:
            result = presenter.rate(result, others, comparison.reference)
        result = replace(result, notes=(*result.notes, *notes))
        written = result.write_files(new_folder(), presenter.files)
        return written.result.facts(), [_zip_folder(path) for path in written.paths]

    required = {s.name for s in sources if not (s.optional or s.former)}
    kind, empty = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.empty
    parameters = [inspect.Parameter(n, kind, default=empty if n in required else None) for n in names]
    endpoint: Any = call  # Gradio reads names and description from the function
    endpoint.__signature__, endpoint.__name__, endpoint.__doc__ = (
        inspect.Signature(parameters),
        card.name,
        _describe_endpoint(card),
    )
    with gr.Group(visible=False):
        boxes = [gr.File(label=s.title) for s in sources]
        controls = [create_component(option) for option in card.options]
        reference_box = gr.File(label="Reference")
        series_box = gr.Textbox(label="Series")
        by_voxels = gr.Checkbox(False)
        mask_boxes = [gr.File(label="Mask") for _ in mask]
        former_boxes = [gr.File(label=old) for s in sources for old in s.former]
        former_controls = [_create_former_option(old) for option in card.options for old in option.former]
        rater_boxes = [gr.File(label="Raters", file_count="multiple") for _ in raters]
        facts, files_box = gr.JSON(), gr.File(file_count="multiple")
        button = gr.Button()
    for name in (card.name, *card.former):
        button.click(
            endpoint,
            [
                *boxes,
                *controls,
                reference_box,
                series_box,
                by_voxels,
                *mask_boxes,
                *former_boxes,
                *former_controls,
                *rater_boxes,
            ],
            [facts, files_box],
            api_name=name,
            api_description=_describe_endpoint(card),
            **GPU,
        )


def _create_former_option(name: str) -> gr.JSON:
    """Create a component for the value of an option under a former name; None if it is not used."""
    component = gr.JSON(None, label=name)
    component.api_info = dict  # any value; Gradio's own answer is no valid schema for MCP
    return component


def _use_present_names(arguments: dict[str, Any], former: Mapping[str, str]) -> list[str]:
    """Move every value of `arguments` under a former name to the present one, in place; return a note on each."""
    values = {old: arguments.pop(old) for old in former}
    used = {old: value for old, value in values.items() if value not in (None, "")}
    arguments |= {former[old]: value for old, value in used.items()}
    return [renaming_note(old, former[old]) for old in used]


def _read_volume(path: str, role: str, series: dict[str, str], **options: Any) -> Volume:
    """Read the image of an input. Raises InputError, which lists the series if there are several."""
    try:
        return sandbox.read([path], series.get(role), **options)
    except files.SeveralSeriesError as several:
        raise InputError(f"{several} Choose one by the parameter series, as in {role}=2.") from several


def _zip_folder(path: Path) -> str:
    """Return the path; of a folder, that of a zip with its files."""
    return shutil.make_archive(str(path), "zip", path) if path.is_dir() else str(path)


def _describe_endpoint(card: Card) -> str:
    """Describe the endpoint to MCP clients and readers of the API page, in the form of a docstring."""
    presenter = get_presenter(card)
    lines = [card.about, "For research and demonstration, never a diagnosis.", "", "Args:"]
    kinds = (
        "one file: NIfTI, NRRD, MHA, MGZ, PNG, TIFF, DICOM, or a zip of a DICOM series or of a header and its voxels"
    )
    lines += [
        f"    {s.name}: {s.title}, {kinds}.{' Optional.' if s.optional else ''} {s.about}"
        for s in sorted(card.inputs, key=lambda s: s.optional)
    ]
    lines += [f"    {o.name}: {o.title}. {o.about} Default {o.default}." for o in card.options]
    lines += [
        f"    reference: {presenter.reference.help if presenter.reference else 'not used by this method'}. Optional.",
        f"    series: Which series of a DICOM zip that holds several, as in {card.inputs[0].name}=2: its number in "
        "the list that the refusal gives, or its uid. Optional.",
        f"    {BY_VOXELS}: lay the reference's voxels on the image's, for one whose header is lost. Default False.",
    ]
    if presenter.mask_role:
        lines.append(f"    mask: {MASK_HELP}, as a file. Optional.")
        lines.append(f"    raters: {RATERS_HELP}. Optional.")
    parts = (*card.inputs, *card.options)
    lines += [f"    {old}: former name of {part.name}. Optional." for part in parts for old in part.former]
    lines += [
        "",
        "Returns:",
        f"    The facts (metrics, tables, provenance) as JSON, and the files: {', '.join(presenter.files)}, tables.",
    ]
    return "\n".join(lines)
