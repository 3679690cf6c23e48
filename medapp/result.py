"""Result: what a pipeline hands back. It holds facts; pictures and files are made from it."""

import csv
import io
import json
import logging
import os
import shutil
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from medapp.errors import UserError
from medapp.imaging.deformation import Deformation
from medapp.imaging.volume import Volume
from medapp.io import files, transforms

log = logging.getLogger(__name__)
WHOLE = "The other files are whole."
CORRECTED = "corrected_"  # begins the names of what follows from a mask that was corrected by hand
CORRECTED_PARTS = (
    "mask", "brain", "stripped", "places", "change", "lesions", "rater_agreement", "consensus", "raters",
    "rater_performance", "result", "report",
)  # fmt: skip
DICOM_SERIES = ("restored", "stripped")  # roles that are written as a DICOM series of the input's study too
NOT_A_DIAGNOSIS = "For research and demonstration. Not a medical device, never a diagnosis."


class Metric(NamedTuple):
    """A number with its unit; None where it is not defined, for example the HD95 to an empty mask."""

    value: float | int | None
    unit: str = ""


@dataclass(frozen=True)
class Table:
    """Rows of values under named columns; a column's name carries its unit. `about` says how the values are defined."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    about: str = ""

    def csv(self) -> str:
        """The table as comma-separated values, titles first."""
        text = io.StringIO()
        writer = csv.writer(text)
        writer.writerow(self.columns)
        writer.writerows(self.rows)
        return text.getvalue()


@dataclass(frozen=True)
class Provenance:
    """Where a result comes from: enough to get it again. `inputs` are digests of what was put in, by name."""

    pipeline: str
    weights: Mapping[str, str] = field(default_factory=dict)  # file, sha256, source
    device: str = ""
    precision: str = ""
    engine: str = ""
    seconds: float = 0.0
    peak_memory_mb: float = 0.0
    versions: Mapping[str, str] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Result:
    """Facts only: volumes by role, the deformation, numbers, tables, remarks, the options used, and the provenance.

    `notes` are what the user should know, `warnings` why the result may be wrong and what to do about it; `doubt` is
    the shortest of them, as a question for the headline, for example "Not a FLAIR scan of a brain?", or empty.

    A point of the fixed image goes through `deformation`, on that image's grid, and then through `affine` (4, 4), RAS+
    millimetres, to the moving image. `inverse` is the displacement the other way, on the same grid. `to_template`
    (4, 4) takes points of the image to those of the MNI template, RAS+ mm, where a method has aligned the two.
    """

    volumes: Mapping[str, Volume]
    deformation: Deformation | None = None
    inverse: Deformation | None = None
    affine: np.ndarray | None = None
    metrics: Mapping[str, Metric] = field(default_factory=dict)
    tables: Mapping[str, Table] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    doubt: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    provenance: Provenance | None = None
    to_template: np.ndarray | None = None

    @property
    def is_corrected(self) -> bool:
        """Whether its mask was corrected by hand."""
        return "correction" in self.volumes

    def name_part(self, part: str) -> str:
        """How the file names of a volume, a table, the facts or the report begin: that of a corrected mask says so."""
        return f"{CORRECTED}{part}" if self.is_corrected and part in CORRECTED_PARTS else part

    def noting(self, reference: Volume | None) -> "Result":
        """The result with what the reader of a reference's file has remarked among its notes, none twice."""
        remarks = (
            [r if r.startswith("Reference") else f"Reference: {r}" for r in reference.remarks] if reference else []
        )
        return replace(self, notes=tuple(dict.fromkeys((*self.notes, *remarks))))

    def facts(self) -> dict[str, Any]:
        """All but the arrays, ready for JSON."""
        origin = self.provenance or Provenance("")
        return {
            "pipeline": origin.pipeline,
            "notice": NOT_A_DIAGNOSIS,
            "settings": dict(self.settings),
            "metrics": {name: {"value": m.value, "unit": m.unit} for name, m in self.metrics.items()},
            "tables": {
                name: {"about": t.about, "columns": list(t.columns), "rows": [list(r) for r in t.rows]}
                for name, t in self.tables.items()
            },
            "doubt": self.doubt,
            "warnings": list(self.warnings),
            "notes": list(self.notes),
            "weights": dict(origin.weights),
            "device": origin.device,
            "precision": origin.precision,
            "engine": origin.engine,
            "seconds": origin.seconds,
            "peak_memory_mb": origin.peak_memory_mb,
            "versions": dict(origin.versions),
            "inputs": dict(origin.inputs),
        }

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any], volumes: Mapping[str, Volume] | None = None) -> "Result":
        """The result of its `facts`, with those of its volumes that are at hand. Raises KeyError or TypeError."""
        origin = {name: facts[name] for name in ("weights", "device", "precision", "engine") if name in facts}
        more = {name: facts[name] for name in ("seconds", "peak_memory_mb", "versions", "inputs") if name in facts}
        tables = {
            name: Table(tuple(table["columns"]), tuple(map(tuple, table["rows"])), table["about"])
            for name, table in facts["tables"].items()
        }
        return cls(
            volumes or {},
            metrics={name: Metric(**metric) for name, metric in facts["metrics"].items()},
            tables=tables,
            notes=tuple(facts["notes"]),
            warnings=tuple(facts["warnings"]),
            doubt=facts["doubt"],
            settings=facts["settings"],
            provenance=Provenance(facts["pipeline"], **origin, **more),
        )

    def write_files(
        self,
        folder: Path,
        roles: tuple[str, ...] = ("mask", "probability"),
        *,
        prefix: str = "",
        earlier: "WrittenFiles | None" = None,
    ) -> "WrittenFiles":
        """Write the volumes of `roles`, the deformation, tables (CSV) and facts (JSON); names begin with `prefix`.

        Volumes become NIfTI, a coloured picture PNG. What was made from DICOM is DICOM besides: a mask as SEG, one of
        DICOM_SERIES as a series in a folder such as `restored_dicom`. With `labels` of a single image comes ITK-SNAP's
        table of them. A deformation becomes ITK's displacement field and, with the affine in it, Learn2Reg's; its
        inverse a field too, the affine ITK's transform (see `io.transforms`). `folder` is made if it is not there. A
        file that `earlier` wrote from the same volume, field or table is linked and not written again. What follows
        from a mask that was corrected by hand is called so, see `name_part`.

        A file that cannot be written costs the others nothing: the result gets a note for it. Raises OSError where
        nothing can be written: a full disk, a folder that is closed.
        """
        folder.mkdir(parents=True, exist_ok=True)
        images = [job for role in roles if role in self.volumes for job in self._image_jobs(role)]
        transforms_ = self._transform_jobs()
        tables = [
            Job(f"{self.name_part(name)}.csv", partial(_write_text, table.csv), table)
            for name, table in self.tables.items()
        ]

        def write(job: Job) -> str:
            path = folder / f"{prefix}{job.name}"
            return "" if earlier and earlier.link(job, path) else _note_loss(job.name, path, job.write)

        notes = [write(job) for job in images]
        with ThreadPoolExecutor() as pool:  # side by side: packing takes the time
            notes += pool.map(write, transforms_)
        notes += [write(job) for job in tables]
        jobs = [*images, *transforms_, *tables]
        written = {job.name: job.source for job, note in zip(jobs, notes, strict=True) if not note}
        result = replace(self, notes=(*self.notes, *filter(None, notes)))
        facts = folder / f"{prefix}{self.name_part('result')}.json"
        note = _note_loss("result.json", facts, partial(_write_text, lambda: json.dumps(result.facts(), indent=2)))
        paths = [folder / f"{prefix}{name}" for name in written]
        if note:
            return WrittenFiles(replace(result, notes=(*result.notes, note)), paths, written)
        return WrittenFiles(result, [*paths, facts], written)

    def _image_jobs(self, role: str) -> list["Job"]:
        """What is to be written of one volume."""
        volume, name = self.volumes[role], self.name_part(role)
        picture = volume.is_colour and 1 in volume.shape
        jobs = [Job(f"{name}{'.png' if picture else '.nii.gz'}", partial(files.write, volume), volume)]
        if role == "labels" and self.deformation is None:
            jobs.append(Job(f"{name}.label", partial(files.write_label_table, volume), volume))
        if volume.labels and volume.headers:
            by_hand = name.startswith(CORRECTED)
            jobs.append(Job(f"{name}.seg.dcm", partial(files.write_dicom_seg, volume, by_hand=by_hand), volume))
        elif role in DICOM_SERIES and volume.headers:
            description = f"medapp {role}, for research only"
            jobs.append(
                Job(f"{name}_dicom", partial(files.write_dicom_series, volume, description=description), volume)
            )
        return jobs

    def _transform_jobs(self) -> list["Job"]:
        """What is to be written of what moves points, where there is any."""
        jobs: list[Job] = []
        for name, moves in (("displacement", self.deformation), ("inverse_displacement", self.inverse)):
            if moves is not None:
                jobs.append(Job(f"{name}.nii.gz", partial(transforms.write_displacement, moves), moves))
        if self.affine is not None:
            jobs.append(Job("affine.tfm", partial(transforms.write_affine, self.affine), self.affine))
        if self.deformation is not None:
            jobs.append(Job("disp_learn2reg.npz", self._write_learn2reg, self.deformation))
        return jobs

    def _write_learn2reg(self, path: Path) -> Path:
        assert self.deformation is not None
        whole = np.eye(4) if self.affine is None else self.affine
        if "moving" in self.volumes:  # Learn2Reg counts voxels from the same index, wherever the grids lie
            whole = self.deformation.affine @ np.linalg.inv(self.volumes["moving"].affine) @ whole
        return transforms.write_learn2reg(self.deformation.compose(whole), path)


