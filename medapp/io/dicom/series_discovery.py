"""Find the images in an upload of DICOM files: its series, or the scans within one, and those that are not wanted."""

import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from pydicom.dataset import Dataset

from medapp.errors import InputError
from medapp.io.dicom import frame_grouping
from medapp.io.dicom.frames import Frame, axial_frame, has_position, read_frames
from medapp.io.dicom.stack import NOT_PARALLEL_MESSAGE, SAME_PLANE_TOLERANCE, stack_frames
from medapp.limits import MAX_SERIES

SCOUT_PATTERN = re.compile(
    r"scout|locali[sz]er|survey|surview|topogram|scanogram|planning|3[ _-]?plane|three[ _-]?plane|\bloc\b",
    re.IGNORECASE,
)
MAX_STRAY_IMAGES, MIN_FULL_STACK = 2, 8  # so few images beside a stack of so many slices are not a scan
MAX_PLANES = 16  # orientations in a series; with more it is radial
WITHOUT_POSITION = "without a position"


class SeriesPart(NamedTuple):
    """Images that belong together, though not always a volume: `sources` index the files, `frames` are their slices.

    `refusal` says why there are no frames; `distinctions` tell it from others of its series; `exclusion` says why it is
    not wanted.
    """

    uid: str
    sources: tuple[int, ...]
    frames: tuple[Frame, ...] = ()
    distinctions: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    refusal: str = ""
    exclusion: str = ""


def find_series_parts(headers: Sequence[Dataset], pixels: Callable[[int], np.ndarray]) -> list[SeriesPart]:
    """Return the series parts in the files, unwanted ones last; `pixels` returns the stored values of a file by index.

    Files of one series uid are split by size, plane and pixel size, and, where several have one position or two scans
    interlace, by their attributes. Single slices with separate series uids that form one stack are joined. Raises
    InputError for more than MAX_SERIES parts.
    """
    groups: dict[str, list[int]] = defaultdict(list)
    for n, header in enumerate(headers):
        groups[str(header.get("SeriesInstanceUID", ""))].append(n)
    parts = [part for uid, numbers in groups.items() for part in _split_series(uid, numbers, headers, pixels)]
    parts = _join_single_slices(parts, headers)
    if len(parts) > MAX_SERIES:
        raise InputError(f"The upload holds more than {MAX_SERIES} series; upload the one you want.")
    parts = _exclude_scouts(parts, headers)
    return sorted(parts, key=lambda p: (bool(p.exclusion), *_sort_key(headers[p.sources[0]]), -len(p.frames)))


def is_localizer(header: Dataset) -> bool:
    """Tell whether the header says that the image is a localizer (scout)."""
    return "LOCALIZER" in (header.get("ImageType") or ())


def _split_series(
    uid: str, numbers: list[int], headers: Sequence[Dataset], pixels: Callable[[int], np.ndarray]
) -> list[SeriesPart]:
    """Split the files of one series uid into parts."""
    scouts = [n for n in numbers if is_localizer(headers[n])]
    if len(scouts) == len(numbers):
        return [_make_part(uid, numbers, headers)._replace(exclusion="a localizer")]
    remarks: tuple[str, ...] = ()
    if scouts:
        subject = "1 localizer image was" if len(scouts) == 1 else f"{len(scouts)} localizer images were"
        remarks = (f"{subject} left out of the series.",)
        numbers = [n for n in numbers if n not in set(scouts)]
    groups: dict[tuple, list[int]] = defaultdict(list)
    for n in sorted(numbers, key=lambda n: str(headers[n].get("SOPInstanceUID"))):  # independent of the order of upload
        groups[headers[n].get("Rows"), headers[n].get("Columns"), headers[n].get("SamplesPerPixel", 1)].append(n)
    parts: list[SeriesPart] = []
    for group in groups.values():
        part = _make_part(uid, group, headers)._replace(remarks=remarks)
        if part.refusal or len(part.frames) < 2:
            parts.append(part)
            continue
        for plane in _group_by_plane(part.frames):
            unique, count = frame_grouping.remove_duplicates(plane, pixels)
            subject = "1 image was" if count == 1 else f"{count} images were"
            copy_remarks = (f"{subject} uploaded twice and used once.",) if count else ()
            for scan, distinctions in frame_grouping.split_scans(unique):
                sources = tuple(dict.fromkeys(frame.source for frame in scan))
                parts.append(SeriesPart(uid, sources, tuple(scan), distinctions, remarks + copy_remarks))
    return parts


def _make_part(uid: str, numbers: Sequence[int], headers: Sequence[Dataset]) -> SeriesPart:
    """Return the frames of some files as one part, with a refusal if their headers are missing or damaged."""
    try:
        if (
            len(numbers) == 1
            and not headers[numbers[0]].get("NumberOfFrames")
            and not has_position(headers[numbers[0]])
        ):
            return SeriesPart(uid, tuple(numbers), (axial_frame(headers[numbers[0]], numbers[0]),), (WITHOUT_POSITION,))
        return SeriesPart(uid, tuple(numbers), tuple(f for n in numbers for f in read_frames(headers[n], n)))
    except InputError as error:
        return SeriesPart(uid, tuple(numbers), refusal=str(error))
    except (TypeError, ValueError, AttributeError, OverflowError):  # such as an entry that is not a number
        return SeriesPart(uid, tuple(numbers), refusal="The headers of this series are damaged; export it again.")


