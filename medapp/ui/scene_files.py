"""Scene files: a result as it is shown, in one file that reopens without a run of the network; see `scene_reader`.

A zip of `scene.json` (see `scene_record`) and a NIfTI file for each volume, and three for each deformation. It holds no
DICOM headers and no names of files. Without the image that was put in it holds masks, probabilities and measures; the
image is asked for when it is opened, and known again by its voxels.
"""

import gzip
import hashlib
import json
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from medapp.errors import InputError
from medapp.imaging.deformation import Deformation
from medapp.imaging.volume import Volume, digest_volume
from medapp.io import nifti
from medapp.presenters import get_presenter
from medapp.result import Result
from medapp.serving import runtime
from medapp.ui.scene_record import (
    RECORD_FILE,
    FactsRecord,
    FieldRecord,
    ImageRecord,
    SceneRecord,
    VolumeRecord,
    describe_volume,
)
from medapp.ui.session import Session
from medapp.ui.viewer.view_state import ViewState

SUFFIX = ".medapp.zip"
AXES = "xyz"
OPENED_NOTE = "Opened from a scene file; the network was not run again."
OTHER_WEIGHTS_NOTE = "It was made with other weights than this page's, so a new run may differ."
NO_HEADERS_NOTE = "Scene files hold no DICOM headers, so there are no DICOM files of this result."
NOTES = (OPENED_NOTE, OTHER_WEIGHTS_NOTE, NO_HEADERS_NOTE)
IS_IMAGE_MESSAGE = "This result is itself an image of the person. Save the scene with the image."


def write_scene_file(session: Session, path: Path, state: ViewState, *, with_image: bool) -> Path:
    """Write the session's result to `path`, with how it is shown, and return the path.

    Raises InputError where the image is to be left out of a result that is one itself.
    """
    result, presenter = session.result, get_presenter(runtime.find_card_of(session.result))
    left_out = None
    if not with_image:
        if not presenter.is_separable:
            raise InputError(IS_IMAGE_MESSAGE)
        left_out, result = _describe_image(presenter.image(result)), presenter.without_image(result)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        files = _VolumeFiles(archive)
        record = SceneRecord(
            facts=_record_facts(result),
            view=state,
            volumes={role: files.add(volume, role) for role, volume in result.volumes.items()},
            reference=files.add(session.reference, "own_reference") if session.reference else None,
            image=files.add(session.image, "own_image") if with_image and session.image else None,
            left_out=left_out,
            had_headers=any(volume.headers for volume in session.result.volumes.values()),
            deformation=files.add_field(result.deformation, "deformation") if result.deformation else None,
            inverse=files.add_field(result.inverse, "inverse") if result.inverse else None,
            affine=None if result.affine is None else result.affine.tolist(),
            to_template=None if result.to_template is None else result.to_template.tolist(),
        )
        archive.writestr(RECORD_FILE, record.model_dump_json(indent=1), zipfile.ZIP_DEFLATED)
    return path


class _VolumeFiles:
    """The volumes of a scene file that is being written; voxels that are the same are written once."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        self._names: dict[str, str] = {}  # by digest

    def add(self, volume: Volume, name: str) -> VolumeRecord:
        """Write a volume and return its record."""
        digest = digest_volume(volume)
        if digest not in self._names:
            self._names[digest] = self._write(_to_stored_type(volume.array), volume.affine, name)
        return describe_volume(volume, self._names[digest])

    def add_field(self, field: Deformation, name: str) -> FieldRecord:
        """Write a deformation and return its record."""
        vectors = zip(field.vectors, AXES, strict=True)
        names = [self._write(vector, field.affine, f"{name}_{axis}") for vector, axis in vectors]
        return FieldRecord(files=names, affine=field.affine.tolist())

    def _write(self, array: np.ndarray, affine: np.ndarray, name: str) -> str:
        image = nifti.make_image(array, affine, "none")
        self._archive.writestr(f"{name}.nii.gz", gzip.compress(image.to_bytes(), 1, mtime=0))
        return f"{name}.nii.gz"


def _to_stored_type(array: np.ndarray) -> np.ndarray:
    """The voxels in a type that NIfTI and our readers have, colour as NIfTI's."""
    if array.ndim == 4:
        return np.ascontiguousarray(array, np.uint8).view(nifti.RGB_DTYPE)[..., 0]
    types = {"b": np.uint8, "f": np.float32, "i": np.int32, "u": np.uint32}
    wanted = types[array.dtype.kind] if array.dtype.kind == "b" or array.dtype.itemsize > 4 else array.dtype
    return array.astype(np.float32 if array.dtype == np.float16 else wanted, copy=False)


def _record_facts(result: Result) -> FactsRecord:
    """The facts of a result without what an earlier opening has noted; numbers that are not finite become None."""
    facts = replace(result, notes=tuple(note for note in result.notes if note not in NOTES)).facts()
    return FactsRecord.model_validate(json.loads(json.dumps(facts), parse_constant=lambda _: None))


def _describe_image(image: Volume) -> ImageRecord:
    return ImageRecord(
        shape=list(image.shape),
        affine=image.affine.tolist(),
        digest=digest_voxels(image.array),
        name=image.name,
        unit=image.unit,
        sequence=image.sequence,
    )


def digest_voxels(array: np.ndarray) -> str:
    """Return a digest of the values (I, J, K) or (I, J, K, 3), in whatever type they are stored."""
    digest = hashlib.blake2b(repr(array.shape).encode(), digest_size=16)
    for part in array:
        digest.update(np.ascontiguousarray(part, np.float32))
    return digest.hexdigest()
