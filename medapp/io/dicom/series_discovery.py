"""The images that an upload of DICOM files holds: its series, or what lies within one, and what nobody means."""

import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from pydicom.dataset import Dataset

from medapp.errors import InputError
from medapp.io.dicom import frame_grouping
from medapp.io.dicom.frames import Frame, flat, frames, has_place
from medapp.io.dicom.stack import SAME_PLANE, placed
from medapp.limits import MAX_SERIES

SCOUT = re.compile(
    r"scout|locali[sz]er|survey|surview|topogram|scanogram|planning|3[ _-]?plane|three[ _-]?plane|\bloc\b",
    re.IGNORECASE,
)
FEW, MANY = 2, 8  # images beside a stack that are nobody's scan, and slices of that stack
MAX_PLANES = 16  # in a series; more are a radial one
NOWHERE = "without a position"


class Part(NamedTuple):
    """Images that belong together, though perhaps to no volume: `sources` are the files, `frames` their slices.

    `refusal` says why there are no frames; `what` tells it from others of its series; `aside` says why nobody means it.
    """

    uid: str
    sources: tuple[int, ...]
    frames: tuple[Frame, ...] = ()
    what: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    refusal: str = ""
    aside: str = ""


def parts(headers: Sequence[Dataset], pixels: Callable[[int], np.ndarray]) -> list[Part]:
    """The images among the files, those that nobody means last; `pixels` gives the stored values of a file by number.

    Files of one series uid are parted by size, plane and pixel size, and where several lie at one place, or two scans
    interlace, by what the headers tell apart. Files with a series uid of their own each that form one stack are joined.
    """
    groups: dict[str, list[int]] = defaultdict(list)
    for n, header in enumerate(headers):
        groups[str(header.get("SeriesInstanceUID", ""))].append(n)
    found = [part for uid, numbers in groups.items() for part in _of_series(uid, numbers, headers, pixels)]
    found = _joined(found, headers)
    if len(found) > MAX_SERIES:
        raise InputError(f"The upload holds more than {MAX_SERIES} series; upload the one you want.")
    found = _set_aside(found, headers)
    return sorted(found, key=lambda p: (bool(p.aside), *_number(headers[p.sources[0]]), -len(p.frames)))


def is_localizer(header: Dataset) -> bool:
    return "LOCALIZER" in (header.get("ImageType") or ())


def _of_series(
    uid: str, numbers: list[int], headers: Sequence[Dataset], pixels: Callable[[int], np.ndarray]
) -> list[Part]:
    """What the files of one series uid hold."""
    scouts = [n for n in numbers if is_localizer(headers[n])]
    if len(scouts) == len(numbers):
        return [_placed_or_not(uid, numbers, headers)._replace(aside="a localizer")]
    remarks: tuple[str, ...] = ()
    if scouts:
        remarks = (f"{len(scouts)} localizer images of the series were left out.",)
        numbers = [n for n in numbers if n not in set(scouts)]
    looks: dict[tuple, list[int]] = defaultdict(list)
    for n in sorted(numbers, key=lambda n: str(headers[n].get("SOPInstanceUID"))):  # the same, however they come
        looks[headers[n].get("Rows"), headers[n].get("Columns"), headers[n].get("SamplesPerPixel", 1)].append(n)
    found: list[Part] = []
    for alike in looks.values():
        part = _placed_or_not(uid, alike, headers)._replace(remarks=remarks)
        if part.refusal or len(part.frames) < 2:
            found.append(part)
            continue
        for plane in _planes(part.frames):
            once, doubles = frame_grouping.without_doubles(plane, pixels)
            again = "1 image was" if doubles == 1 else f"{doubles} images were"
            told = (f"{again} sent twice, and taken once.",) if doubles else ()
            for piece, what in frame_grouping.told_apart(once):
                sources = tuple(dict.fromkeys(frame.source for frame in piece))
                found.append(Part(uid, sources, tuple(piece), what, remarks + told))
    return found


def _placed_or_not(uid: str, numbers: Sequence[int], headers: Sequence[Dataset]) -> Part:
    try:
        if len(numbers) == 1 and not headers[numbers[0]].get("NumberOfFrames") and not has_place(headers[numbers[0]]):
            return Part(uid, tuple(numbers), (flat(headers[numbers[0]], numbers[0]),), (NOWHERE,))
        return Part(uid, tuple(numbers), tuple(f for n in numbers for f in frames(headers[n], n)))
    except InputError as error:
        return Part(uid, tuple(numbers), refusal=str(error))
    except (TypeError, ValueError, AttributeError, OverflowError):  # an entry that is no number, say
        return Part(uid, tuple(numbers), refusal="The headers of this series are damaged; export it again.")


