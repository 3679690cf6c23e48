"""Card: all that is known of a pipeline before it runs."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from medapp.errors import InputError, OptionError

T = TypeVar("T")
MAX_POINTS = 100
MAX_LANDMARKS = 5000
MAX_LETTERS = 20_000
TRUE_WORDS = ("true", "yes", "on", "1")
FALSE_WORDS = ("false", "no", "off", "0")

VOLUME_FILES = (
    ".nii",
    ".nii.gz",
    ".dcm",
    ".ima",
    ".zip",
    ".nrrd",
    ".mha",
    ".mhd",
    ".nhdr",
    ".raw",
    ".zraw",
    ".hdr",
    ".img",
    ".gz",
    ".mgz",
    ".png",
    ".jpg",
    ".jpeg",
    ".tif",
    ".tiff",
)


@dataclass(frozen=True)
class Input:
    """One image that a pipeline takes; `files` are the endings that its upload box offers, `colour` allows colour.

    `labels` if it is a mask or a label map.
    """

    name: str
    title: str
    about: str = ""
    optional: bool = False
    files: tuple[str, ...] = VOLUME_FILES
    colour: bool = False
    labels: bool = False


@dataclass(frozen=True)
class Slider:
    """A number. A `live` option is applied to the kept result, without the network."""

    name: str
    title: str
    low: float
    high: float
    step: float
    default: float
    about: str = ""
    live: bool = False

    def parse(self, value: object) -> float:
        """The value as a number in range. Raises OptionError."""
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
    """One of several words. A `live` option is applied to the kept result, without the network.

    `upload` names the optional input that may be given in place of a word.
    """

    name: str
    title: str
    values: tuple[str, ...]
    default: str
    about: str = ""
    live: bool = False
    upload: str = ""

    def parse(self, value: object) -> str:
        """The value, if it is one of the words. Raises OptionError."""
        if str(value) not in self.values:
            raise OptionError(f"{self.name} must be one of {', '.join(self.values)}, not {value!r}.")
        return str(value)


@dataclass(frozen=True)
class Points:
    """Voxels, written "i,j,k; i,j,k": indices into the image as it is stored, from 0."""

    name: str
    title: str
    about: str = ""
    default: str = ""
    live: bool = False

    def parse(self, value: object) -> tuple[tuple[int, int, int], ...]:
        """The voxels. Raises OptionError."""
        pieces = [piece for piece in str(value).split(";") if piece.strip()]
        found = [re.fullmatch(r"\s*(\d{1,6})\s*,\s*(\d{1,6})\s*,\s*(\d{1,6})\s*", piece) for piece in pieces]
        if len(found) > MAX_POINTS or not all(found):
            raise OptionError(f'{self.name} must be voxels like "120,80,0; 64,64,0", at most {MAX_POINTS} of them.')
        return tuple((int(m[1]), int(m[2]), int(m[3])) for m in found if m)


@dataclass(frozen=True)
class Toggle:
    """Yes or no."""

    name: str
    title: str
    default: bool
    about: str = ""
    live: bool = False

    def parse(self, value: object) -> bool:
        """The value, also from words such as "true" and "no". Raises OptionError."""
        word = str(value).strip().lower()
        if word not in (*TRUE_WORDS, *FALSE_WORDS):
            raise OptionError(f"{self.name} must be true or false, not {value!r}.")
        return word in TRUE_WORDS


@dataclass(frozen=True)
class Text:
    """Words, in one line or several; `check` raises OptionError for what cannot be meant.

    `known` lists what the words may be about, and what is said of each unless the visitor says otherwise.
    """

    name: str
    title: str
    default: str = ""
    about: str = ""
    live: bool = False
    lines: int = 1
    check: Callable[[str], Any] | None = None
    known: Mapping[str, str] = field(default_factory=dict)

    def parse(self, value: object) -> str:
        """The words without the blanks around them. Raises OptionError."""
        text = str(value).strip()
        if len(text) > MAX_LETTERS:
            raise OptionError(f"{self.name} must have at most {MAX_LETTERS} letters.")
        if self.check:
            self.check(text)
        return text


@dataclass(frozen=True)
class Landmarks:
    """Pairs of points, a line each: x, y, z in the fixed image and x, y, z in the moving one, RAS+ millimetres."""

    name: str
    title: str
    about: str = ""
    default: str = ""
    live: bool = False
    lines: int = 3

    def parse(self, value: object) -> tuple[tuple[float, ...], ...]:
        """Six numbers a pair, from lines with commas, semicolons or blanks; a first line of titles is passed over.

        Raises OptionError.
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
    """The numbers of a line; None if something in it is none."""
    try:
        found = tuple(float(word) for word in re.split(r"[,;\s]+", line.strip(" ,;\t")))
    except ValueError:
        return None
    return found if all(math.isfinite(number) for number in found) else None


