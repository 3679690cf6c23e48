"""Scene reader: opens scene files, which may be anything that somebody has uploaded.

A zip is unpacked within the limits of `io.archives`, its record is checked (`scene_record`), and its voxels are read in
the process that reads uploads (`io.sandbox`).
"""

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from medapp.card import Card
from medapp.errors import InputError, OptionError
from medapp.imaging.deformation import Deformation
from medapp.imaging.volume import Grid, Volume
from medapp.io import archives, sandbox
from medapp.io.files import SeveralSeriesError
from medapp.io.validation import time_limit
from medapp.limits import MAX_UPLOAD_BYTES
from medapp.presenters import get_presenter
from medapp.serving import runtime
from medapp.ui.array_store import ArrayStore
from medapp.ui.scene_files import NO_HEADERS_NOTE, OPENED_NOTE, OTHER_WEIGHTS_NOTE, digest_voxels
from medapp.ui.scene_record import (
    DAMAGED_MESSAGE,
    NO_SCENE_MESSAGE,
    RECORD_FILE,
    FieldRecord,
    ImageRecord,
    SceneRecord,
    VolumeRecord,
    read_record,
)
from medapp.ui.session import Session
from medapp.ui.workspace import new_folder

GRID_TOLERANCE_MM = 0.01  # NIfTI holds positions as float32
OTHER_GRID_MESSAGE = "This is not the image of the scene: it has another size or lies elsewhere. Choose that image."
OTHER_VOXELS_MESSAGE = "This is not the image of the scene: it has the same size, but other values. Choose that image."
UNKNOWN_METHOD_MESSAGE = "This scene file is of a method that this page does not have, so it cannot be opened here."
TOO_LARGE_MESSAGE = "This scene file holds more than can be opened here."


class ImageNeededError(InputError):
    """The scene file was saved without its `image`, by that name, which is needed to show it."""

    def __init__(self, image: str) -> None:
        super().__init__(f"This scene was saved without its image. Choose the {image} image, too.")
        self.image = image


def open_scene_file(path: Path, image_paths: Sequence[str | Path] = ()) -> Session:
    """Read a scene file, whatever it holds, and return a session of its own with what was seen.

    `image_paths` are the files of the image that was left out. Raises ImageNeededError where there are none, and
    InputError with one sentence for a file that is none, damaged, or of another version, and for another image.
    """
    if not archives.is_zip(path):
        raise InputError(NO_SCENE_MESSAGE)
    with TemporaryDirectory(prefix="medapp-") as folder:
        with time_limit():
            files = {file.name: file for file in archives.unzip(path, Path(folder))}
        if RECORD_FILE not in files:
            raise InputError(NO_SCENE_MESSAGE)
        record = read_record(files.pop(RECORD_FILE))
        card = _find_card(record)
        image = _find_image(record.left_out, card, image_paths) if record.left_out else None
        own = new_folder()
        try:
            store = ArrayStore(own / "voxels")
            return _open_session(record, card, _VoxelReader(files, store), image and store.store_volume(image), own)
        except BaseException:
            shutil.rmtree(own, ignore_errors=True)
            raise


def _find_card(record: SceneRecord) -> Card:
    """The method that has made the scene. Raises InputError if it is not here or its settings make no sense."""
    try:
        card = runtime.find_card(record.facts.pipeline)
        for option in card.options:
            if option.live and option.name in record.facts.settings:
                option.parse(record.facts.settings[option.name])
    except OptionError as error:
        is_known = record.facts.pipeline in runtime.load_cards()
        raise InputError(DAMAGED_MESSAGE if is_known else UNKNOWN_METHOD_MESSAGE) from error
    return card


