"""The images that an upload of DICOM files holds: its series, or what lies within one, and what nobody means."""

import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from pydicom.dataset import Dataset

from medapp.errors import InputError
from medapp.io.dicom import frame_grouping
from medapp.io.dicom.frames import Frame, axial_frame, has_position, read_frames
from medapp.io.dicom.stack import SAME_PLANE_TOLERANCE, stack_frames
from medapp.limits import MAX_SERIES

SCOUT_PATTERN = re.compile(
    r"scout|locali[sz]er|survey|surview|topogram|scanogram|planning|3[ _-]?plane|three[ _-]?plane|\bloc\b",
    re.IGNORECASE,
)
MAX_STRAY_IMAGES, MIN_FULL_STACK = 2, 8  # images beside a stack that are nobody's scan, and slices of that stack
MAX_PLANES = 16  # in a series; more are a radial one
WITHOUT_POSITION = "without a position"


class SeriesPart(NamedTuple):
    """Images that belong together, though perhaps to no volume: `sources` are the files, `frames` their slices.

    `refusal` says why there are no frames; `what` tells it from others of its series; `aside` says why nobody means it.
    """

    uid: str
    sources: tuple[int, ...]
    frames: tuple[Frame, ...] = ()
    distinctions: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    refusal: str = ""
    exclusion: str = ""


def find_series_parts(headers: Sequence[Dataset], pixels: Callable[[int], np.ndarray]) -> list[SeriesPart]:
    """The images among the files, those that nobody means last; `pixels` gives the stored values of a file by number.

    Files of one series uid are parted by size, plane and pixel size, and where several lie at one place, or two scans
    interlace, by what the headers tell apart. Files with a series uid of their own each that form one stack are joined.
    """
    groups: dict[str, list[int]] = defaultdict(list)
    for n, header in enumerate(headers):
        groups[str(header.get("SeriesInstanceUID", ""))].append(n)
    found = [part for uid, numbers in groups.items() for part in _split_series(uid, numbers, headers, pixels)]
    found = _join_single_slices(found, headers)
    if len(found) > MAX_SERIES:
        raise InputError(f"The upload holds more than {MAX_SERIES} series; upload the one you want.")
    found = _exclude_scouts(found, headers)
    return sorted(found, key=lambda p: (bool(p.exclusion), *_sort_key(headers[p.sources[0]]), -len(p.frames)))


def is_localizer(header: Dataset) -> bool:
    return "LOCALIZER" in (header.get("ImageType") or ())


def _split_series(
    uid: str, numbers: list[int], headers: Sequence[Dataset], pixels: Callable[[int], np.ndarray]
) -> list[SeriesPart]:
    """What the files of one series uid hold."""
    scouts = [n for n in numbers if is_localizer(headers[n])]
    if len(scouts) == len(numbers):
        return [_make_part(uid, numbers, headers)._replace(exclusion="a localizer")]
    remarks: tuple[str, ...] = ()
    if scouts:
        remarks = (f"{len(scouts)} localizer images of the series were left out.",)
        numbers = [n for n in numbers if n not in set(scouts)]
    looks: dict[tuple, list[int]] = defaultdict(list)
    for n in sorted(numbers, key=lambda n: str(headers[n].get("SOPInstanceUID"))):  # the same, however they come
        looks[headers[n].get("Rows"), headers[n].get("Columns"), headers[n].get("SamplesPerPixel", 1)].append(n)
    found: list[SeriesPart] = []
    for alike in looks.values():
        part = _make_part(uid, alike, headers)._replace(remarks=remarks)
        if part.refusal or len(part.frames) < 2:
            found.append(part)
            continue
        for plane in _group_by_plane(part.frames):
            once, doubles = frame_grouping.remove_duplicates(plane, pixels)
            again = "1 image was" if doubles == 1 else f"{doubles} images were"
            told = (f"{again} sent twice, and taken once.",) if doubles else ()
            for piece, what in frame_grouping.split_scans(once):
                sources = tuple(dict.fromkeys(frame.source for frame in piece))
                found.append(SeriesPart(uid, sources, tuple(piece), what, remarks + told))
    return found


def _make_part(uid: str, numbers: Sequence[int], headers: Sequence[Dataset]) -> SeriesPart:
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
    except (TypeError, ValueError, AttributeError, OverflowError):  # an entry that is no number, say
        return SeriesPart(uid, tuple(numbers), refusal="The headers of this series are damaged; export it again.")


