"""BIDS study: which scans a study has, and the cases that a method finds in it."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from medapp.card import Card, Input
from medapp.cohorts.case import Case
from medapp.errors import InputError, OptionError
from medapp.imaging.scan_kinds import T1, T1_CONTRAST
from medapp.presenters.derivative_names import KINDS, SUFFIXES, TEMPLATE_NAME

IMAGE_EXTENSIONS = (".nii.gz", ".nii")
NOT_RAW = ("derivatives", "sourcedata", "code")  # folders at the root of a study
DERIVED = ("space", "desc")  # entities of processed images, which are taken only where there are no others


class Scan(NamedTuple):
    """An image of a study: its file, entities, the folder that it lies in (datatype), suffix and kind."""

    path: Path
    entities: Mapping[str, str]
    datatype: str
    suffix: str
    kind: str


@dataclass(frozen=True)
class Selection:
    """Which scans are wanted: labels of people and exams, all if empty, and values of entities by input.

    `filters` maps an input, or "" for all, to entities and their values; "none" stands for a scan without the entity.
    `fixed` is the person of the fixed image of a registration, or "template".
    """

    participants: Sequence[str] = ()
    sessions: Sequence[str] = ()
    filters: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    fixed: str = "template"
    longitudinal: bool = False

    def covers(self, entities: Mapping[str, str]) -> bool:
        """Whether these are entities of a person and an exam that are asked for."""
        return (not self.participants or entities["sub"] in self.participants) and (
            not self.sessions or entities.get("ses", "") in self.sessions
        )

    def require_people(self, known: Iterable[str], place: Path) -> None:
        """Raise OptionError for a person who is asked for and not among those known."""
        if unknown := [label for label in self.participants if label not in set(known)]:
            raise OptionError(f"There is no sub-{', sub-'.join(unknown)} in {place.name}.")

    def wants(self, scan: Scan, source: Input) -> bool:
        """Whether a scan has the values of entities that are asked for as that input."""
        wanted = {**self.filters.get("", {}), **self.filters.get(source.name, {})}
        return all(_same(scan.entities.get(key, "none"), value) for key, value in wanted.items())

    def names(self, source: Input, entity: str) -> bool:
        """Whether a value of that entity is asked for."""
        return entity in self.filters.get("", {}) or entity in self.filters.get(source.name, {})


def parse_filters(texts: Iterable[str], card: Card) -> dict[str, dict[str, str]]:
    """Return input, or "", to entity to value, of texts like "acq=3d" and "t1.acq=3d". Raises OptionError."""
    filters: dict[str, dict[str, str]] = {}
    names = [source.name for source in card.inputs]
    for text in texts:
        match = re.fullmatch(r"(?:(\w+)\.)?([a-z]+)[=-]([0-9A-Za-z+]+)", text.strip())
        if not match or (match[1] and match[1] not in names):
            raise OptionError(
                f"--filter wants ENTITY=VALUE or INPUT.ENTITY=VALUE, such as acq=3d, not {text!r}; {card.name} has the "
                f"inputs {', '.join(names)}."
            )
        filters.setdefault(match[1] or "", {})[match[2]] = match[3]
    return filters


def find_cases(study: Path, card: Card, selection: Selection) -> list[Case]:
    """Return the cases of a BIDS study, a person's in the order of their exams.

    The scan that a case is named after is of the best kind that its exam has for the method's first required input (of
    a registration, the moving image); several runs are several cases. Other inputs get the scan of the same exam that
    shares most entities with it. A person or an exam without such a scan gives a case that says what is missing. Raises
    InputError where nobody is left, OptionError for a person who is not in the study.
    """
    main = find_main_input(card)
    if not main.kinds:
        raise InputError(f"{card.name} takes any image, so BIDS does not tell which: give a CSV of paths or a folder.")
    people = sorted((p.name.removeprefix("sub-") for p in study.glob("sub-*") if p.is_dir()), key=natural_order)
    selection.require_people(people, study)
    scans = list_scans(study)
    scans_by_person: dict[str, list[Scan]] = {}
    for scan in scans:
        scans_by_person.setdefault(scan.entities["sub"], []).append(scan)
    fixed = _find_fixed(scans, card, selection)
    cases: list[Case] = []
    for person in people:
        own = scans_by_person.get(person, [])
        folders = sorted(p.name.removeprefix("ses-") for p in (study / f"sub-{person}").glob("ses-*"))
        exams = sorted({*folders, *(scan.entities.get("ses", "") for scan in own)}, key=natural_order) or [""]
        earlier: list[Scan] = []
        for exam in exams:
            entities = {"sub": person, **({"ses": exam} if exam else {})}
            if not selection.covers(entities):
                continue
            exam_scans = [scan for scan in own if scan.entities.get("ses", "") == exam]
            found = _choose(exam_scans, main, selection)
            for scan in found:
                if fixed is None or scan.path != fixed.path:
                    cases.append(_make_case(scan, exam_scans, earlier, card, selection, fixed))
            if not found:
                cases.append(Case(entities, missing=f"no {describe_kinds(main)} was found"))
            earlier = found or earlier
    if not any(not case.missing for case in cases):
        raise InputError(f"No {describe_kinds(main)} of the people, exams and filters asked for was found in {study}.")
    return cases


def find_main_input(card: Card) -> Input:
    """Return the input that a case is named after: the moving image of a registration, else the first required one."""
    required = [source for source in card.inputs if not source.optional]
    return next((source for source in required if source.name == "moving"), required[0])


def list_scans(study: Path) -> list[Scan]:
    """List the images of people in a study, but not those of its derivatives, in the order of their names."""
    from ancpbids import BIDSLayout, DatasetOptions

    layout = BIDSLayout(str(study), DatasetOptions(ignore_pickle_file=True))  # a pickle may hold any code
    artifacts: list[Any] = layout.get()
    scans = []
    for artifact in artifacts:
        place = Path(artifact.get_relative_path())
        extension = next((e for e in IMAGE_EXTENSIONS if place.name.endswith(e)), "")
        entities = dict(re.findall(r"([a-z]+)-([0-9A-Za-z+]+)_", place.name))
        if not extension or place.parts[0] in NOT_RAW or "sub" not in entities:
            continue
        suffix = place.name.removesuffix(extension).rpartition("_")[2]
        kind = KINDS.get(suffix, "")
        if kind == T1 and "ce" in entities:
            kind = T1_CONTRAST
        if kind and entities.get("part", "mag") == "mag":
            scans.append(Scan(study / place, entities, place.parent.name, suffix, kind))
    return sorted(scans, key=lambda scan: natural_order(str(scan.path)))


def describe_kinds(source: Input) -> str:
    """What a study would have to have for an input, such as "T1w or T2w"."""
    return " or ".join(dict.fromkeys(SUFFIXES[kind] for kind in source.kinds))


def natural_order(text: str) -> list[tuple[int, int, str]]:
    """A key that sorts "2" before "10"."""
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.findall(r"\d+|\D+", text)]


def _same(value: str, wanted: str) -> bool:
    """Whether two values are the same; numbers may have zeros before them."""
    return value == wanted or (value.isdigit() and wanted.isdigit() and int(value) == int(wanted))


def _choose(scans: Sequence[Scan], source: Input, selection: Selection) -> list[Scan]:
    """The scans of the first kind that there is; processed ones only where there are no others, or by a filter."""
    for kind in source.kinds:
        fitting = [scan for scan in scans if scan.kind == kind and selection.wants(scan, source)]
        for entity in DERIVED:
            if not selection.names(source, entity):
                fitting = [scan for scan in fitting if entity not in scan.entities] or fitting
        if fitting:
            return fitting
    return []


def _find_fixed(scans: Sequence[Scan], card: Card, selection: Selection) -> Scan | None:
    """The scan that others are registered to, None for the template, or if nothing is registered."""
    source = next((source for source in card.inputs if source.name == "fixed"), None)
    if source is None or selection.fixed == "template":
        return None
    wanted = dict(re.findall(r"(sub|ses)-([0-9A-Za-z+]+)", selection.fixed)) or {"sub": selection.fixed}
    own = [s for s in scans if all(s.entities.get(key) == value for key, value in wanted.items())]
    found = _choose(own, source, selection)
    if not found:
        raise OptionError(f"--fixed {selection.fixed}: no {describe_kinds(source)} of that person was found.")
    return found[0]


def _make_case(
    scan: Scan,
    exam: Sequence[Scan],
    earlier: Sequence[Scan],
    card: Card,
    selection: Selection,
    fixed: Scan | None,
) -> Case:
    """The case of one main scan."""
    main = find_main_input(card)
    images, onto = {main.name: scan.path}, ""
    for source in card.inputs:
        if source.name == "fixed":
            onto = TEMPLATE_NAME if fixed is None else join_label(fixed.entities)
            if fixed is not None:
                images["fixed"] = fixed.path
        elif source.name == "baseline":
            if selection.longitudinal and earlier:
                images["baseline"] = _closest(earlier, scan).path
        elif source.name != main.name and source.kinds:
            others = [other for other in _choose(exam, source, selection) if other.path != scan.path]
            if others:
                images[source.name] = _closest(others, scan).path
    return Case(scan.entities, scan.datatype, scan.suffix, images, fixed=onto)


def join_label(entities: Mapping[str, str]) -> str:
    """A label for the space of a person's scan: letters and digits alone, such as "sub01ses2"."""
    return "".join(f"{key}{entities[key]}" for key in ("sub", "ses") if key in entities)


def _closest(scans: Sequence[Scan], to: Scan) -> Scan:
    """The scan that shares most entities with another; of several, the first."""
    return max(scans, key=lambda scan: len(scan.entities.items() & to.entities.items()))
