"""Case record: what became of a case. It is written last, so that a case with a good record is whole."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import medapp
from medapp.cohorts.atomic_files import write_json
from medapp.cohorts.case import Case, Study

RECORDS = "cases"  # folder of a dataset


@dataclass(frozen=True)
class CaseRecord:
    """What became of a case: `done` or `failed`, with the reason; its files and their sizes; metrics and provenance.

    `fingerprint` changes with images, settings, weights and version; `picture` is the file of the quality page.
    """

    name: str
    entities: Mapping[str, str]
    status: str
    reason: str = ""
    fingerprint: str = ""
    files: Mapping[str, int] = field(default_factory=dict)
    picture: str = ""
    template_mask: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)

    def write(self, dataset: Path) -> None:
        """Write the record into a dataset."""
        write_json(locate_record(dataset, self.name), asdict(self))

    def is_whole(self, dataset: Path) -> bool:
        """Whether the case is done and each of its files has the size that it had."""
        return self.status == "done" and all(_size(dataset / name) == size for name, size in self.files.items())


def locate_record(dataset: Path, name: str) -> Path:
    """The file of a case's record."""
    return dataset / RECORDS / f"{name}.json"


def read_record(dataset: Path, name: str) -> CaseRecord | None:
    """Read the record of a case; None where there is none that can be read."""
    try:
        return CaseRecord(**json.loads(locate_record(dataset, name).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def read_records(dataset: Path) -> list[CaseRecord]:
    """Read all records of a dataset, in the order of their names."""
    names = sorted(path.stem for path in (dataset / RECORDS).glob("*.json") if not path.name.startswith("."))
    return [record for name in names if (record := read_record(dataset, name))]


def compute_fingerprint(study: Study, case: Case) -> str:
    """Return a digest of all that decides the result of a case: its images by path, size and time, and the study's."""
    images = {name: (str(path), *_stamp(path)) for name, path in sorted(case.images.items())}
    what = [study.method, medapp.__version__, dict(study.settings), dict(study.weights), images, case.fixed]
    return hashlib.sha256(json.dumps(what, sort_keys=True, default=str).encode()).hexdigest()


def is_done(study: Study, case: Case) -> bool:
    """Whether a case has been done with these images and settings, and its files are whole."""
    record = read_record(study.dataset, case.name)
    return bool(
        record
        and record.status == "done"
        and record.fingerprint == compute_fingerprint(study, case)
        and record.is_whole(study.dataset)
    )


def _stamp(path: Path) -> tuple[int, int]:
    """Size and time of change of a file; of a folder, those of the files in it together; zeros where it is gone."""
    try:
        parts = [p.stat() for p in sorted(path.rglob("*")) if p.is_file()] if path.is_dir() else [path.stat()]
    except OSError:
        return 0, 0
    return sum(p.st_size for p in parts), max((p.st_mtime_ns for p in parts), default=0)


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None
