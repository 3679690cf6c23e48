"""Result: what a pipeline hands back. It holds facts; pictures and files are made from it."""

import csv
import io
import json
import logging
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
        text = io.StringIO()
        writer = csv.writer(text)
        writer.writerow(self.columns)
        writer.writerows(self.rows)
        return text.getvalue()


@dataclass(frozen=True)
class Provenance:
    """Where a result comes from: enough to get it again."""

    pipeline: str
    weights: Mapping[str, str] = field(default_factory=dict)  # file, sha256, source
    device: str = ""
    precision: str = ""
    engine: str = ""
    seconds: float = 0.0
    peak_memory_mb: float = 0.0
    versions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Result:
    """Facts only: volumes by role, the deformation, numbers, tables, remarks, the options used, and the provenance.

    `notes` are what the user should know, `warnings` why the result may be wrong and what to do about it; `doubt` is
    the shortest of them, as a question for the headline, for example "Not a FLAIR scan of a brain?", or empty.

    A point of the fixed image goes through `deformation`, on that image's grid, and then through `affine` (4, 4), RAS+
    millimetres, to the moving image. `inverse` is the displacement the other way, on the same grid.
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
        }

    def save(self, folder: Path, roles: tuple[str, ...] = ("mask", "probability")) -> list[Path]:
        """The paths that `save_and_note` writes."""
        return self.save_and_note(folder, roles)[1]

    def save_and_note(
        self, folder: Path, roles: tuple[str, ...] = ("mask", "probability")
    ) -> tuple["Result", list[Path]]:
        """Write the volumes of `roles`, the deformation, the tables (CSV), the facts (JSON).

        Volumes become NIfTI, a coloured picture PNG. What was made from DICOM is DICOM besides: a mask as SEG,
        `restored` as a series in the folder `restored_dicom`. With `labels` of a single image comes ITK-SNAP's table of
        them. A deformation becomes ITK's displacement field and, with the affine in it, Learn2Reg's; its inverse a
        field too, the affine ITK's transform (see `imaging.transforms`). `folder` is made if it is not there.

        A file that cannot be written costs the others nothing. Returns the result, with a note for each such file, and
        the paths written; of a series, its folder. Raises OSError where nothing can be written: a full disk, a folder
        that is closed.
        """
        folder.mkdir(parents=True, exist_ok=True)
        jobs = [job for role in roles if role in self.volumes for job in self._image_jobs(role, folder)]
        lost = [_lost(*job) for job in jobs]
        moving = self._transform_jobs(folder)
        with ThreadPoolExecutor() as pool:  # side by side: packing takes the time
            lost += pool.map(lambda job: _lost(*job), moving)
        tables = [(folder / f"{name}.csv", partial(_write_text, table.csv)) for name, table in self.tables.items()]
        lost += [_lost(*job) for job in tables]
        jobs += [*moving, *tables]
        written = [path for (path, _), note in zip(jobs, lost, strict=True) if not note]
        told = replace(self, notes=(*self.notes, *filter(None, lost)))
        facts = folder / "result.json"
        if note := _lost(facts, partial(_write_text, lambda: json.dumps(told.facts(), indent=2))):
            return replace(told, notes=(*told.notes, note)), written
        return told, [*written, facts]

    def _image_jobs(self, role: str, folder: Path) -> list["Job"]:
        """What is to be written of one volume."""
        volume = self.volumes[role]
        picture = volume.is_colour and 1 in volume.shape
        jobs: list[Job] = [(folder / f"{role}{'.png' if picture else '.nii.gz'}", partial(files.write, volume))]
        if role == "labels" and self.deformation is None:
            jobs.append((folder / f"{role}.label", partial(files.write_label_table, volume)))
        if volume.labels and volume.headers:
            jobs.append((folder / f"{role}.seg.dcm", partial(files.write_dicom_seg, volume)))
        elif role == "restored" and volume.headers:
            about = f"medapp {role}, for research only"
            jobs.append((folder / f"{role}_dicom", partial(files.write_dicom_series, volume, description=about)))
        return jobs

    def _transform_jobs(self, folder: Path) -> list["Job"]:
        """What is to be written of what moves points, where there is any."""
        jobs: list[Job] = []
        if self.deformation is not None:
            jobs.append((folder / "displacement.nii.gz", partial(transforms.write_displacement, self.deformation)))
        if self.inverse is not None:
            jobs.append((folder / "inverse_displacement.nii.gz", partial(transforms.write_displacement, self.inverse)))
        if self.affine is not None:
            jobs.append((folder / "affine.tfm", partial(transforms.write_affine, self.affine)))
        if self.deformation is not None:
            jobs.append((folder / "disp_learn2reg.npz", self._write_learn2reg))
        return jobs

    def _write_learn2reg(self, path: Path) -> Path:
        assert self.deformation is not None
        whole = np.eye(4) if self.affine is None else self.affine
        if "moving" in self.volumes:  # Learn2Reg counts voxels from the same index, wherever the grids lie
            whole = self.deformation.affine @ np.linalg.inv(self.volumes["moving"].affine) @ whole
        return transforms.write_learn2reg(self.deformation.compose(whole), path)


Job = tuple[Path, Callable[[Path], object]]  # a file, or a folder, and what writes it


def _lost(path: Path, write: Callable[[Path], object]) -> str:
    """Write one file; "" or, where that fails, a note on it. Raises OSError where the system refuses to write."""
    why = "this is a fault of ours"
    try:
        write(path)
        return ""
    except OSError as error:
        if error.errno is not None:
            raise
        log.warning("%s was not written: %s", path.name, type(error).__name__)
    except UserError as error:
        why = str(error).rstrip(".")
    except MemoryError:
        why = "the memory did not suffice"
    except Exception as error:  # whatever a library makes of an unusual header; its text may hold what is private
        log.warning("%s was not written: %s", path.name, type(error).__name__)
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    path.unlink(missing_ok=True)
    return f"{path.name} could not be written: {why}. {WHOLE}"


def _write_text(text: Callable[[], str], path: Path) -> None:
    path.write_text(text(), encoding="utf-8")
