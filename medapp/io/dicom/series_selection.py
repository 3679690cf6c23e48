"""Select one of the images in an upload of DICOM files: by number, by uid, or because it is the only one."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from pydicom.dataset import Dataset

from medapp.errors import InputError
from medapp.io.dicom.frames import Frame
from medapp.io.dicom.series_discovery import WITHOUT_POSITION, SeriesPart
from medapp.io.validation import safe_text

MAX_LISTED_SERIES = 20  # in a message


class SeriesChoice(NamedTuple):
    """What a user needs to choose a series: its uid, a title that begins with its number, and its number of slices.

    The title does not contain patient data. Either the uid or the number selects the series.
    """

    uid: str
    title: str
    slices: int


class SeveralSeriesError(InputError):
    """The upload holds more than one series; `series` lists them, and `read` takes the uid or number of one."""

    def __init__(self, series: Sequence[SeriesChoice]) -> None:
        """Make the message from the titles of the series."""
        self.series = tuple(series)
        titles = "; ".join(s.title for s in self.series[:MAX_LISTED_SERIES]) + (
            "; …" if len(self.series) > MAX_LISTED_SERIES else ""
        )
        super().__init__(f"The upload holds {len(self.series)} series; choose one of them by its number: {titles}.")

    def __reduce__(self) -> tuple:
        """Pickle the list of series, since the sandbox passes this error on."""
        return type(self), (self.series,)


def choose_part(parts: Sequence[SeriesPart], headers: Sequence[Dataset], series: str | None) -> SeriesPart:
    """Return the part with this number from 1 or this uid, or, without `series`, the only one that is not excluded.

    Raises SeveralSeriesError if several match, and InputError if none does.
    """
    names = _part_names(parts)
    choices = [
        _make_choice(n, name, part, headers) for n, (name, part) in enumerate(zip(names, parts, strict=True), start=1)
    ]
    selected = [n for n, part in enumerate(parts) if not part.exclusion] or list(range(len(parts)))
    if series is not None:
        text = series.strip()
        selected = [n for n, part in enumerate(parts) if text in (str(n + 1), names[n], part.uid)]
        if not selected and text.isdigit():
            raise InputError(f"There is no series {text[:9]} in this upload; choose one from 1 to {len(parts)}.")
        if not selected:
            raise InputError("The chosen series is not in this upload; choose again.")
    if len(selected) > 1:
        raise SeveralSeriesError([choices[n] for n in selected])
    part = parts[selected[0]]
    if series is not None:
        return part
    excluded = [
        f"{_describe_size(p, headers)}{_series_number(p, headers)}, {p.exclusion}" for p in parts if p.exclusion
    ]
    if not excluded:
        return part
    listed = "; ".join(excluded[:3]) + (f"; and {len(excluded) - 3} more" if len(excluded) > 3 else "")
    return part._replace(remarks=(*part.remarks, f"Ignored: {listed}. To use one of these, upload it alone."))


def _part_names(parts: Sequence[SeriesPart]) -> list[str]:
    """Return a name for each part: the uid of its series, with a number where the series has several parts."""
    uids = [part.uid for part in parts]
    return [uid if uids.count(uid) == 1 else f"{uid}#{uids[: n + 1].count(uid)}" for n, uid in enumerate(uids)]


def _make_choice(number: int, name: str, part: SeriesPart, headers: Sequence[Dataset]) -> SeriesChoice:
    first = headers[part.sources[0]]
    description = safe_text(str(first.get("SeriesDescription") or first.get("Modality") or "no description"), 40)
    title = ", ".join((description, _describe_size(part, headers), *part.distinctions))
    return SeriesChoice(name, f"{number}. {title}{_series_number(part, headers)}", _count_slices(part, headers))


def _count_slices(part: SeriesPart, headers: Sequence[Dataset]) -> int:
    return len(part.frames) or sum(int(headers[n].get("NumberOfFrames") or 1) for n in part.sources)


def _describe_size(part: SeriesPart, headers: Sequence[Dataset]) -> str:
    """Return the number of slices, their size and their plane as text, without anything that a person wrote."""
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
