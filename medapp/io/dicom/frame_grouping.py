"""Frames of one plane told apart: one image sent twice is one, and two scans under one series uid are two."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np

from medapp.errors import InputError
from medapp.io.dicom.frames import SCAN_ATTRIBUTES, Frame
from medapp.io.dicom.stack import SAME_POSITION_MM, positions_along_normal, stack_frames

TIME_ATTRIBUTES = 2  # of MARKS, at the end; a copy may differ in them
VALUE_TOLERANCE = 0.02  # of a number, within which it is the same echo time or angle
NamedScan = tuple[list[Frame], tuple[str, ...]]


def remove_duplicates(found: Sequence[Frame], pixels: Callable[[int], np.ndarray]) -> tuple[list[Frame], int]:
    """The frames without those that are the same image as another, and how many were left out.

    The same are images at one place with the same marks, scale and pixels; `pixels` gives the values of a file.
    """
    places: dict[tuple, list[Frame]] = defaultdict(list)
    for frame in found:
        key = tuple(np.round(frame.position / SAME_POSITION_MM / 2).astype(int))
        places[key, frame.attributes[:-TIME_ATTRIBUTES], frame.slope, frame.intercept].append(frame)
    double: set[tuple[int, int]] = set()
    for same in places.values():
        kept: list[np.ndarray] = []
        for frame in same if len(same) > 1 else ():
            array = pixels(frame.source)
            array = array if array.ndim == 2 else array[frame.number]
            # an empty image is also that of another time
            if any(np.array_equal(array, other) for other in kept) and (
                array.min() < array.max() or frame.attributes == same[0].attributes
            ):
                double.add((frame.source, frame.number))
            else:
                kept.append(array)
    return [frame for frame in found if (frame.source, frame.number) not in double], len(double)


def split_scans(found: Sequence[Frame], *, series: bool = True) -> list[NamedScan]:
    """The scans among parallel frames, each with the words that tell it from the others.

    They are parted by the first of MARKS that does so; where none does, by the order of their numbers, if that leads
    through the same places several times. With `series` False the series number counts for nothing.
    """
    for n, mark in enumerate(SCAN_ATTRIBUTES):
        if mark.name == "series number" and not series:
            continue
        pieces = _group_by_attribute(found, n)
        if n >= len(SCAN_ATTRIBUTES) - TIME_ATTRIBUTES and min(map(len, pieces.values())) < 2:
            continue  # each slice has a time of its own
        if len(pieces) > 1 and _are_separate_scans(found, list(pieces.values()), mark.is_decisive):
            told = []
            for value, piece in pieces.items():
                words = f"{mark.name} {_display_value(value, pieces, mark.name)}{mark.unit}".strip()
                named = (words,) if mark.name not in ("", "series number") else ()
                told += [(part, named + more) for part, more in split_scans(piece, series=series)]
            return told
    passes = _split_passes(found)
    if (
        len(passes) > 1
        and min(map(len, passes)) > 1
        and _do_overlap(passes)
        and _are_separate_scans(found, passes, False)
    ):
        return [(piece, (f"pass {n} of {len(passes)}",)) for n, piece in enumerate(passes, start=1)]
    return [(list(found), ())]


def is_complete_stack(found: Sequence[Frame]) -> bool:
    """Whether the frames make an even stack without a gap."""
    try:
        return not any("missing" in remark or "changes" in remark for remark in stack_frames(found).remarks)
    except InputError:
        return False


def _group_by_attribute(found: Sequence[Frame], n: int) -> dict[str, list[Frame]]:
    """The frames by the value of a mark; numbers that nearly agree are one."""
    values = {frame.attributes[n] for frame in found}
    if len(values) < 2:
        return {next(iter(values)): list(found)}
    names = {value: value for value in values}
    try:
        numbers = sorted(values, key=float)
        for before, after in pairwise(numbers):
            if SCAN_ATTRIBUTES[n].unit and abs(float(after) - float(before)) <= VALUE_TOLERANCE * abs(float(after)):
                names[after] = names[before]
    except ValueError:
        numbers = sorted(values)
    pieces: dict[str, list[Frame]] = {names[value]: [] for value in numbers}
    for frame in found:
        pieces[names[frame.attributes[n]]].append(frame)
    return pieces


def _are_separate_scans(found: Sequence[Frame], pieces: list[list[Frame]], sure: bool) -> bool:
    """Whether the pieces are scans of their own: together they are none, or they overlap although told apart surely."""
    crowd = _max_frames_at_one_position(found)
    if crowd > 1:
        fewer = max(map(_max_frames_at_one_position, pieces)) < crowd
        return fewer and (sure or len(pieces) <= crowd) and min(map(len, pieces)) * len(pieces) * 2 >= len(found)
    if min(map(len, pieces)) < 2:
        return False
    if not _do_overlap(pieces):
        return not _forms_stack(found) and all(map(_forms_stack, pieces))
    if sure:
        return True
    if not is_complete_stack(found):
        return all(map(_forms_stack, pieces))
    depth = next((frame.thickness for frame in found if frame.thickness), None)
    if depth is None:
        return False
    together, alone = (float(np.median(np.diff(np.sort(positions_along_normal(some))))) for some in (found, pieces[0]))
    return abs(np.log(alone / depth)) < abs(np.log(together / depth)) - 0.1


def _forms_stack(found: Sequence[Frame]) -> bool:
    try:
        stack_frames(found)
    except InputError:
        return False
    return True


def _do_overlap(pieces: list[list[Frame]]) -> bool:
    """Whether any two pieces cover the same stretch by more than a quarter of the shorter."""
    across = np.cross(*pieces[0][0].orientation)
    ends = sorted((min(at), max(at)) for at in ([float(f.position @ across) for f in piece] for piece in pieces))
    return any(min(a[1], b[1]) - b[0] > 0.25 * min(a[1] - a[0], b[1] - b[0]) for a, b in pairwise(ends))


def _max_frames_at_one_position(found: Sequence[Frame]) -> int:
    at = np.sort(positions_along_normal(found))
    ends = np.flatnonzero(np.diff(at) >= SAME_POSITION_MM)
    return int(np.diff(np.concatenate([[-1], ends, [len(at) - 1]])).max())


def _split_passes(found: Sequence[Frame]) -> list[list[Frame]]:
    """The frames as their numbers lead through the stack: the first image at each place, the second, and so on.

    Where no place is taken twice, by the number that several have, or by a jump back over most of the stack.
    """
    if any(frame.instance is None for frame in found):
        return [list(found)]
    ordered = sorted(found, key=lambda frame: (frame.instance, frame.source, frame.number))
    at = positions_along_normal(ordered)
    turns: dict[int, int] = defaultdict(int)
    passes: dict[int, list[Frame]] = defaultdict(list)
    if _max_frames_at_one_position(found) > 1:
        keys = [round(float(x) / SAME_POSITION_MM / 2) for x in at]
    elif len({frame.instance for frame in found}) < len(found):
        keys = [frame.instance or 0 for frame in ordered]
    else:
        back = np.concatenate([[False], np.abs(np.diff(at)) > 0.5 * np.ptp(at)])
        for frame, turn in zip(ordered, np.cumsum(back), strict=True):
            passes[int(turn)].append(frame)
        return list(passes.values())
    for frame, key in zip(ordered, keys, strict=True):
        passes[turns[key]].append(frame)
        turns[key] += 1
    return list(passes.values())


def _display_value(value: str, others: dict[str, list[Frame]], name: str) -> str:
    """A value as it is shown: of kinds of image the words that not all have."""
    if name != "kind":
        return value[:24] or "not given"
    common = set.intersection(*(set(other.split()) for other in others))
    return " ".join(word for word in value.split() if word not in common)[:40] or value[:40] or "not given"
