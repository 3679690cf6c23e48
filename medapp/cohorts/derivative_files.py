"""Derivative files: a result as BIDS derivatives, with a sidecar for each image."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from medapp.algorithms.mni_template import load_template
from medapp.cohorts.atomic_files import write_json
from medapp.cohorts.case import Case, Study
from medapp.cohorts.dataset import make_uri
from medapp.cohorts.text_tables import write_tsv
from medapp.imaging.geometry import resample
from medapp.imaging.volume import Volume
from medapp.io import files, transforms
from medapp.presenters import derivative_names as names
from medapp.presenters.base import Presenter
from medapp.presenters.derivative_names import TEMPLATE_NAME
from medapp.presenters.derivative_sidecars import describe_output, list_labels
from medapp.result import Result

PICTURE_WIDTH = 900  # pixels
ITK_ORDER = "ITK displacement field. To bring an image from {} to {}, antsApplyTransforms takes, in this order: {}."
FORWARD, BACK = "-t THIS_FIELD -t AFFINE", "-t [AFFINE,1] -t THIS_FIELD"  # AFFINE: the .tfm beside it


class DerivativeWriter:
    """Writes one case's result into a folder, laid out as in the dataset; `written` lists the files, relative to it."""

    def __init__(self, study: Study, case: Case, folder: Path) -> None:
        """Write for a case into `folder`, which exists."""
        self.study, self.case, self.folder = study, case, folder
        self.written: list[Path] = []
        self.picture, self.template_mask = "", ""

    def write_result(self, result: Result, presenter: Presenter) -> None:
        """Write volumes, transforms, tables, the mask in the space of the template, and a picture. Raises OSError."""
        for role in presenter.files:
            if role in result.volumes and role not in names.LEFT_OUT and not (self.case.fixed and role == "labels"):
                self._write_volume(role, result.volumes[role], result)
        self._write_transforms(result)
        for name, table in result.tables.items():
            if name not in presenter.unshown_tables:
                write_tsv(self._place(f"{names.name_table(self.case, name)}.tsv"), table.columns, table.rows)
        if result.to_template is not None and "mask" in result.volumes:
            self._write_template_mask(result.volumes["mask"], result.to_template)
        self._write_picture(result, presenter)

    def _write_volume(self, role: str, volume: Volume, result: Result) -> None:
        name = names.name_output(self.case, role, bool(volume.labels))
        picture = volume.is_colour and 1 in volume.shape
        files.write(volume, self._place(f"{name}{'.png' if picture else '.nii.gz'}"))
        sidecar = describe_output(role, volume, self.study.method, result.settings)
        if "SkullStripped" in sidecar:
            sidecar = self._read_source_sidecar() | sidecar
        sidecar["Sources"] = [make_uri(self.study, path) for path in self.case.images.values()]
        if "_space-" in name and self.case.fixed != TEMPLATE_NAME:
            reference = self.case.images["fixed"] if self.case.fixed else next(iter(self.case.images.values()))
            sidecar["SpatialReference"] = make_uri(self.study, reference)
        write_json(self._place(f"{name}.json"), sidecar)
        if name.endswith("_dseg"):
            write_tsv(self._place(f"{name}.tsv"), ("index", "name"), list_labels(volume))

    def _write_transforms(self, result: Result) -> None:
        """Between the moving and the fixed image, and from the scan to the template, where the result has them."""
        own, fixed = self.case.suffix, self.case.fixed
        if fixed and result.deformation is not None:
            moves = ((own, fixed, result.deformation, FORWARD), (fixed, own, result.inverse, BACK))
            for start, end, field, order in moves:
                if field is not None:
                    name = names.name_transform(self.case, start, end, "displacement")
                    transforms.write_displacement(field, self._place(f"{name}.nii.gz"))
                    write_json(self._place(f"{name}.json"), {"Description": ITK_ORDER.format(start, end, order)})
        if fixed and result.affine is not None:
            name = names.name_transform(self.case, own, fixed, "affine")
            transforms.write_affine(result.affine, self._place(f"{name}.tfm"))
        if result.to_template is not None:
            name = names.name_transform(self.case, "orig", TEMPLATE_NAME)
            transforms.write_affine(np.linalg.inv(result.to_template), self._place(f"{name}.tfm"))

    def _write_template_mask(self, mask: Volume, to_template: np.ndarray) -> None:
        name = names.name_template_mask(self.case)
        moved = resample(mask.new_like(mask.array, affine=to_template @ mask.affine, headers=()), load_template().grid)
        self.template_mask = str(self.written_path(files.write(moved, self._place(f"{name}.nii.gz"))))
        sidecar = {
            "Description": "The lesion mask in the space of the template, by an affine transform",
            "Type": "Lesion",
            "Sources": [f"bids::{self._relative(names.name_output(self.case, 'mask') + '.nii.gz')}"],
        }
        write_json(self._place(f"{name}.json"), sidecar)

    def _write_picture(self, result: Result, presenter: Presenter) -> None:
        """The first picture of the report, for the quality page; a picture that cannot be drawn costs nothing else."""
        try:
            pictures = [p.content for p in presenter.pictures(result) if isinstance(p.content, np.ndarray)]
        except Exception:  # whatever a drawing trips over
            return
        if pictures:
            image = Image.fromarray(pictures[0]).convert("RGB")
            image.thumbnail((PICTURE_WIDTH, PICTURE_WIDTH))
            path = self._place(f"{self.case.name}_desc-quality.jpg", "figures")
            image.save(path, "JPEG", quality=85)
            self.picture = str(self.written_path(path))

    def _place(self, name: str, datatype: str = "") -> Path:
        """Where a file is written; it is listed."""
        path = self.folder / self._relative(name, datatype)
        path.parent.mkdir(parents=True, exist_ok=True)
        self.written.append(self.written_path(path))
        return path

    def _relative(self, name: str, datatype: str = "") -> str:
        return (self.case.folder / (datatype or self.case.datatype) / name).as_posix()

    def written_path(self, path: Path) -> Path:
        """A file's path in the dataset."""
        return path.relative_to(self.folder)

    def _read_source_sidecar(self) -> dict[str, Any]:
        """The sidecars that hold for the scan, the nearest last, as an image of the same kind inherits them."""
        scan = next(iter(self.case.images.values()))
        merged: dict[str, Any] = {}
        for path in find_sidecars(scan, self.study.source, self.case):
            try:
                merged |= json.loads(path.read_text(encoding="utf-8"))
            except (OSError, ValueError, TypeError):
                continue
        return merged


def find_sidecars(scan: Path, source: Path, case: Case) -> Iterator[Path]:
    """Yield the JSON files that hold for a scan by BIDS's inheritance principle, from the root down to its folder."""
    if not scan.is_relative_to(source):
        return
    folders = [folder for folder in reversed(scan.parents) if folder.is_relative_to(source)]
    own = {f"{key}-{value}" for key, value in case.entities.items()}
    for folder in folders:
        fitting = []
        for path in folder.glob(f"*{case.suffix}.json"):
            *parts, suffix = path.stem.split("_")
            if suffix == case.suffix and set(parts) <= own:
                fitting.append((len(parts), path))
        yield from (path for _, path in sorted(fitting))
