"""Card: all that is known of a pipeline before it runs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from medapp.errors import InputError, OptionError

T = TypeVar("T")

VOLUME_FILES = (
    ".nii",
    ".nii.gz",
    ".dcm",
    ".ima",
    ".zip",
    ".nrrd",
    ".mha",
    ".mhd",
    ".raw",
    ".mgz",
    ".png",
    ".jpg",
    ".jpeg",
    ".tif",
    ".tiff",
)


@dataclass(frozen=True)
class Input:
    """One image that a pipeline takes; `files` are the endings that its upload box offers."""

    name: str
    title: str
    about: str = ""
    optional: bool = False
    files: tuple[str, ...] = VOLUME_FILES


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
    """One of several words. A `live` option is applied to the kept result, without the network."""

    name: str
    title: str
    values: tuple[str, ...]
    default: str
    about: str = ""
    live: bool = False

    def parse(self, value: object) -> str:
        """The value, if it is one of the words. Raises OptionError."""
        if str(value) not in self.values:
            raise OptionError(f"{self.name} must be one of {', '.join(self.values)}, not {value!r}.")
        return str(value)


Option = Slider | Choice


@dataclass(frozen=True)
class Weights:
    """A weights file: its name in weights/ and in the Hub repository `repo` at `revision`, and its hash."""

    file: str
    repo: str
    revision: str
    sha256: str


@dataclass(frozen=True)
class Card:
    """A pipeline before it runs: `build()` makes the network, `run(net, *volumes, progress, **options)` the result."""

    name: str
    task: str
    title: str
    about: str
    inputs: tuple[Input, ...]
    options: tuple[Option, ...]
    weights: Weights
    build: Callable[[], Any]
    run: Callable[..., Any]
    licence: str
    cite: str
    trained_on: str
    scores: str
    limits: str

    def arrange(self, given: Sequence[T]) -> tuple[T | None, ...]:
        """One place an input, in the card's order: `given` holds either all of them or just those that are required.

        Raises InputError for any other number.
        """
        required = [i for i in self.inputs if not i.optional]
        if len(given) == len(self.inputs):
            return tuple(given)
        if len(given) == len(required):
            rest = iter(given)
            return tuple(None if i.optional else next(rest) for i in self.inputs)
        few, all_ = ", ".join(i.title for i in required), ", ".join(i.title for i in self.inputs)
        raise InputError(
            f"{self.name} takes {len(required)} image(s) ({few}) or {len(self.inputs)} ({all_}), not {len(given)}."
        )

    def settings(self, given: Mapping[str, object]) -> dict[str, Any]:
        """Every option with its given or default value. Raises OptionError for an unknown name or a bad value."""
        known = {o.name: o for o in self.options}
        for name in given:
            if name not in known:
                raise OptionError(f"{self.name} has no option {name!r}; it has {', '.join(known) or 'none'}.")
        return {name: option.parse(given.get(name, option.default)) for name, option in known.items()}
