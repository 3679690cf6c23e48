"""Card: everything about a method that is known before it runs."""

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from medapp.errors import InputError, OptionError
from medapp.options import Option, RenamedWarning, renaming_note

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
    """An image that a method takes.

    `files` are the file name endings that its upload box offers, `colour` says whether colour is taken, `labels`
    whether the image is a mask or a label map. `former` are names that the input had before, taken for one release.

    `kinds` are the kinds of scan that fit, the best first, in the words of `imaging.scan_kinds`; any if it is empty.
    `check` raises InputError for an image that a run refuses, `doubt` gives a warning, or "", for one that it takes.
    """

    name: str
    title: str
    about: str = ""
    optional: bool = False
    files: tuple[str, ...] = VOLUME_FILES
    colour: bool = False
    labels: bool = False
    former: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    check: Callable[[Any], object] | None = None
    doubt: Callable[[Any], str] | None = None


@dataclass(frozen=True)
class Weights:
    """A weights file: its name in weights/ and in the Hub repository `repo` at `revision`, and its SHA-256.

    `third_party` marks a file published by others, which may be a .pth: it is read without running code from it.
    """

    file: str
    repo: str
    revision: str
    sha256: str
    third_party: bool = False


@dataclass(frozen=True)
class Network:
    """Weights, and a function that builds the module they fit."""

    weights: Weights
    build: Callable[[], Any]


@dataclass(frozen=True)
class Card:
    """A method before it runs: `build()` makes the network, `run(net, *volumes, progress, **options)` the result.

    `networks` are further networks that `run` may ask for by name: it then gets `get_network(name) -> nn.Module` too. A
    method that needs these alone has no `build` and gets None for `net`; its `weights` are those of its usual network.
    `reference` raises InputError for a reference that the method's result cannot be compared with, before anything is
    computed. `presenter` names what shows its results (see `presenters`); `preview` is the method that shows how its
    inputs are prepared, "" for none: it takes the same inputs. `option_groups` maps a title to the optional inputs and
    the options that are collapsed under it. `is_companion`: it serves the published methods, and is listed after them.
    `former` are names that the method had before, taken for one release.
    """

    name: str
    task: str
    presenter: str
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
    networks: Mapping[str, Network] = field(default_factory=dict)
    preview: str = ""
    option_groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    is_companion: bool = False
    former: tuple[str, ...] = ()

    def arrange_inputs(self, given: Sequence[T]) -> tuple[T | None, ...]:
        """Return one value an input, in the card's order, None for a missing one.

        `given` holds all of the inputs or only the required ones. Where the optional ones come last, the first of them
        are enough. Raises InputError for any other number.
        """
        required = [i for i in self.inputs if not i.optional]
        optional_last = all(i.optional for i in self.inputs[len(required) :])
        if len(given) == len(self.inputs) or (optional_last and len(required) <= len(given) < len(self.inputs)):
            return (*given, *[None] * (len(self.inputs) - len(given)))
        if len(given) == len(required):
            rest = iter(given)
            return tuple(None if i.optional else next(rest) for i in self.inputs)
        few, every = ", ".join(i.title for i in required), ", ".join(i.title for i in self.inputs)
        raise InputError(
            f"{self.name} takes {len(required)} image(s) ({few}) or {len(self.inputs)} ({every}), not {len(given)}."
        )

    def name_inputs(self, given: Sequence[T | None]) -> dict[str, T | None]:
        """Return the values of the inputs, in the card's order, by name; those of required inputs come first."""
        named = zip(self.inputs, given, strict=True)
        return {source.name: one for source, one in sorted(named, key=lambda pair: pair[0].optional)}

    def use_present_names(self, given: Mapping[str, T]) -> dict[str, T]:
        """Return values of inputs and options under their present names, with a RenamedWarning for every old one.

        Raises OptionError if there is a value under both names.
        """
        return use_present_names(given, (*self.inputs, *self.options))

    def parse_settings(self, given: Mapping[str, object]) -> dict[str, Any]:
        """Return every option with its given or default value. Raises OptionError for an unknown name or a bad value.

        An old name is taken with a RenamedWarning.
        """
        values = use_present_names(given, self.options)
        known = {o.name: o for o in self.options}
        for name in values:
            if name not in known:
                raise OptionError(f"{self.name} has no option {name!r}; it has {', '.join(known) or 'none'}.")
        return {name: option.parse(values.get(name, option.default)) for name, option in known.items()}

    def parse_series(self, given: Sequence[str]) -> dict[str, str]:
        """Map an input's name, or "reference", to the DICOM series that is meant, by its number or UID.

        `given` holds NAME=SERIES, or SERIES alone for all inputs. Raises OptionError for an unknown name.
        """
        names = [*(source.name for source in self.inputs), "reference"]
        series: dict[str, str] = {}
        for text in given:
            name, equals, value = (part.strip() for part in text.rpartition("="))
            if not equals:
                series |= dict.fromkeys(names[:-1], value)
                continue
            (present,) = use_present_names({name: value}, self.inputs)
            if present not in names:
                raise OptionError(f"{self.name} has no input {name!r}; it has {', '.join(names)}.")
            series[present] = value
        return series


def use_present_names(given: Mapping[str, T], parts: Iterable[Input | Option]) -> dict[str, T]:
    """Return `given` with the old names of `parts` replaced, with a RenamedWarning for each.

    Raises OptionError if there is a value under both names.
    """
    present = {old: part.name for part in parts for old in part.former}
    values: dict[str, T] = {}
    for name, value in given.items():
        new = present.get(name, name)
        if new in values or (new != name and new in given):
            raise OptionError(f"{new} is given twice, also under its old name.")
        if new != name:
            warnings.warn(renaming_note(name, new), RenamedWarning, stacklevel=3)
        values[new] = value
    return values