class _VoxelReader:
    """Reads the voxels of a scene file, each file once, in the process that reads uploads; they go to the disk."""

    def __init__(self, files: dict[str, Path], store: ArrayStore) -> None:
        self._files, self._store = files, store
        self._read: dict[str, Volume] = {}
        self._room = MAX_UPLOAD_BYTES

    def read(self, record: VolumeRecord) -> Volume:
        """Return the volume of a record. Raises InputError if it is not there, damaged, or lies elsewhere."""
        volume = self._find(record.file, bool(record.labels))
        if not volume.grid.is_same(Grid(volume.shape, np.array(record.affine)), GRID_TOLERANCE_MM):
            raise InputError(DAMAGED_MESSAGE)
        return record.restore(volume.array)

    def read_field(self, record: FieldRecord | None) -> Deformation | None:
        """Return the deformation of a record, if there is one; see `read`."""
        if record is None:
            return None
        parts = [self.read(VolumeRecord(file=file, affine=record.affine, name="")).array for file in record.files]
        if len({part.shape for part in parts}) > 1:
            raise InputError(DAMAGED_MESSAGE)
        return self._store.store_deformation(Deformation(np.stack(parts), np.array(record.affine)))

    def _find(self, name: str, labels: bool) -> Volume:
        if name not in self._read:
            if name not in self._files:
                raise InputError(DAMAGED_MESSAGE)
            volume = sandbox.read([self._files[name]], colour=True, labels=labels)
            self._room -= volume.array.nbytes
            if self._room < 0:
                raise InputError(TOO_LARGE_MESSAGE)
            self._read[name] = self._store.store_volume(volume)
        return self._read[name]


def _open_session(record: SceneRecord, card: Card, reader: _VoxelReader, image: Volume | None, folder: Path) -> Session:
    presenter = get_presenter(card)
    result = record.restore({role: reader.read(volume) for role, volume in record.volumes.items()})
    result = replace(
        result,
        deformation=reader.read_field(record.deformation),
        inverse=reader.read_field(record.inverse),
        affine=None if record.affine is None else np.array(record.affine),
        to_template=None if record.to_template is None else np.array(record.to_template),
        notes=(*result.notes, *_list_notes(record, card, image)),
    )
    if image is not None:
        result = presenter.with_image(result, image)
    if presenter.image_role not in result.volumes:
        raise InputError(DAMAGED_MESSAGE)
    reference = reader.read(record.reference) if record.reference else None
    own = reader.read(record.image) if record.image else image
    session = Session(
        result,
        presenter.start(result) if record.view.mm is None else np.array(record.view.mm),
        reference,
        own,
        folder=folder,
        is_stored=True,
    )
    session.state = record.view
    return session


def _list_notes(record: SceneRecord, card: Card, image: Volume | None) -> Iterator[str]:
    yield OPENED_NOTE
    if record.facts.weights.get("sha256") not in (None, card.weights.sha256):
        yield OTHER_WEIGHTS_NOTE
    if record.had_headers and not (image and image.headers):
        yield NO_HEADERS_NOTE


def _find_image(record: ImageRecord, card: Card, paths: Sequence[str | Path]) -> Volume:
    """The image that was left out, from files that may hold several series. Raises InputError for another image."""
    if not paths:
        raise ImageNeededError(record.name)
    source = next(source for source in card.inputs if not source.optional)
    how: dict[str, Any] = {"name": record.name, "colour": source.colour}
    try:
        image = sandbox.read(paths, **how)
    except SeveralSeriesError as several:
        images = (sandbox.read(paths, series.uid, **how) for series in several.series)
        found = next((each for each in images if not _explain_misfit(each, record)), None)
        if found is None:
            raise InputError(OTHER_VOXELS_MESSAGE) from several
        image = found
    if misfit := _explain_misfit(image, record):
        raise InputError(misfit)
    return image.new_like(image.array, affine=np.array(record.affine), unit=record.unit, sequence=record.sequence)


def _explain_misfit(image: Volume, record: ImageRecord) -> str:
    """Why this is not the image of the scene; "" if it is."""
    if not image.grid.is_same(record.grid, GRID_TOLERANCE_MM):
        return OTHER_GRID_MESSAGE
    return "" if digest_voxels(image.array) == record.digest else OTHER_VOXELS_MESSAGE
