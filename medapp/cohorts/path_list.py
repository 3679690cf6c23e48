"""Path list: the cases of people whose scans are not in BIDS, from a CSV of paths or a folder of images."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

from medapp.card import VOLUME_FILES, Card, Input
from medapp.cohorts.bids_study import Selection, find_main_input, natural_order
from medapp.cohorts.case import Case
from medapp.cohorts.text_tables import read_table
from medapp.errors import InputError
from medapp.presenters.derivative_names import TEMPLATE_NAME, clean_label, describe_input

DATA_FILES = (".raw", ".zraw", ".img")  # which a header beside them names
DICOM_FILES = (".dcm", ".ima")  # a folder of these is one image


def read_csv_cases(path: Path, card: Card, selection: Selection) -> list[Case]:
    """Return the cases of a CSV: a row each, a column for every input, paths relative to the CSV.

    `participant_id` and `session_id` name people and exams; without them people are numbered. Where a person has
    several rows without an exam, or with the same, they count as runs. Raises InputError.
    """
    table = read_table(path)
    if table is None:
        raise InputError(f"{path.name} could not be read as a CSV.")
    rows = table.rows
    required = [source.name for source in _list_required(card)]
    columns = list(rows[0]) if rows else []
    if missing := [name for name in required if name not in columns]:
        names = ", ".join(source.name for source in card.inputs)
        raise InputError(
            f"{path.name} has no column {', '.join(missing)}. {card.name} takes the columns {names}, and "
            "participant_id and session_id to name people and exams."
        )
    cases = []
    for number, row in enumerate(rows, 1):
        given = {s.name: (row.get(s.name) or "").strip() for s in card.inputs}
        images = {name: path.parent / text for name, text in given.items() if text}
        entities = {"sub": clean_label(row.get("participant_id") or "", "sub") or f"{number:04d}"}
        if exam := clean_label(row.get("session_id") or "", "ses"):
            entities["ses"] = exam
        gone = [name for name in required if name not in images] + [n for n, p in images.items() if not p.exists()]
        missing_text = f"no file for {', '.join(dict.fromkeys(gone))}" if gone else ""
        cases.append(_make_case(entities, images, card, missing_text))
    return _select(_number_runs(cases), selection, path)


def read_folder_cases(folder: Path, card: Card, selection: Selection) -> list[Case]:
    """Return a case for every image under a folder, named after its path; a folder of DICOM files is one image.

    Raises InputError for a method that takes several images, and where there is none.
    """
    required = _list_required(card)
    if len(required) > 1:
        raise InputError(f"{card.name} takes several images of a person: give a CSV with a column for each.")
    images: set[Path] = set()
    for path in folder.rglob("*"):
        name = path.name.lower()
        if name.startswith(".") or not path.is_file():
            continue
        if name.endswith(DICOM_FILES):
            images.add(path.parent)
        elif name.endswith(VOLUME_FILES) and not name.endswith(DATA_FILES):
            images.add(path)
    cases = []
    for path in sorted(images, key=lambda p: natural_order(str(p))):
        place = str(path.relative_to(folder)) if path != folder else folder.name
        stem = place if path.is_dir() else _remove_suffix(place)
        cases.append(_make_case({"sub": clean_label(stem) or "image"}, {required[0].name: path}, card))
    return _select(_number_runs(cases), selection, folder)


def _list_required(card: Card) -> list[Input]:
    """The inputs that each person must have an image for."""
    return [source for source in card.inputs if not source.optional and source.name != "fixed"]


def _make_case(entities: dict[str, str], images: dict[str, Path], card: Card, missing: str = "") -> Case:
    """The case of a row or an image."""
    main = find_main_input(card)
    datatype, suffix = describe_input(main)
    if main.name in images:  # the scan that the case is named after comes first
        images = {main.name: images[main.name], **images}
    fixed = "" if not any(s.name == "fixed" for s in card.inputs) else "fixed" if "fixed" in images else TEMPLATE_NAME
    return Case(entities, datatype, suffix, images, fixed, missing)


def _number_runs(cases: list[Case]) -> list[Case]:
    """The cases, those of one name numbered as runs."""
    counts = Counter(case.name for case in cases)
    seen: Counter[str] = Counter()
    numbered = []
    for case in cases:
        if counts[case.name] > 1:
            seen[case.name] += 1
            case = replace(case, entities={**case.entities, "run": str(seen[case.name])})
        numbered.append(case)
    return numbered


def _select(cases: list[Case], selection: Selection, place: Path) -> list[Case]:
    """The cases of the people and exams asked for. Raises OptionError or InputError where none is left."""
    selection.require_people((case.entities["sub"] for case in cases), place)
    wanted = [case for case in cases if selection.covers(case.entities)]
    if not any(not case.missing for case in wanted):
        raise InputError(f"No image was found in {place}.")
    return wanted


def _remove_suffix(name: str) -> str:
    """A file's name without its ending, both of them for .nii.gz."""
    ending = max((e for e in VOLUME_FILES if name.lower().endswith(e)), key=len)
    return name[: -len(ending)]
