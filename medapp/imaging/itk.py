"""NRRD and MetaImage (.nrrd, .nhdr, .mha, .mhd), through SimpleITK; positions turned from LPS to RAS."""

import re
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import SimpleITK as sitk
from nibabel.affines import from_matvec

from medapp.errors import InputError
from medapp.imaging.checks import parsing, plain_numbers, said, sound, three_axes
from medapp.imaging.nifti import NO_POSITION
from medapp.imaging.volume import Volume

HEAD = 256 * 1024  # bytes in which a text header must end
META_DATA = re.compile(rb"^[ \t]*ElementDataFile[ \t]*=[ \t]*(.*?)[ \t]*\r?$", re.MULTILINE)
NRRD_DATA = re.compile(rb"^[ \t]*data[ \t_]*file[ \t]*:=?[ \t]*(.*?)[ \t]*\r?$", re.MULTILINE | re.IGNORECASE)


def is_nrrd(head: bytes) -> bool:
    return head.startswith(b"NRRD")


def is_meta(head: bytes) -> bool:
    return re.match(rb"\s*(ObjectType|NDims|Comment|ObjectSubType)\s*=", head) is not None and b"\0" not in head[:40]


def read(path: Path, companions: list[Path]) -> Volume:
    """An image as a Volume (I, J, K), or (I, J, K, 3) for three bytes a voxel, axes as they are in the file.

    A header that names a data file finds it among `companions` by its bare name and nowhere else. Raises InputError if
    it is not there or the header points elsewhere, and for what is damaged, too large or has real further dimensions.
    """
    with path.open("rb") as file:
        head = file.read(HEAD)
    nrrd = is_nrrd(head)
    kind = "NRRD" if nrrd else "MetaImage"
    with parsing(path, kind), TemporaryDirectory(prefix="medapp-") as folder:
        data = _data_file(head, nrrd, path)
        where = path
        if data:
            where = Path(folder) / ("header.nhdr" if nrrd else "header.mhd")
            shutil.copyfile(path, where)
            shutil.copyfile(_companion(data, path, companions), Path(folder) / data)
        reader = sitk.ImageFileReader()
        reader.SetImageIO("NrrdImageIO" if nrrd else "MetaImageIO")
        reader.SetFileName(str(where))
        reader.ReadImageInformation()
        channels = reader.GetNumberOfComponents()
        shape = three_axes(reader.GetSize(), path)
        if channels not in (1, 3) or (channels == 3 and reader.GetPixelID() != sitk.sitkVectorUInt8):
            raise InputError(
                f"{said(path)} holds {channels} values at every voxel, such as a deformation field, not an image."
            )
        affine = _affine(reader, path)
        array = sitk.GetArrayFromImage(reader.Execute())
    spatial = array.ndim - (channels == 3)
    array = array.transpose(*reversed(range(spatial)), *range(spatial, array.ndim))
    array = array.reshape((*shape, 3) if channels == 3 else shape)
    placed = b"\nspace" in head.lower() if nrrd else re.search(rb"(Position|Offset|Origin)\s*=", head)
    return Volume(plain_numbers(array, path), affine, remarks=() if placed else (NO_POSITION,))


def _data_file(head: bytes, nrrd: bool, path: Path) -> str | None:
    """The bare name of the file that holds the voxels; None if they follow the header."""
    if nrrd:
        head = re.split(rb"\r?\n\r?\n", head, maxsplit=1)[0]
        found, spoken = NRRD_DATA.findall(head), len(re.findall(rb"data[ \t_]*file", head, re.IGNORECASE))
        if not found and not spoken:
            return None
    else:
        word = head.lower().find(b"elementdatafile")  # the first is the last line of the header
        line = head[head.rfind(b"\n", 0, max(word, 0)) + 1 :].split(b"\n", 1)[0]
        found, spoken = META_DATA.findall(line) if word >= 0 else [], 1
        if found == [b"LOCAL"]:
            return None
    if len(found) != 1 or spoken != 1:
        raise InputError(f"{said(path)} could not be read: its header does not say plainly where the voxels are.")
    name = found[0].decode("utf-8", "replace").strip()
    if not re.fullmatch(r"[\w][\w .()+-]*", name) or ".." in name or name.upper().startswith("LIST"):
        raise InputError(
            f"{said(path)} points to voxels in another folder or in many files; upload one header and one data file."
        )
    return name


def _companion(name: str, path: Path, companions: list[Path]) -> Path:
    plain = [re.sub(r"[^\w.]", "", other.name).lower() for other in companions]  # an upload loses odd characters
    wanted = re.sub(r"[^\w.]", "", name).lower()
    if wanted not in plain or companions[plain.index(wanted)] == path:
        raise InputError(
            f"{said(path)} is only a header: upload it together with {said(name)}, or as one .mha, .nrrd or .zip."
        )
    return companions[plain.index(wanted)]


def _affine(reader: sitk.ImageFileReader, path: Path) -> np.ndarray:
    """(4, 4) voxel index to RAS+ millimetres; a flat image gets a third axis of 1 mm, at right angles."""
    n = min(reader.GetDimension(), 3)
    directions = np.reshape(reader.GetDirection(), (reader.GetDimension(),) * 2)[:n, :n]
    lps = np.eye(4)
    lps[:n, :n] = directions * reader.GetSpacing()[:n]
    lps[:n, 3] = reader.GetOrigin()[:n]
    affine = from_matvec(np.diag([-1.0, -1.0, 1.0])) @ lps
    if not sound(affine):
        raise InputError(
            f"{said(path)} does not say where its voxels lie: the directions in its header are damaged or flat."
        )
    return affine
