"""NIfTI in and out, and FreeSurfer's MGH in."""

from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.spatialimages import HeaderDataError, SpatialImage

from medapp.errors import InputError
from medapp.imaging.checks import parsing, plain_numbers, right_size, said, sound, three_axes
from medapp.imaging.limits import MAX_BYTES, MAX_OFFSET
from medapp.imaging.volume import Volume

NO_POSITION = "The file does not say where the image lies in the patient: left and right cannot be relied upon."
MILLIMETRES = {"meter": 1000.0, "micron": 0.001}
RGB = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])


def is_nifti(head: bytes) -> bool:
    return head[344:348] in (b"n+1\0", b"ni1\0") or head[4:8] in (b"n+2\0", b"ni2\0")


def is_mgh(head: bytes) -> bool:
    return head[:4] == b"\0\0\0\1" and len(head) >= 284


def promise(head: bytes) -> int:
    """How many bytes the NIfTI or MGH file that begins with `head` should have, MAX_BYTES for any other file.

    Raises InputError if that is beyond what is taken, so that nothing large is unpacked in vain.
    """
    if not (is_nifti(head) or is_mgh(head)):
        return MAX_BYTES
    path = Path("The image")
    with parsing(path, "NIfTI"):
        header = _header(head)
        right_size(header.get_data_shape(), path)
        offset = int(header["vox_offset"]) if is_nifti(head) else 284
        if not 0 <= offset <= MAX_OFFSET:
            raise InputError("The image could not be read as NIfTI: its header is damaged.")
        return offset + int(np.prod(header.get_data_shape(), dtype=np.int64)) * header.get_data_dtype().itemsize


def read(path: Path, companions: list[Path]) -> Volume:
    """A .nii or .mgh file, not packed, as a Volume (I, J, K), or (I, J, K, 3) for NIfTI's RGB type.

    The sform is taken, or else the qform; scl_slope and scl_inter are applied. Raises InputError for what is damaged,
    too large, has real further dimensions, or lies nowhere.
    """
    kind = "NIfTI" if path.suffix.lower() != ".mgh" else "MGH"
    with parsing(path, kind):
        head = path.open("rb").read(1024)
        if head[344:348] == b"ni1\0" or head[4:8] == b"ni2\0":
            raise InputError(f"{said(path)} is half of a pair (.hdr and .img); save the image as one .nii file.")
        if path.stat().st_size < promise(head):
            raise InputError(f"{said(path)} is truncated: it holds fewer voxels than its header says; upload it again.")
        kinds = nib.MGHImage if is_mgh(head) else nib.Nifti2Image if head[4:8] == b"n+2\0" else nib.Nifti1Image
        with path.open("rb") as file:  # opened here, since nibabel goes by the name
            image = kinds.from_file_map(kinds.make_file_map({"image": file}), mmap=False)
            shape = three_axes(image.shape, path)
            affine, remarks = _affine(image, path)
            array = _values(image, path).reshape((*shape, -1), order="F")
        return Volume(array if array.shape[3] == 3 else array[..., 0], affine, remarks=remarks)


def write(volume: Volume, path: Path) -> Path:
    """Write `volume` as .nii or .nii.gz and return the path.

    Labels become the smallest whole numbers that hold them, images float32, colour NIfTI's RGB. Position: sform and
    qform, both code 1 (scanner); a sheared grid has no qform. The header carries no text.
    """
    if not path.name.endswith((".nii", ".nii.gz")):
        raise ValueError(f"a NIfTI file ends in .nii or .nii.gz: {path.name}")
    if volume.is_colour:
        array = np.ascontiguousarray(volume.array, np.uint8).view(RGB)[..., 0]
    elif volume.labels:
        low, high = int(volume.array.min()), int(volume.array.max())
        array = volume.array.astype(next(t for t in (np.uint8, np.int16, np.int32) if _fits(low, high, t)))
    else:
        array = volume.array.astype(np.float32)
    image = nib.Nifti1Image(array, volume.affine)
    image.header.set_xyzt_units("mm")
    image.header["descrip"] = b""
    if volume.labels:
        image.header.set_intent("label")
    image.set_sform(volume.affine, code=1)
    try:
        image.set_qform(volume.affine, code=1, strip_shears=False)
    except HeaderDataError:
        image.set_qform(None, code=0)
    nib.save(image, path)
    return path


def _header(head: bytes) -> nib.Nifti1Header | nib.freesurfer.mghformat.MGHHeader:
    if is_mgh(head):
        return nib.freesurfer.mghformat.MGHHeader(head[:284], check=False)
    if head[4:8] == b"n+2\0":
        return nib.Nifti2Header(head[:540], check=False)
    return nib.Nifti1Header(head[:348], check=False)


def _affine(image: SpatialImage, path: Path) -> tuple[np.ndarray, tuple[str, ...]]:
    if isinstance(image, nib.MGHImage):
        found = [image.affine]
        remarks: tuple[str, ...] = () if image.header["goodRASFlag"] == 1 else (NO_POSITION,)
    else:
        found = [
            m for m in (image.header.get_sform(coded=True)[0], image.header.get_qform(coded=True)[0]) if m is not None
        ]
        remarks = () if found else (NO_POSITION,)
        found = found or [image.header.get_base_affine()]
        scale = MILLIMETRES.get(image.header.get_xyzt_units()[0], 1.0)
        found = [np.diag([scale, scale, scale, 1.0]) @ m for m in found]
    usable = [m for m in found if sound(m)]
    if not usable:
        raise InputError(
            f"{said(path)} does not say where its voxels lie: the matrix in its header is damaged or flat."
        )
    if len(found) == 2 and not np.allclose(found[0], found[1], atol=0.1):
        chosen = "sform" if usable[0] is found[0] else "qform"
        remarks += (f"The file gives two positions that differ, sform and qform; the {chosen} was taken.",)
    return usable[0], remarks


def _values(image: SpatialImage, path: Path) -> np.ndarray:
    proxy = image.dataobj
    if proxy.dtype.names:
        names = [n for n in proxy.dtype.names if n.upper() in "RGB"]
        return np.stack([proxy.get_unscaled()[n] for n in names], axis=-1)
    plain = (proxy.slope, proxy.inter) == (1, 0)
    if not plain and proxy.dtype.kind != "c":
        return plain_numbers(np.asarray(proxy, np.float32), path)
    return plain_numbers(proxy.get_unscaled(), path)


def _fits(low: int, high: int, kind: type) -> bool:
    return np.iinfo(kind).min <= low and high <= np.iinfo(kind).max
