"""Options: the settings of a method that a user may change, and how their text is parsed."""

import math
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from medapp.errors import OptionError

MAX_POINTS = 100
MAX_LANDMARKS = 5000
MAX_LETTERS = 20_000
TRUE_WORDS = ("true", "yes", "on", "1")
FALSE_WORDS = ("false", "no", "off", "0")


class RenamedWarning(FutureWarning):
    """An old name was used that is taken for one release after it has been changed."""


def renaming_note(old: str, new: str) -> str:
    """Tell the user that `old` is now called `new`."""
    return f"{old} is now called {new}; the old name will not be taken by the next release."


@dataclass(frozen=True)
class Slider:
    """A number from `low` to `high`; the fields below mean the same for every kind of option.

    `about` is the help, one sentence. A `live` option is applied to the kept result, without running the network again.
    `former` are names that the option had before, taken for one release.
    """

    name: str
    title: str
    low: float
    high: float
    step: float
    default: float
    about: str = ""
    live: bool = False
    former: tuple[str, ...] = ()

    def parse(self, value: object) -> float:
        """Return the value as a number. Raises OptionError for other text and for a number out of range."""
        try:
            number = float(str(value))
        except ValueError:
            raise OptionError(
                f"{self.name} must be a number from {self.low:g} to {self.high:g}, not {value!r}."
            ) from None
        if not self.low <= number <= self.high:
            raise OptionError(f"{self.name} must lie from {self.low:g} to {self.high:g}, not at {number:g}.")
        return number


@dataclass(frozen=True)
class Choice:
    """One of several words.

    `upload` names the optional input that may be given in place of a word. `former_values` maps words of before to
    those of today.
    """

    name: str
    title: str
    values: tuple[str, ...]
    default: str
    about: str = ""
    live: bool = False
    upload: str = ""
    former: tuple[str, ...] = ()
    former_values: Mapping[str, str] = field(default_factory=dict)

    def parse(self, value: object) -> str:
        """Return the word; one of `former_values` is replaced with a RenamedWarning. Raises OptionError for another."""
        word = str(value)
        if word in self.former_values:
            word = self.former_values[word]
            note = renaming_note(f"{self.name}={value}", f"{self.name}={word}")
            warnings.warn(note, RenamedWarning, stacklevel=2)
        if word not in self.values:
            raise OptionError(f"{self.name} must be one of {', '.join(self.values)}, not {value!r}.")
        return word


@dataclass(frozen=True)
class Points:
    """Voxels, written "i,j,k; i,j,k": indices from 0 into the image as it is stored."""

    name: str
    title: str
    about: str = ""
    default: str = ""
    live: bool = False
    former: tuple[str, ...] = ()

    def parse(self, value: object) -> tuple[tuple[int, int, int], ...]:
        """Return the voxels. Raises OptionError for other text and for more than MAX_POINTS of them."""
        pieces = [piece for piece in str(value).split(";") if piece.strip()]
        matches = [re.fullmatch(r"\s*(\d{1,6})\s*,\s*(\d{1,6})\s*,\s*(\d{1,6})\s*", piece) for piece in pieces]
        if len(matches) > MAX_POINTS or not all(matches):
            raise OptionError(f'{self.name} must be voxels like "120,80,0; 64,64,0", at most {MAX_POINTS} of them.')
        return tuple((int(m[1]), int(m[2]), int(m[3])) for m in matches if m)


@dataclass(frozen=True)
class Toggle:
    """Yes or no."""

    name: str
    title: str
    default: bool
    about: str = ""
    live: bool = False
    former: tuple[str, ...] = ()

    def parse(self, value: object) -> bool:
        """Return the value, also from words such as "true" and "no". Raises OptionError for other words."""
        word = str(value).strip().lower()
        if word not in (*TRUE_WORDS, *FALSE_WORDS):
            raise OptionError(f"{self.name} must be true or false, not {value!r}.")
        return word in TRUE_WORDS


@dataclass(frozen=True)
class Text:
    """Free text, in one line or several; `check` raises OptionError for text that means nothing.

    `known` maps each subject of the text to its default, to be shown to the user. `explain(text, get_network)` returns
    what is understood of a text, as a `result.Table`, and sentences on what is not, to be shown before a run.
    """

    name: str
    title: str
    default: str = ""
    about: str = ""
    live: bool = False
    lines: int = 1
    check: Callable[[str], Any] | None = None
    explain: Callable[[str, Callable[[str], Any]], Any] | None = None
    known: Mapping[str, str] = field(default_factory=dict)
    former: tuple[str, ...] = ()

    def parse(self, value: object) -> str:
        """Return the text without surrounding blanks. Raises OptionError for more than MAX_LETTERS, or from `check`."""
        text = str(value).strip()
        if len(text) > MAX_LETTERS:
            raise OptionError(f"{self.name} must have at most {MAX_LETTERS} letters.")
        if self.check:
            self.check(text)
        return text


@dataclass(frozen=True)
class Landmarks:
    """Pairs of points, one a line: x, y, z in the fixed image and x, y, z in the moving image, RAS+ mm."""

    name: str
    title: str
    about: str = ""
    default: str = ""
    live: bool = False
    lines: int = 3
    former: tuple[str, ...] = ()

    def parse(self, value: object) -> tuple[tuple[float, ...], ...]:
        """Return six numbers a pair, from lines with commas, semicolons or blanks; a header line is skipped.

        Raises OptionError for other text and for more than MAX_LANDMARKS lines.
        """
        if isinstance(value, tuple):
            return value
        lines = [line for line in str(value).splitlines() if line.strip()]
        pairs = [_parse_numbers(line) for line in lines]
        if pairs and pairs[0] is None and lines[0].strip()[0].isalpha():
            pairs = pairs[1:]
        if len(pairs) > MAX_LANDMARKS or any(pair is None or len(pair) != 6 for pair in pairs):
            raise OptionError(
                f"{self.name} must hold six numbers a line, x, y, z in the fixed and x, y, z in the moving image, in "
                f"at most {MAX_LANDMARKS} lines."
            )
        return tuple(pair for pair in pairs if pair)


def _parse_numbers(line: str) -> tuple[float, ...] | None:
    """Return the numbers of a line; None if something in it is not a finite number."""
    try:
        numbers = tuple(float(word) for word in re.split(r"[,;\s]+", line.strip(" ,;\t")))
    except ValueError:
        return None
    return numbers if all(math.isfinite(number) for number in numbers) else None


Option = Slider | Choice | Points | Toggle | Text | Landmarks