def _group_by_plane(found: Sequence[Frame]) -> list[list[Frame]]:
    """The frames by orientation and pixel size; all together where no two have the same."""
    planes: list[list[Frame]] = []
    for frame in found:
        for plane in planes:
            turned = np.abs(frame.orientation - plane[0].orientation).max() > SAME_PLANE_TOLERANCE
            if not turned and np.allclose(frame.spacing, plane[0].spacing, rtol=1e-3):
                plane.append(frame)
                break
        else:
            planes.append([frame])
            if len(planes) > MAX_PLANES:
                break
    return planes if max(map(len, planes)) > 1 and len(planes) <= MAX_PLANES else [list(found)]


def _join_single_slices(found: list[SeriesPart], headers: Sequence[Dataset]) -> list[SeriesPart]:
    """Single slices with a series uid of their own each, put together where they form a stack."""
    alike: dict[tuple, list[SeriesPart]] = defaultdict(list)
    for part in found:
        if len(part.frames) == 1 and WITHOUT_POSITION not in part.distinctions and not part.exclusion:
            header, frame = headers[part.sources[0]], part.frames[0]
            plane = tuple(np.round([*frame.orientation.ravel(), *frame.spacing], 2) + 0.0)
            look = [str(header.get(word)) for word in ("Rows", "Columns", "Modality", "SeriesDescription")]
            alike[*look, *plane].append(part)
    kept = list(found)
    for slices in alike.values():
        if len({part.uid for part in slices}) < 3:
            continue
        pieces = frame_grouping.split_scans([part.frames[0] for part in slices], series=False)
        if not all(len(piece) > 2 and frame_grouping.is_complete_stack(piece) for piece, _ in pieces):
            continue
        single = set(map(id, slices))
        kept = [part for part in kept if id(part) not in single]
        for piece, what in pieces:
            sources = tuple(frame.source for frame in piece)
            uid = str(headers[sources[0]].get("SeriesInstanceUID", ""))
            told = (f"{len(piece)} series of one slice each form one stack, and were taken together.",)
            kept.append(SeriesPart(uid, sources, tuple(piece), what, told))
    return kept


def _exclude_scouts(found: list[SeriesPart], headers: Sequence[Dataset]) -> list[SeriesPart]:
    """The parts with the reason why nobody means them, where there is one and something else that is meant."""
    meant = [
        p for p in found if not (p.exclusion or WITHOUT_POSITION in p.distinctions or _is_scout_by_name(p, headers))
    ]
    most = max((len(p.frames) for p in meant if not _stack_error(p)), default=0)
    of_series: dict[str, list[SeriesPart]] = defaultdict(list)
    for part in found:
        of_series[part.uid].append(part)
    checked = [
        p if p.exclusion or most < 2 else p._replace(exclusion=_exclusion_reason(p, most, of_series, headers))
        for p in found
    ]
    return checked if any(not part.exclusion for part in checked) else found


def _exclusion_reason(
    part: SeriesPart, most: int, of_series: dict[str, list[SeriesPart]], headers: Sequence[Dataset]
) -> str:
    """Why nobody means the part beside a stack of `most` slices, or ""."""
    count, together = len(part.frames), of_series[part.uid]
    if WITHOUT_POSITION in part.distinctions:
        return "a picture that lies nowhere"
    if part.refusal and headers[part.sources[0]].get("SamplesPerPixel", 1) > 1:
        return "pictures in colour"
    if _is_scout_by_name(part, headers) and count < most:
        return "a scout by its name"
    if count < most and "not parallel" in _stack_error(part):
        return "a scout or a radial series: its images are not parallel"
    if 0 < count <= MAX_STRAY_IMAGES and most >= MIN_FULL_STACK:
        return "beside a whole stack"
    planes = len(together) > 1 and not any(other.distinctions or other.refusal for other in together)
    if planes and 2 * sum(len(other.frames) for other in together) <= most:
        return "a scout: images in several planes"
    return ""


def _is_scout_by_name(part: SeriesPart, headers: Sequence[Dataset]) -> bool:
    header = headers[part.sources[0]]
    return bool(SCOUT_PATTERN.search(f"{header.get('SeriesDescription') or ''} {header.get('ProtocolName') or ''}"))


def _stack_error(part: SeriesPart) -> str:
    """Why the part is no volume, or ""."""
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
