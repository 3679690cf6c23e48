"""Scene record: all of a scene file but its voxels, as JSON that is checked before anything is made of it."""

import json
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from medapp.errors import InputError
from medapp.imaging.volume import Grid, Volume
from medapp.io.validation import LimitedReader, is_valid_affine
from medapp.result import Result
from medapp.ui.viewer.view_state import ViewState

FORMAT, VERSION = "medapp scene", 1
RECORD_FILE = "scene.json"
MAX_RECORD_BYTES = 16 * 1024**2
MAX_VOLUMES = 60
NO_SCENE_MESSAGE = "This is no scene file: choose one that was saved here, by “Share”."
DAMAGED_MESSAGE = "This scene file is damaged or was changed, so nothing of it is shown. Save the scene again."
OTHER_VERSION_MESSAGE = (
    "This scene file is of version {}, and this page opens version {}. Open it where it was saved, or save it again."
)


def _check_affine(rows: list[list[float]]) -> list[list[float]]:
    matrix = np.array(rows, np.float64)
    if not (is_valid_affine(matrix) and np.array_equal(matrix[3], (0, 0, 0, 1))):
        raise ValueError("no affine")
    return rows


Cell = str | int | float | bool | None
Text = Annotated[str, Field(max_length=100_000)]
Line = Annotated[str, Field(max_length=2000)]
Role = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,40}$")]
FileName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,40}\.nii\.gz$")]
Row = Annotated[list[float], Field(min_length=4, max_length=4)]
Matrix = Annotated[list[Row], Field(min_length=4, max_length=4)]
Affine = Annotated[Matrix, AfterValidator(_check_affine)]


class Part(BaseModel):
    """A part of a record, with the fields below and no others."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class VolumeRecord(Part):
    """A `Volume` but its voxels, which are in `file`."""

    file: FileName
    affine: Affine
    labels: dict[int, Line] = {}
    name: Line
    unit: Line = ""
    remarks: list[Line] = []
    sequence: Line = ""

    def restore(self, array: np.ndarray) -> Volume:
        """Return the volume of these voxels."""
        return Volume(
            array, np.array(self.affine), self.labels, self.name, self.unit, tuple(self.remarks), (), self.sequence
        )


def describe_volume(volume: Volume, file: str) -> VolumeRecord:
    """Return the record of a volume whose voxels are in `file`."""
    return VolumeRecord(
        file=file,
        affine=volume.affine.tolist(),
        labels={int(value): name for value, name in volume.labels.items()},
        name=volume.name,
        unit=volume.unit,
        remarks=list(volume.remarks),
        sequence=volume.sequence,
    )


class FieldRecord(Part):
    """A `Deformation`: the files of its three components."""

    files: Annotated[list[FileName], Field(min_length=3, max_length=3)]
    affine: Affine


class ImageRecord(Part):
    """The image that was left out: its grid, and a digest by which it is known again."""

    shape: Annotated[list[Annotated[int, Field(ge=1, le=32_767)]], Field(min_length=3, max_length=3)]
    affine: Affine
    digest: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
    name: Line
    unit: Line = ""
    sequence: Line = ""

    @property
    def grid(self) -> Grid:
        """The image's grid."""
        i, j, k = self.shape
        return Grid((i, j, k), np.array(self.affine))


class MetricRecord(Part):
    """See `result.Metric`."""

    value: int | float | None
    unit: Line = ""


class TableRecord(Part):
    """See `result.Table`."""

    about: Text = ""
    columns: list[Line]
    rows: list[list[Cell]]


class FactsRecord(Part):
    """What `Result.facts` gives."""

    pipeline: Line
    notice: Line = ""
    settings: dict[Line, Any]
    metrics: dict[Line, MetricRecord]
    tables: dict[Line, TableRecord]
    doubt: Text = ""
    warnings: list[Text]
    notes: list[Text]
    weights: dict[Line, Line] = {}
    device: Line = ""
    precision: Line = ""
    engine: Line = ""
    seconds: float = 0.0
    peak_memory_mb: float = 0.0
    versions: dict[Line, Line] = {}
    inputs: dict[Line, Line] = {}


class SceneRecord(Part):
    """A result with how it is shown. `volumes` are by role; `reference` and `image` are those of the session.

    `left_out` is the image where it is not in the file.
    """

    format: str = FORMAT
    version: int = VERSION
    facts: FactsRecord
    view: ViewState
    volumes: Annotated[dict[Role, VolumeRecord], Field(max_length=MAX_VOLUMES)]
    reference: VolumeRecord | None = None
    image: VolumeRecord | None = None
    left_out: ImageRecord | None = None
    had_headers: bool = False
    deformation: FieldRecord | None = None
    inverse: FieldRecord | None = None
    affine: Matrix | None = None
    to_template: Matrix | None = None

    def restore(self, volumes: dict[str, Volume]) -> Result:
        """Return the result without its deformations; settings as they were."""
        facts = self.facts.model_dump()
        return Result.from_facts({**facts, "settings": freeze(facts["settings"])}, volumes)


def freeze(value: Any) -> Any:
    """Return settings as they were before they were JSON: tuples in place of lists."""
    if isinstance(value, dict):
        return {key: freeze(part) for key, part in value.items()}
    return tuple(map(freeze, value)) if isinstance(value, list) else value


def read_record(path: Path) -> SceneRecord:
    """Read the record of a scene file. Raises InputError with one sentence for another version or a damaged one."""
    with LimitedReader(path, DAMAGED_MESSAGE, rest=MAX_RECORD_BYTES) as file:
        content = file.read()
    try:
        parsed = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InputError(DAMAGED_MESSAGE) from error
    if not isinstance(parsed, dict) or parsed.get("format") != FORMAT:
        raise InputError(NO_SCENE_MESSAGE)
    version = parsed.get("version")
    if type(version) is not int:
        raise InputError(DAMAGED_MESSAGE)
    if version != VERSION:
        raise InputError(OTHER_VERSION_MESSAGE.format(str(version)[:9], VERSION))
    try:
        return SceneRecord.model_validate(parsed)
    except (ValidationError, RecursionError) as error:
        raise InputError(DAMAGED_MESSAGE) from error
