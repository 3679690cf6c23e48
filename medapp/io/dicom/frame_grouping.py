"""Group frames of one plane: remove duplicates, and split several scans under one series uid."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np

from medapp.errors import InputError
from medapp.io.dicom.frames import SCAN_ATTRIBUTES, Frame
from medapp.io.dicom.stack import SAME_POSITION_MM, positions_along_normal, stack_frames

TIME_ATTRIBUTES = 2  # the last of SCAN_ATTRIBUTES; a copy may differ in them
VALUE_TOLERANCE = 0.02  # relative, within which two echo times or angles are the same
NamedScan = tuple[list[Frame], tuple[str, ...]]


def remove_duplicates(frames: Sequence[Frame], pixels: Callable[[int], np.ndarray]) -> tuple[list[Frame], int]:
    """Return the frames without copies of others, and the number of copies.

    Copies have the same position, attributes, scale and pixels; `pixels` returns the values of a file by its index.
    """
    candidates: dict[tuple, list[Frame]] = defaultdict(list)
    for frame in frames:
        key = tuple(np.round(frame.position / SAME_POSITION_MM / 2).astype(int))
        candidates[key, frame.attributes[:-TIME_ATTRIBUTES], frame.slope, frame.intercept].append(frame)
    copies: set[tuple[int, int]] = set()
    for group in candidates.values():
        kept: list[np.ndarray] = []
        for frame in group if len(group) > 1 else ():
            array = pixels(frame.source)
            array = array if array.ndim == 2 else array[frame.number]
            # empty images of several time points are equal too
            if any(np.array_equal(array, other) for other in kept) and (
                array.min() < array.max() or frame.attributes == group[0].attributes
            ):
                copies.add((frame.source, frame.number))
            else:
                kept.append(array)
    return [frame for frame in frames if (frame.source, frame.number) not in copies], len(copies)


def split_scans(frames: Sequence[Frame], *, by_series_number: bool = True) -> list[NamedScan]:
    """Split parallel frames into scans, each with the texts that distinguish it from the others.

    They are split by the first of SCAN_ATTRIBUTES that separates them; if none does, by their instance numbers, where
    these pass through the same positions several times. Without `by_series_number` the series number is ignored.
    """
    for n, attribute in enumerate(SCAN_ATTRIBUTES):
        if attribute.name == "series number" and not by_series_number:
            continue
        pieces = _group_by_attribute(frames, n)
        if n >= len(SCAN_ATTRIBUTES) - TIME_ATTRIBUTES and min(map(len, pieces.values())) < 2:
            continue  # each slice has a time of its own
        if len(pieces) > 1 and _are_separate_scans(frames, list(pieces.values()), attribute.is_decisive):
            scans = []
            for value, piece in pieces.items():
                text = f"{attribute.name} {_display_value(value, pieces, attribute.name)}{attribute.unit}".strip()
                texts = (text,) if attribute.name not in ("", "series number") else ()
                scans += [(part, texts + more) for part, more in split_scans(piece, by_series_number=by_series_number)]
            return scans
    passes = _split_passes(frames)
    if (
        len(passes) > 1
        and min(map(len, passes)) > 1
        and _do_overlap(passes)
        and _are_separate_scans(frames, passes, False)
    ):
        return [(piece, (f"pass {n} of {len(passes)}",)) for n, piece in enumerate(passes, start=1)]
    return [(list(frames), ())]


def is_complete_stack(frames: Sequence[Frame]) -> bool:
    """Tell whether the frames form an evenly spaced stack without a gap."""
    try:
        return stack_frames(frames).is_complete
    except InputError:
        return False


def _group_by_attribute(frames: Sequence[Frame], n: int) -> dict[str, list[Frame]]:
    """Group the frames by the value of an attribute; numbers that nearly agree count as one."""
    values = {frame.attributes[n] for frame in frames}
    if len(values) < 2:
        return {next(iter(values)): list(frames)}
    names = {value: value for value in values}
    try:
        numbers = sorted(values, key=float)
        for before, after in pairwise(numbers):
            if SCAN_ATTRIBUTES[n].unit and abs(float(after) - float(before)) <= VALUE_TOLERANCE * abs(float(after)):
                names[after] = names[before]
    except ValueError:
        numbers = sorted(values)
    pieces: dict[str, list[Frame]] = {names[value]: [] for value in numbers}
    for frame in frames:
        pieces[names[frame.attributes[n]]].append(frame)
    return pieces


def _are_separate_scans(frames: Sequence[Frame], pieces: list[list[Frame]], is_decisive: bool) -> bool:
    """Tell whether the pieces are separate scans.

    They are if they form none together, or if they overlap although a decisive attribute separates them.
    """
    count = _max_frames_at_one_position(frames)
    if count > 1:
        has_fewer = max(map(_max_frames_at_one_position, pieces)) < count
        is_even = min(map(len, pieces)) * len(pieces) * 2 >= len(frames)
        return has_fewer and (is_decisive or len(pieces) <= count) and is_even
    if min(map(len, pieces)) < 2:
        return False
    if not _do_overlap(pieces):
        return not _forms_stack(frames) and all(map(_forms_stack, pieces))
    if is_decisive:
        return True
    if not is_complete_stack(frames):
        return all(map(_forms_stack, pieces))
    thickness = next((frame.thickness for frame in frames if frame.thickness), None)
    if thickness is None:
        return False
    together, alone = (
        float(np.median(np.diff(np.sort(positions_along_normal(group))))) for group in (frames, pieces[0])
    )
    return abs(np.log(alone / thickness)) < abs(np.log(together / thickness)) - 0.1


def _forms_stack(frames: Sequence[Frame]) -> bool:
    try:
        stack_frames(frames)
    except InputError:
        return False
    return True


def _do_overlap(pieces: list[list[Frame]]) -> bool:
    """Tell whether any two pieces overlap by more than a quarter of the shorter."""
    normal = np.cross(*pieces[0][0].orientation)
    ends = sorted((min(p), max(p)) for p in ([float(f.position @ normal) for f in piece] for piece in pieces))
    return any(min(a[1], b[1]) - b[0] > 0.25 * min(a[1] - a[0], b[1] - b[0]) for a, b in pairwise(ends))


def _max_frames_at_one_position(frames: Sequence[Frame]) -> int:
    positions = np.sort(positions_along_normal(frames))
    ends = np.flatnonzero(np.diff(positions) >= SAME_POSITION_MM)
    return int(np.diff(np.concatenate([[-1], ends, [len(positions) - 1]])).max())


def _split_passes(frames: Sequence[Frame]) -> list[list[Frame]]:
    """Split frames by the passes of their numbers through the stack: the first image at each position, the second, ...

    Where no position occurs twice, by a number that several have, or by jumps back over most of the stack.
    """
    if any(frame.instance is None for frame in frames):
        return [list(frames)]
    ordered = sorted(frames, key=lambda frame: (frame.instance, frame.source, frame.number))
    positions = positions_along_normal(ordered)
    counts: dict[int, int] = defaultdict(int)
    passes: dict[int, list[Frame]] = defaultdict(list)
    if _max_frames_at_one_position(frames) > 1:
        keys = [round(float(position) / SAME_POSITION_MM / 2) for position in positions]
    elif len({frame.instance for frame in frames}) < len(frames):
        keys = [frame.instance or 0 for frame in ordered]
    else:
        is_jump = np.concatenate([[False], np.abs(np.diff(positions)) > 0.5 * np.ptp(positions)])
        for frame, number in zip(ordered, np.cumsum(is_jump), strict=True):
            passes[int(number)].append(frame)
        return list(passes.values())
    for frame, key in zip(ordered, keys, strict=True):
        passes[counts[key]].append(frame)
        counts[key] += 1
    return list(passes.values())


def _display_value(value: str, others: dict[str, list[Frame]], name: str) -> str:
    """Return a value for display: of an image type only the words that others do not have."""
    if name != "kind":
        return value[:24] or "not given"
    common = set.intersection(*(set(other.split()) for other in others))
    return " ".join(word for word in value.split() if word not in common)[:40] or value[:40] or "not given"
