"""Which of the images in an upload of DICOM files is meant: by number, by uid, or because there is no other."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from pydicom.dataset import Dataset

from medapp.errors import InputError
from medapp.io.dicom.frames import Frame
from medapp.io.dicom.series_discovery import NOWHERE, Part
from medapp.io.validation import said

SHOWN = 20  # series in a sentence


class Series(NamedTuple):
    """What a user needs to choose a series: its name, one line that begins with its number, how many slices it has.

    The line does not hold the patient's name. To choose, `uid` and the number are as good.
    """

    uid: str
    title: str
    slices: int


class SeveralSeries(InputError):
    """The upload holds more than one series; `series` lists them, to be given to `read` by uid or number."""

    def __init__(self, series: Sequence[Series]) -> None:
        self.series = tuple(series)
        shown = "; ".join(s.title for s in self.series[:SHOWN]) + ("; …" if len(self.series) > SHOWN else "")
        super().__init__(f"The upload holds {len(self.series)} series, choose one of them by its number: {shown}.")

    def __reduce__(self) -> tuple:
        return type(self), (self.series,)


def choose(found: Sequence[Part], headers: Sequence[Dataset], series: str | None) -> Part:
    """The part that is meant by its number from 1 or its uid, or the only one that is not set aside.

    Raises SeveralSeries, and InputError if there is none of that name.
    """
    names = _names(found)
    listed = [_entry(n, name, part, headers) for n, (name, part) in enumerate(zip(names, found, strict=True), start=1)]
    wanted = [n for n, part in enumerate(found) if not part.aside] or list(range(len(found)))
    if series is not None:
        text = series.strip()
        wanted = [n for n, part in enumerate(found) if text in (str(n + 1), names[n], part.uid)]
        if not wanted and text.isdigit():
            raise InputError(f"There is no series {text[:9]} in this upload: it holds {len(found)}.")
        if not wanted:
            raise InputError("The series that was chosen is not in this upload; choose again.")
    if len(wanted) > 1:
        raise SeveralSeries([listed[n] for n in wanted])
    part = found[wanted[0]]
    if series is not None:
        return part
    others = [f"{_seen(p, headers)}{_where(p, headers)}, {p.aside}" for p in found if p.aside]
    if not others:
        return part
    shown = "; ".join(others[:3]) + (f"; and {len(others) - 3} more" if len(others) > 3 else "")
    return part._replace(remarks=(*part.remarks, f"Set aside: {shown}. Upload alone what you want instead."))


def _names(found: Sequence[Part]) -> list[str]:
    """A name for each part: the uid of its series, with a number where that holds several."""
    uids = [part.uid for part in found]
    return [uid if uids.count(uid) == 1 else f"{uid}#{uids[: n + 1].count(uid)}" for n, uid in enumerate(uids)]


def _entry(number: int, name: str, part: Part, headers: Sequence[Dataset]) -> Series:
    first = headers[part.sources[0]]
    about = said(str(first.get("SeriesDescription") or first.get("Modality") or "no description"), 40)
    words = ", ".join((about, _seen(part, headers), *part.what))
    return Series(name, f"{number}. {words}{_where(part, headers)}", _slices(part, headers))


def _slices(part: Part, headers: Sequence[Dataset]) -> int:
    return len(part.frames) or sum(int(headers[n].get("NumberOfFrames") or 1) for n in part.sources)


def _seen(part: Part, headers: Sequence[Dataset]) -> str:
    """How many slices of which size in which plane; nothing that a person wrote."""
    first, count = headers[part.sources[0]], _slices(part, headers)
    size = f"{count} slice{'s' * (count != 1)} of {first.get('Columns')}×{first.get('Rows')}"
    return size if not part.frames or NOWHERE in part.what else f"{size}, {_plane(part.frames[0])}"


def _where(part: Part, headers: Sequence[Dataset]) -> str:
    number = headers[part.sources[0]].get("SeriesNumber")
    return "" if number in (None, "") else f" (series {said(str(number), 8)})"


def _plane(frame: Frame) -> str:
    normal = np.abs(np.cross(*frame.orientation))
    name = ("sagittal", "coronal", "axial")[int(normal.argmax())]
    return name if normal.max() > np.cos(np.radians(20)) else f"oblique {name}"
