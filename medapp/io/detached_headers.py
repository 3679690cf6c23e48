"""Headers whose voxels are in separate data files: find these among the uploaded files and nowhere else."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from medapp.errors import InputError
from medapp.io.validation import safe_text
from medapp.limits import MAX_SLICES


def check_file_name(value: str, path: Path) -> str:
    """Return the bare name of a data file that the header `path` names. Raises InputError for other folders."""
    name = re.sub(r"^(\.[/\\])+", "", value.strip())
    if not re.fullmatch(r"\w[\w .()+,@&'-]*", name) or ".." in name or len(name) > 255:
        raise InputError(
            f"{safe_text(path)} points to voxels in another folder; write the bare name of their file into it, and "
            "upload both together."
        )
    return name


def expand_pattern(pattern: str, first: int, last: int, step: int, path: Path) -> list[str]:
    """Return the file names of a numbered pattern such as `slice%03d.raw`. Raises InputError for other patterns."""
    form = re.fullmatch(r"([^%]*)%(0?\d?)d([^%]*)", pattern)
    count = (last - first) // step + 1 if step else 0
    if not form or not 0 < count <= MAX_SLICES:
        raise InputError(f"{safe_text(path)} does not clearly name the files of its voxels; save it as one file.")
    return [
        check_file_name(f"{form[1]}{n:{form[2]}d}{form[3]}", path) for n in range(first, first + count * step, step)
    ]


def find_data_files(names: Sequence[str], path: Path, companions: Iterable[Path]) -> list[Path]:
    """Return the files called `names` among `companions`.

    Where none has exactly the name, special characters, which an upload may lose, and `.gz` are ignored. Raises
    InputError for a missing file, and for several of one name of which none is beside the header `path`.
    """
    by_name: dict[str, list[Path]] = {}
    for other in companions:
        if other != path:
            by_name.setdefault(_simplify_name(other.name), []).append(other)
    data_files = []
    for name in names:
        simple = _simplify_name(name)
        variants = (simple, f"{simple}.gz", simple.removesuffix(".gz"))
        candidates = next((by_name[variant] for variant in variants if variant in by_name), [])
        candidates = [other for other in candidates if other.name == name] or candidates
        candidates = [other for other in candidates if other.parent == path.parent] or candidates
        if not candidates:
            raise InputError(
                f"{safe_text(path)} is only a header: upload it together with {safe_text(name)}, as files or in one "
                "zip."
            )
        if len(candidates) > 1:
            raise InputError(
                f"The upload holds {len(candidates)} files called {safe_text(name)}; upload one image at a time."
            )
        data_files.append(candidates[0])
    return data_files


def _simplify_name(name: str) -> str:
    return re.sub(r"[^\w.]", "", name).lower()
