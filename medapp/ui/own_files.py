"""Own files: which files of a box the visitor has uploaded, told by where they lie, and how they are named."""

from medapp import examples

MAX_NAME_LENGTH = 40  # characters


def uploaded_paths(paths: list[str] | None) -> list[str]:
    """Return those files of a box that the visitor has uploaded."""
    return [path for path in paths or () if examples.of_file(path) is None]


def shorten_name(name: str) -> str:
    """Return the name of a file, without its middle if it is long."""
    return name if len(name) <= MAX_NAME_LENGTH else f"{name[: MAX_NAME_LENGTH - 10]}…{name[-9:]}"
