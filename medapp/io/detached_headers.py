"""Headers whose voxels lie in files of their own: which files these are, among what was uploaded and nowhere else."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from medapp.errors import InputError
from medapp.io.validation import safe_text
from medapp.limits import MAX_SLICES


def check_file_name(value: str, path: Path) -> str:
    """The bare name of a file that the header `path` names. Raises InputError for a path that leads elsewhere."""
    name = re.sub(r"^(\.[/\\])+", "", value.strip())
    if not re.fullmatch(r"\w[\w .()+,@&'-]*", name) or ".." in name or len(name) > 255:
        raise InputError(
            f"{safe_text(path)} points to voxels in another folder; write the bare name of their file into it, "
            "and upload "
            "both together."
        )
    return name


def expand_pattern(pattern: str, first: int, last: int, step: int, path: Path) -> list[str]:
    """The names that a pattern with a number in it, such as `slice%03d.raw`, stands for. Raises InputError."""
    form = re.fullmatch(r"([^%]*)%(0?\d?)d([^%]*)", pattern)
    count = (last - first) // step + 1 if step else 0
    if not form or not 0 < count <= MAX_SLICES:
        raise InputError(f"{safe_text(path)} does not say plainly in which files its voxels are; save it as one file.")
    return [
        check_file_name(f"{form[1]}{n:{form[2]}d}{form[3]}", path) for n in range(first, first + count * step, step)
    ]


def find_data_files(names: Sequence[str], path: Path, companions: Iterable[Path]) -> list[Path]:
    """The files called `names` among `companions`.

    Where none has the very name, odd letters, which an upload loses, do not count, nor whether `.gz` is there. Raises
    InputError for what is not there, and where several are called alike and none lies beside the header `path`.
    """
    there: dict[str, list[Path]] = {}
    for other in companions:
        if other != path:
            there.setdefault(_simplify_name(other.name), []).append(other)
    found = []
    for name in names:
        wanted = _simplify_name(name)
        ways = (wanted, f"{wanted}.gz", wanted.removesuffix(".gz"))
        alike = next((there[way] for way in ways if way in there), [])
        alike = [other for other in alike if other.name == name] or alike
        beside = [other for other in alike if other.parent == path.parent] or alike
        if not beside:
            raise InputError(
                f"{safe_text(path)} is only a header: upload it together with {safe_text(name)}, as files or in one "
                "zip."
            )
        if len(beside) > 1:
            raise InputError(
                f"The upload holds {len(beside)} files called {safe_text(name)}; upload one image at a time."
            )
        found.append(beside[0])
    return found


def _simplify_name(name: str) -> str:
    return re.sub(r"[^\w.]", "", name).lower()
