"""Which of the images in an upload of DICOM files is meant: by number, by uid, or because there is no other."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from pydicom.dataset import Dataset

from medapp.errors import InputError
from medapp.io.dicom.frames import Frame
from medapp.io.dicom.series_discovery import WITHOUT_POSITION, SeriesPart
from medapp.io.validation import safe_text

MAX_LISTED_SERIES = 20  # series in a sentence


class SeriesChoice(NamedTuple):
    """What a user needs to choose a series: its name, one line that begins with its number, how many slices it has.

    The line does not hold the patient's name. To choose, `uid` and the number are as good.
    """

    uid: str
    title: str
    slices: int


class SeveralSeriesError(InputError):
    """The upload holds more than one series; `series` lists them, to be given to `read` by uid or number."""

    def __init__(self, series: Sequence[SeriesChoice]) -> None:
        self.series = tuple(series)
        shown = "; ".join(s.title for s in self.series[:MAX_LISTED_SERIES]) + (
            "; …" if len(self.series) > MAX_LISTED_SERIES else ""
        )
        super().__init__(f"The upload holds {len(self.series)} series, choose one of them by its number: {shown}.")

    def __reduce__(self) -> tuple:
        return type(self), (self.series,)


def choose_part(found: Sequence[SeriesPart], headers: Sequence[Dataset], series: str | None) -> SeriesPart:
    """The part that is meant by its number from 1 or its uid, or the only one that is not set aside.

    Raises SeveralSeriesError, and InputError if there is none of that name.
    """
    names = _part_names(found)
    listed = [
        _make_choice(n, name, part, headers) for n, (name, part) in enumerate(zip(names, found, strict=True), start=1)
    ]
    wanted = [n for n, part in enumerate(found) if not part.exclusion] or list(range(len(found)))
    if series is not None:
        text = series.strip()
        wanted = [n for n, part in enumerate(found) if text in (str(n + 1), names[n], part.uid)]
        if not wanted and text.isdigit():
            raise InputError(f"There is no series {text[:9]} in this upload: it holds {len(found)}.")
        if not wanted:
            raise InputError("The series that was chosen is not in this upload; choose again.")
    if len(wanted) > 1:
        raise SeveralSeriesError([listed[n] for n in wanted])
    part = found[wanted[0]]
    if series is not None:
        return part
    others = [f"{_describe_size(p, headers)}{_series_number(p, headers)}, {p.exclusion}" for p in found if p.exclusion]
    if not others:
        return part
    shown = "; ".join(others[:3]) + (f"; and {len(others) - 3} more" if len(others) > 3 else "")
    return part._replace(remarks=(*part.remarks, f"Set aside: {shown}. Upload alone what you want instead."))


def _part_names(found: Sequence[SeriesPart]) -> list[str]:
    """A name for each part: the uid of its series, with a number where that holds several."""
    uids = [part.uid for part in found]
    return [uid if uids.count(uid) == 1 else f"{uid}#{uids[: n + 1].count(uid)}" for n, uid in enumerate(uids)]


def _make_choice(number: int, name: str, part: SeriesPart, headers: Sequence[Dataset]) -> SeriesChoice:
    first = headers[part.sources[0]]
    about = safe_text(str(first.get("SeriesDescription") or first.get("Modality") or "no description"), 40)
    words = ", ".join((about, _describe_size(part, headers), *part.distinctions))
    return SeriesChoice(name, f"{number}. {words}{_series_number(part, headers)}", _count_slices(part, headers))


def _count_slices(part: SeriesPart, headers: Sequence[Dataset]) -> int:
    return len(part.frames) or sum(int(headers[n].get("NumberOfFrames") or 1) for n in part.sources)


def _describe_size(part: SeriesPart, headers: Sequence[Dataset]) -> str:
    """How many slices of which size in which plane; nothing that a person wrote."""
    first, count = headers[part.sources[0]], _count_slices(part, headers)
    size = f"{count} slice{'s' * (count != 1)} of {first.get('Columns')}×{first.get('Rows')}"
    return (
        size if not part.frames or WITHOUT_POSITION in part.distinctions else f"{size}, {_plane_name(part.frames[0])}"
    )


def _series_number(part: SeriesPart, headers: Sequence[Dataset]) -> str:
    number = headers[part.sources[0]].get("SeriesNumber")
    return "" if number in (None, "") else f" (series {safe_text(str(number), 8)})"


def _plane_name(frame: Frame) -> str:
    normal = np.abs(np.cross(*frame.orientation))
    name = ("sagittal", "coronal", "axial")[int(normal.argmax())]
    return name if normal.max() > np.cos(np.radians(20)) else f"oblique {name}"
