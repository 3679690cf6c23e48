"""Result: what a pipeline hands back. It holds facts; pictures and files are made from it."""

import csv
import io
import json
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from medapp.imaging import files, transforms
from medapp.imaging.deformation import Deformation
from medapp.imaging.volume import Volume

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
        """Write the volumes of `roles`, the deformation, the tables (CSV), the facts (JSON).

        Volumes become NIfTI, a coloured picture PNG. What was made from DICOM is DICOM besides: a mask as SEG,
        `restored` as a series in the folder `restored_dicom`. With `labels` of a single image comes ITK-SNAP's table of
        them. A deformation becomes ITK's displacement field and, with the affine in it, Learn2Reg's; its inverse a
        field too, the affine ITK's transform (see `imaging.transforms`). Returns the paths written; of a series, its
        folder. `folder` is made if it is not there.
        """
        folder.mkdir(parents=True, exist_ok=True)
        written = []
        for role in roles:
            if role not in self.volumes:
                continue
            volume = self.volumes[role]
            picture = volume.is_colour and 1 in volume.shape
            written.append(files.write(volume, folder / f"{role}{'.png' if picture else '.nii.gz'}"))
            if role == "labels" and self.deformation is None:
                written.append(files.write_label_table(volume, folder / f"{role}.label"))
            if volume.labels and volume.headers:
                written.append(files.write_dicom_seg(volume, folder / f"{role}.seg.dcm"))
            elif role == "restored" and volume.headers:
                files.write_dicom(volume, folder / f"{role}_dicom", f"medapp {role}, for research only")
                written.append(folder / f"{role}_dicom")
        written += self._transforms(folder)
        for name, table in self.tables.items():
            written.append(folder / f"{name}.csv")
            written[-1].write_text(table.csv(), encoding="utf-8")
        written.append(folder / "result.json")
        written[-1].write_text(json.dumps(self.facts(), indent=2), encoding="utf-8")
        return written

    def _transforms(self, folder: Path) -> list[Path]:
        """Write what moves points, where there is any, side by side: packing takes the time."""
        jobs: list[Callable[[], Path]] = []
        if self.deformation is not None:
            jobs.append(partial(transforms.write_displacement, self.deformation, folder / "displacement.nii.gz"))
        if self.inverse is not None:
            jobs.append(partial(transforms.write_displacement, self.inverse, folder / "inverse_displacement.nii.gz"))
        if self.affine is not None:
            jobs.append(partial(transforms.write_affine, self.affine, folder / "affine.tfm"))
        if self.deformation is not None:
            whole = np.eye(4) if self.affine is None else self.affine
            if "moving" in self.volumes:  # Learn2Reg counts voxels from the same index, wherever the grids lie
                whole = self.deformation.affine @ np.linalg.inv(self.volumes["moving"].affine) @ whole
            voxels = self.deformation.compose(whole)
            jobs.append(partial(transforms.write_learn2reg, voxels, folder / "disp_learn2reg.npz"))
        with ThreadPoolExecutor() as pool:
            return [running.result() for running in [pool.submit(job) for job in jobs]]