class Job(NamedTuple):
    """A file, or a folder, that is to be written: its name, what writes it, and what it is written from."""

    name: str
    write: Callable[[Path], object]
    source: object


class WrittenFiles(NamedTuple):
    """The result, with a note for each file that could not be written; the paths written, of a series its folder; and
    what each file, by its name without the prefix, was written from."""

    result: Result
    paths: list[Path]
    sources: Mapping[str, object]

    def link(self, job: Job, path: Path) -> bool:
        """Whether the file was written here from the same source, and so could be linked to `path`."""
        name = path.name
        old = next((old for old in self.paths if old.name == name), None)
        if old is None or self.sources.get(job.name) is not job.source or not old.is_file():
            return False
        try:
            os.link(old, path)
        except OSError:  # another disk, or one without links
            return False
        return True


def _note_loss(name: str, path: Path, write: Callable[[Path], object]) -> str:
    """Write one file; "" or, where that fails, a note on it. Raises OSError where the system refuses to write."""
    why = "this is a fault of ours"
    try:
        write(path)
        return ""
    except OSError as error:
        if error.errno is not None:
            raise
        log.warning("%s was not written: %s", name, type(error).__name__)
    except UserError as error:
        why = str(error).rstrip(".")
    except MemoryError:
        why = "there was not enough memory"
    except Exception as error:  # whatever a library makes of an unusual header; its text may hold what is private
        log.warning("%s was not written: %s", name, type(error).__name__)
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    path.unlink(missing_ok=True)
    return f"{name} could not be written: {why}. {WHOLE}"


def _write_text(text: Callable[[], str], path: Path) -> None:
    path.write_text(text(), encoding="utf-8")
