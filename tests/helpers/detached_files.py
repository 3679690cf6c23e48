"""Text headers of `oblique.phantom`, and its voxels."""

from pathlib import Path

import numpy as np
from oblique import AFFINE, phantom

LPS = np.diag([-1, -1, 1, 1]) @ AFFINE


def nrrd_vectors(columns: np.ndarray) -> str:
    """Columns of a matrix as NRRD writes vectors."""
    return " ".join("(" + ",".join(repr(float(v)) for v in column) + ")" for column in columns.T)


def nrrd_text(*lines: str, **changes: str | None) -> bytes:
    """An NRRD header for `phantom()`, little endian, in the fields' usual order; a change to None takes one away."""
    fields: dict[str, str | None] = {
        "type": "short", "dimension": "3", "space": "left-posterior-superior", "sizes": "9 8 6",
        "space directions": nrrd_vectors(LPS[:3, :3]), "kinds": "domain domain domain", "endian": "little",
        "encoding": "raw", "space origin": nrrd_vectors(LPS[:3, 3:]),
    }  # fmt: skip
    fields |= {key.replace("_", " "): value for key, value in changes.items()}
    words = [f"{key}: {value}" for key, value in fields.items() if value is not None]
    return "\n".join(["NRRD0004", "# made for a test", *words, *lines, ""]).encode()


def meta_text(*lines: str, data: str = "x.raw", **changes: str | None) -> bytes:
    """A MetaImage header for `phantom()` whose voxels are in `data`; a change to None takes a field away."""
    spacing = np.linalg.norm(LPS[:3, :3], axis=0)
    fields: dict[str, str | None] = {
        "ObjectType": "Image", "NDims": "3", "BinaryData": "True", "BinaryDataByteOrderMSB": "False",
        "CompressedData": "False", "TransformMatrix": " ".join(map(repr, (LPS[:3, :3] / spacing).T.ravel().tolist())),
        "Offset": " ".join(map(repr, LPS[:3, 3].tolist())), "ElementSpacing": " ".join(map(repr, spacing.tolist())),
        "DimSize": "9 8 6", "ElementType": "MET_SHORT",
    }  # fmt: skip
    words = [f"{key} = {value}" for key, value in (fields | changes).items() if value is not None]
    return "\n".join([*words, f"ElementDataFile = {data}", *lines, ""]).encode()


def put(folder: Path, contents: dict[str, bytes]) -> list[Path]:
    """Write files by name into a folder and return their paths."""
    folder.mkdir(exist_ok=True, parents=True)
    for name, data in contents.items():
        (folder / name).write_bytes(data)
    return [folder / name for name in contents]


def raw(order: str = "<") -> bytes:
    """The voxels of `phantom()` as 16-bit integers in a byte order."""
    return phantom().astype(f"{order}i2").tobytes(order="F")