def _group_by_plane(frames: Sequence[Frame]) -> list[list[Frame]]:
    """Group the frames by orientation and pixel size; all together where no two have the same."""
    planes: list[list[Frame]] = []
    for frame in frames:
        for plane in planes:
            is_rotated = np.abs(frame.orientation - plane[0].orientation).max() > SAME_PLANE_TOLERANCE
            if not is_rotated and np.allclose(frame.spacing, plane[0].spacing, rtol=1e-3):
                plane.append(frame)
                break
        else:
            planes.append([frame])
            if len(planes) > MAX_PLANES:
                break
    return planes if max(map(len, planes)) > 1 and len(planes) <= MAX_PLANES else [list(frames)]


def _join_single_slices(parts: list[SeriesPart], headers: Sequence[Dataset]) -> list[SeriesPart]:
    """Join single slices with separate series uids where they form a stack."""
    groups: dict[tuple, list[SeriesPart]] = defaultdict(list)
    for part in parts:
        if len(part.frames) == 1 and WITHOUT_POSITION not in part.distinctions and not part.exclusion:
            header, frame = headers[part.sources[0]], part.frames[0]
            plane = tuple(np.round([*frame.orientation.ravel(), *frame.spacing], 2) + 0.0)
            attributes = [str(header.get(keyword)) for keyword in ("Rows", "Columns", "Modality", "SeriesDescription")]
            groups[*attributes, *plane].append(part)
    kept = list(parts)
    for slices in groups.values():
        if len({part.uid for part in slices}) < 3:
            continue
        scans = frame_grouping.split_scans([part.frames[0] for part in slices], by_series_number=False)
        if not all(len(scan) > 2 and frame_grouping.is_complete_stack(scan) for scan, _ in scans):
            continue
        joined = set(map(id, slices))
        kept = [part for part in kept if id(part) not in joined]
        for scan, distinctions in scans:
            sources = tuple(frame.source for frame in scan)
            uid = str(headers[sources[0]].get("SeriesInstanceUID", ""))
            remarks = (f"{len(scan)} series of one slice each form one stack and were read together.",)
            kept.append(SeriesPart(uid, sources, tuple(scan), distinctions, remarks))
    return kept


def _exclude_scouts(parts: list[SeriesPart], headers: Sequence[Dataset]) -> list[SeriesPart]:
    """Return the parts with the reason why they are unwanted, where there is one and another part is wanted."""
    wanted = [
        p for p in parts if not (p.exclusion or WITHOUT_POSITION in p.distinctions or _is_scout_by_name(p, headers))
    ]
    most = max((len(p.frames) for p in wanted if not _stack_error(p)), default=0)
    of_series: dict[str, list[SeriesPart]] = defaultdict(list)
    for part in parts:
        of_series[part.uid].append(part)
    checked = [
        p if p.exclusion or most < 2 else p._replace(exclusion=_exclusion_reason(p, most, of_series, headers))
        for p in parts
    ]
    return checked if any(not part.exclusion for part in checked) else parts


def _exclusion_reason(
    part: SeriesPart, most: int, of_series: dict[str, list[SeriesPart]], headers: Sequence[Dataset]
) -> str:
    """Return why the part is unwanted beside a stack of `most` slices, or ""."""
    count, siblings = len(part.frames), of_series[part.uid]
    if WITHOUT_POSITION in part.distinctions:
        return "a picture without a position"
    if part.refusal and headers[part.sources[0]].get("SamplesPerPixel", 1) > 1:
        return "pictures in colour"
    if _is_scout_by_name(part, headers) and count < most:
        return "a scout by its name"
    if count < most and _stack_error(part) == NOT_PARALLEL_MESSAGE:
        return "a scout or a radial series: its images are not parallel"
    if 0 < count <= MAX_STRAY_IMAGES and most >= MIN_FULL_STACK:
        return "beside a full stack"
    are_planes = len(siblings) > 1 and not any(other.distinctions or other.refusal for other in siblings)
    if are_planes and 2 * sum(len(other.frames) for other in siblings) <= most:
        return "a scout: images in several planes"
    return ""


def _is_scout_by_name(part: SeriesPart, headers: Sequence[Dataset]) -> bool:
    header = headers[part.sources[0]]
    return bool(SCOUT_PATTERN.search(f"{header.get('SeriesDescription') or ''} {header.get('ProtocolName') or ''}"))


def _stack_error(part: SeriesPart) -> str:
    """Return why the part is not a volume, or ""."""
    if part.refusal:
        return part.refusal
    try:
        stack_frames(part.frames)
    except InputError as error:
        return str(error)
    return ""


def _sort_key(header: Dataset) -> tuple[int, str]:
    try:
        return int(header.get("SeriesNumber")), str(header.get("SeriesInstanceUID", ""))
    except (TypeError, ValueError):
        return 10**9, str(header.get("SeriesInstanceUID", ""))