Option = Slider | Choice | Points | Toggle | Text | Landmarks


@dataclass(frozen=True)
class Weights:
    """A weights file: its name in weights/ and in the Hub repository `repo` at `revision`, and its hash.

    `foreign`: another's file, which may be a .pth; it is read without running what is in it.
    """

    file: str
    repo: str
    revision: str
    sha256: str
    third_party: bool = False


@dataclass(frozen=True)
class Network:
    """Weights and the module that they fit."""

    weights: Weights
    build: Callable[[], Any]


@dataclass(frozen=True)
class Card:
    """A pipeline before it runs: `build()` makes the network, `run(net, *volumes, progress, **options)` the result.

    `aids` are further networks that `run` may ask for by name: it then gets `aid(name) -> nn.Module` too. A pipeline
    that needs these alone has no `build` and gets None for `net`; its `weights` are those of its usual aid.
    `reference` raises InputError for what the method's result cannot be compared with, before anything is computed.
    `folds` maps a title to the optional inputs and the options that are folded away together under it.
    """

    name: str
    task: str
    title: str
    about: str
    inputs: tuple[Input, ...]
    options: tuple[Option, ...]
    weights: Weights
    build: Callable[[], Any] | None
    run: Callable[..., Any]
    licence: str
    cite: str
    trained_on: str
    scores: str
    limits: str
    reference: Callable[..., Any] | None = None
    aids: Mapping[str, Network] = field(default_factory=dict)
    option_groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def arrange(self, given: Sequence[T]) -> tuple[T | None, ...]:
        """One place an input, in the card's order: `given` holds either all of them or just those that are required.

        Where the optional ones come last, the first of them will do too. Raises InputError for any other number.
        """
        required = [i for i in self.inputs if not i.optional]
        last = all(i.optional for i in self.inputs[len(required) :])
        if len(given) == len(self.inputs) or (last and len(required) <= len(given) < len(self.inputs)):
            return (*given, *[None] * (len(self.inputs) - len(given)))
        if len(given) == len(required):
            rest = iter(given)
            return tuple(None if i.optional else next(rest) for i in self.inputs)
        few, all_ = ", ".join(i.title for i in required), ", ".join(i.title for i in self.inputs)
        raise InputError(
            f"{self.name} takes {len(required)} image(s) ({few}) or {len(self.inputs)} ({all_}), not {len(given)}."
        )

    def by_need(self, given: Sequence[T | None]) -> dict[str, T | None]:
        """What is given for the inputs, in the card's order, by name: those that are required come first."""
        named = zip(self.inputs, given, strict=True)
        return {source.name: one for source, one in sorted(named, key=lambda pair: pair[0].optional)}

    def settings(self, given: Mapping[str, object]) -> dict[str, Any]:
        """Every option with its given or default value. Raises OptionError for an unknown name or a bad value."""
        known = {o.name: o for o in self.options}
        for name in given:
            if name not in known:
                raise OptionError(f"{self.name} has no option {name!r}; it has {', '.join(known) or 'none'}.")
        return {name: option.parse(given.get(name, option.default)) for name, option in known.items()}

    def series(self, given: Sequence[str]) -> dict[str, str]:
        """Input's name, or "reference", to the DICOM series that is meant, by number or uid.

        `given` holds NAME=SERIES, or SERIES alone for all inputs. Raises OptionError for an unknown name.
        """
        names = [*(source.name for source in self.inputs), "reference"]
        found: dict[str, str] = {}
        for text in given:
            name, equals, value = text.rpartition("=")
            if equals and name.strip() not in names:
                raise OptionError(f"{self.name} has no input {name.strip()!r}; it has {', '.join(names)}.")
            found |= {n: value.strip() for n in ([name.strip()] if equals else names[:-1])}
        return found