def _planes(found: Sequence[Frame]) -> list[list[Frame]]:
    """The frames by orientation and pixel size; all together where no two have the same."""
    planes: list[list[Frame]] = []
    for frame in found:
        for plane in planes:
            turned = np.abs(frame.orientation - plane[0].orientation).max() > SAME_PLANE
            if not turned and np.allclose(frame.spacing, plane[0].spacing, rtol=1e-3):
                plane.append(frame)
                break
        else:
            planes.append([frame])
            if len(planes) > MAX_PLANES:
                break
    return planes if max(map(len, planes)) > 1 and len(planes) <= MAX_PLANES else [list(found)]


def _joined(found: list[Part], headers: Sequence[Dataset]) -> list[Part]:
    """Single slices with a series uid of their own each, put together where they form a stack."""
    alike: dict[tuple, list[Part]] = defaultdict(list)
    for part in found:
        if len(part.frames) == 1 and NOWHERE not in part.what and not part.aside:
            header, frame = headers[part.sources[0]], part.frames[0]
            plane = tuple(np.round([*frame.orientation.ravel(), *frame.spacing], 2) + 0.0)
            look = [str(header.get(word)) for word in ("Rows", "Columns", "Modality", "SeriesDescription")]
            alike[*look, *plane].append(part)
    kept = list(found)
    for slices in alike.values():
        if len({part.uid for part in slices}) < 3:
            continue
        pieces = frame_grouping.told_apart([part.frames[0] for part in slices], series=False)
        if not all(len(piece) > 2 and frame_grouping.whole(piece) for piece, _ in pieces):
            continue
        single = set(map(id, slices))
        kept = [part for part in kept if id(part) not in single]
        for piece, what in pieces:
            sources = tuple(frame.source for frame in piece)
            uid = str(headers[sources[0]].get("SeriesInstanceUID", ""))
            told = (f"{len(piece)} series of one slice each form one stack, and were taken together.",)
            kept.append(Part(uid, sources, tuple(piece), what, told))
    return kept


def _set_aside(found: list[Part], headers: Sequence[Dataset]) -> list[Part]:
    """The parts with the reason why nobody means them, where there is one and something else that is meant."""
    meant = [p for p in found if not (p.aside or NOWHERE in p.what or _named_scout(p, headers))]
    most = max((len(p.frames) for p in meant if not _why_not(p)), default=0)
    of_series: dict[str, list[Part]] = defaultdict(list)
    for part in found:
        of_series[part.uid].append(part)
    checked = [p if p.aside or most < 2 else p._replace(aside=_reason(p, most, of_series, headers)) for p in found]
    return checked if any(not part.aside for part in checked) else found


def _reason(part: Part, most: int, of_series: dict[str, list[Part]], headers: Sequence[Dataset]) -> str:
    """Why nobody means the part beside a stack of `most` slices, or ""."""
    count, together = len(part.frames), of_series[part.uid]
    if NOWHERE in part.what:
        return "a picture that lies nowhere"
    if part.refusal and headers[part.sources[0]].get("SamplesPerPixel", 1) > 1:
        return "pictures in colour"
    if _named_scout(part, headers) and count < most:
        return "a scout by its name"
    if count < most and "not parallel" in _why_not(part):
        return "a scout or a radial series: its images are not parallel"
    if 0 < count <= FEW and most >= MANY:
        return "beside a whole stack"
    planes = len(together) > 1 and not any(other.what or other.refusal for other in together)
    if planes and 2 * sum(len(other.frames) for other in together) <= most:
        return "a scout: images in several planes"
    return ""


def _named_scout(part: Part, headers: Sequence[Dataset]) -> bool:
    header = headers[part.sources[0]]
    return bool(SCOUT.search(f"{header.get('SeriesDescription') or ''} {header.get('ProtocolName') or ''}"))


def _why_not(part: Part) -> str:
    """Why the part is no volume, or ""."""
    if part.refusal:
        return part.refusal
    try:
        placed(part.frames)
    except InputError as error:
        return str(error)
    return ""


def _number(header: Dataset) -> tuple[int, str]:
    try:
        return int(header.get("SeriesNumber")), str(header.get("SeriesInstanceUID", ""))
    except (TypeError, ValueError):
        return 10**9, str(header.get("SeriesInstanceUID", ""))
