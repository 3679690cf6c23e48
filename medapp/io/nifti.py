"""Read and write NIfTI; also read pairs (.hdr and .img) and Analyze 7.5."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.nifti1 import Nifti1Header
from nibabel.spatialimages import HeaderDataError
from nibabel.spm99analyze import Spm99AnalyzeHeader

from medapp.errors import InputError
from medapp.imaging.volume import Volume
from medapp.io import archives, detached_headers
from medapp.io.placement import NO_POSITION_REMARK, check_affine, format_sizes, to_millimetres
from medapp.io.validation import (
    TRUNCATED_MESSAGE,
    check_shape,
    is_valid_affine,
    safe_text,
    spatial_shape,
    to_image_dtype,
    translate_errors,
)
from medapp.limits import MAX_UPLOAD_BYTES, MAX_VOXEL_OFFSET

UNIT_SYMBOLS = {"meter": "m", "mm": "mm", "micron": "um", "unknown": "mm"}
UNCERTAIN_SIZE_REMARK = (
    "The header gives a voxel size of {} mm but no position with it; compare the size with the original."
)
ANALYZE_REMARK = (
    "This is an Analyze file, which does not say which side is left: the first voxel was taken as the rightmost."
)
OFFSET_REMARK = "The header does not say where the voxels begin; they were assumed to follow it directly."
ANALYZE_TYPES = (2, 4, 8, 16, 32, 64, 128)  # of Analyze
RGB_DTYPE = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
Header = Any  # Nifti1Header, Nifti2Header or Spm99AnalyzeHeader


def is_nifti(head: bytes) -> bool:
    """Tell whether a file that begins with `head` is NIfTI-1, NIfTI-2 or Analyze, unpacked."""
    return head[344:348] in (b"n+1\0", b"ni1\0") or head[4:8] in (b"n+2\0", b"ni2\0") or is_analyze(head)


def is_analyze(head: bytes) -> bool:
    """Tell whether `head` is an Analyze 7.5 header, which is known only by its own length and its fields."""
    if len(head) < 348 or head[344:347] in (b"n+1", b"ni1"):
        return False
    for order in ("little", "big"):
        dimensions, kind = (int.from_bytes(head[at : at + 2], order) for at in (40, 70))
        if int.from_bytes(head[:4], order) == 348 and dimensions in range(1, 8) and kind in ANALYZE_TYPES:
            return True
    return False


def is_pair(head: bytes) -> bool:
    """Tell whether the header says that its voxels are in a separate file."""
    return head[344:348] == b"ni1\0" or head[4:8] == b"ni2\0" or is_analyze(head)


def expected_bytes(head: bytes, path: Path) -> int:
    """Return the size of the file that begins with `head`, header and voxels together.

    Raises InputError if it is too large, so that nothing large is unpacked in vain.
    """
    with translate_errors(path, "NIfTI"):
        header = _parse_header(head)
        begin = (
            _checked_offset(header, 0, path)
            if is_pair(head)
            else _find_voxel_offset(header, head, MAX_UPLOAD_BYTES, path)[0]
        )
        return max(begin, header.sizeof_hdr + 4) + _voxel_bytes(header, path)


def read(path: Path, companions: Sequence[Path] = ()) -> Volume:
    """Read an unpacked .nii file, or a .hdr with its .img, as a Volume (I, J, K), or (I, J, K, 3) for the RGB type.

    The .img is searched for among `companions`, packed or not. The sform is used, otherwise the qform; scl_slope and
    scl_inter are applied. Doubtful headers are mentioned in the remarks. Raises InputError for a damaged or too large
    file, further dimensions, and an invalid position.
    """
    with translate_errors(path, "NIfTI"), TemporaryDirectory(prefix="medapp-") as folder:
        with path.open("rb") as file:
            head = file.read(1024)
        header = _parse_header(head)
        length = _voxel_bytes(header, path)
        shape = spatial_shape(header.get_data_shape(), path)
        affine, remarks = _affine(header, path)
        voxels = path
        offset_remarks: tuple[str, ...] = ()
        if _has_data_file(path, head, length):
            (voxels,) = detached_headers.find_data_files((f"{path.stem}.img",), path, companions)
            if archives.is_gzip(voxels):
                room = MAX_VOXEL_OFFSET + length
                voxels = archives.gunzip(voxels, Path(folder), lambda *_: room, room)
            begin = _checked_offset(header, 0, path) if is_pair(head) else 0
        else:
            begin, offset_remarks = _find_voxel_offset(header, head, path.stat().st_size, path)
        if voxels.stat().st_size < begin + length:
            raise InputError(TRUNCATED_MESSAGE.format(safe_text(path)))
        with voxels.open("rb") as file:
            proxy = nib.arrayproxy.ArrayProxy(
                file, (header.get_data_shape(), header.get_data_dtype(), begin, *_scaling(header)), mmap=False
            )
            array = _read_values(proxy, path).reshape((*shape, -1), order="F")
    return Volume(array if array.shape[3] == 3 else array[..., 0], affine, remarks=(*offset_remarks, *remarks))


def data_file_names(path: Path) -> tuple[str, ...]:
    """Return the name of the data file of a .hdr; none where the voxels are in the file itself."""
    with path.open("rb") as file:
        head = file.read(1024)
    with translate_errors(path, "NIfTI"):
        return (f"{path.stem}.img",) if _has_data_file(path, head, _voxel_bytes(_parse_header(head), path)) else ()


def write(volume: Volume, path: Path) -> Path:
    """Write `volume` as .nii or .nii.gz and return the path.

    Labels become the smallest integer type that holds them, images float32, colour NIfTI's RGB. The header carries no
    text. Raises ValueError for another suffix.
    """
    if not path.name.endswith((".nii", ".nii.gz")):
        raise ValueError(f"a NIfTI file ends in .nii or .nii.gz: {path.name}")
    if volume.is_colour:
        array = np.ascontiguousarray(volume.array, np.uint8).view(RGB_DTYPE)[..., 0]
    elif volume.labels:
        low, high = int(volume.array.min()), int(volume.array.max())
        array = volume.array.astype(next(t for t in (np.uint8, np.int16, np.int32) if _fits(low, high, t)))
    else:
        array = volume.array.astype(np.float32)
    nib.save(make_image(array, volume.affine, "label" if volume.labels else "none"), path)
    return path


def make_image(array: np.ndarray, affine: np.ndarray, intent: str | int) -> nib.Nifti1Image:
    """Make nibabel's image of `array` and `affine` (4, 4), voxel index to RAS+ mm, with a NIfTI intent (name or code).

    sform and qform have code 1 (scanner); a sheared grid has no qform.
    """
    image = nib.Nifti1Image(array, affine)
    image.header.set_intent(intent)
    image.header.set_xyzt_units("mm")
    image.header["descrip"] = b""
    image.set_sform(affine, code=1)
    try:
        image.set_qform(affine, code=1, strip_shears=False)
    except HeaderDataError:
        image.set_qform(None, code=0)
    return image


def _parse_header(head: bytes) -> Header:
    if head[4:8] in (b"n+2\0", b"ni2\0"):
        return nib.Nifti2Header(head[:540], check=False)
    if is_analyze(head):
        return Spm99AnalyzeHeader(head[:348], check=False)
    return Nifti1Header(head[:348], check=False)


def _voxel_bytes(header: Header, path: Path) -> int:
    """Return the number of bytes of the voxels. Raises InputError if the image is too large."""
    check_shape(header.get_data_shape(), path)
    return int(np.prod(header.get_data_shape(), dtype=np.int64)) * header.get_data_dtype().itemsize


def _has_data_file(path: Path, head: bytes, length: int) -> bool:
    """Tell whether the voxels, of `length` bytes, are in a separate file; some headers have the wrong magic."""
    size = path.stat().st_size
    if is_pair(head):
        return is_analyze(head) or path.suffix.lower() == ".hdr" or size < _parse_header(head).sizeof_hdr + 4 + length
    return path.suffix.lower() == ".hdr" and size <= _parse_header(head).sizeof_hdr + 4


def _find_voxel_offset(header: Header, head: bytes, size: int, path: Path) -> tuple[int, tuple[str, ...]]:
    """Return where the voxels begin in a single file of `size` bytes, and a remark if its header does not say."""
    first = header.sizeof_hdr
    if float(header["vox_offset"]) != 0:
        return _checked_offset(header, first, path), ()
    if size < first + 4 + _voxel_bytes(header, path):
        return first, (OFFSET_REMARK,)
    if any(head[first : first + 4]):
        raise InputError(f"{safe_text(path)} has extensions but does not say where its voxels begin; save it again.")
    return first + 4, (OFFSET_REMARK,)


def _checked_offset(header: Header, first: int, path: Path) -> int:
    """Return the offset of the voxels from the header. Raises InputError if it is before `first` or too large."""
    offset = float(header["vox_offset"])
    if not first <= offset <= MAX_VOXEL_OFFSET:
        raise InputError(
            f"{safe_text(path)} could not be read as NIfTI: the offset of its voxels is invalid; save it again."
        )
    return int(offset)


def _scaling(header: Header) -> tuple[float, float]:
    slope, inter = header.get_slope_inter()
    return (1.0 if slope is None else slope), (0.0 if inter is None else inter)


def _affine(header: Header, path: Path) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return the affine (4, 4), voxel index to RAS+ millimetres, and remarks about what is doubtful."""
    if not isinstance(header, Nifti1Header):
        affine = check_affine(header.get_origin_affine(), path)
        return affine, (ANALYZE_REMARK, UNCERTAIN_SIZE_REMARK.format(format_sizes(affine)))
    unit = UNIT_SYMBOLS.get(header.get_xyzt_units()[0], "mm")
    forms = [form for form in (header.get_sform(coded=True)[0], _qform(header)) if form is not None]
    candidates = [to_millimetres(form, unit, path) for form in forms or [header.get_base_affine()]]
    valid = [candidate for candidate in candidates if is_valid_affine(candidate[0])]
    affine, remarks = valid[0] if valid else (check_affine(candidates[0][0], path), ())
    if not forms:
        remarks += (NO_POSITION_REMARK, UNCERTAIN_SIZE_REMARK.format(format_sizes(affine)))
    if len(candidates) == 2 and not np.allclose(candidates[0][0], candidates[1][0], atol=0.1):
        chosen = "sform" if affine is candidates[0][0] else "qform"
        remarks += (f"The file gives two different positions, sform and qform; the {chosen} was used.",)
    return affine, remarks


def _qform(header: Nifti1Header) -> np.ndarray | None:
    """Return the affine of the quaternion; None if it is unused or invalid."""
    try:
        return header.get_qform(coded=True)[0]
    except (ValueError, HeaderDataError):
        return None


def _read_values(proxy: nib.arrayproxy.ArrayProxy, path: Path) -> np.ndarray:
    if proxy.dtype.names:
        names = [n for n in proxy.dtype.names if n.upper() in "RGB"]
        return np.stack([proxy.get_unscaled()[n] for n in names], axis=-1)
    is_unscaled = (proxy.slope, proxy.inter) == (1, 0)
    if not is_unscaled and proxy.dtype.kind != "c":
        return to_image_dtype(np.asarray(proxy, np.float32), path)
    return to_image_dtype(proxy.get_unscaled(), path)


def _fits(low: int, high: int, kind: type) -> bool:
    return np.iinfo(kind).min <= low and high <= np.iinfo(kind).max
