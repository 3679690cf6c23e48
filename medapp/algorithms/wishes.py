"""Wishes: what a line of plain words asks of a registration, region by region.

A line is cut into parts at commas, full stops and words such as "and". Each part has an effect, or shares that of its
neighbours, and names regions; see `region_naming`.
"""

import re
from collections.abc import Callable, Sequence
from enum import StrEnum
from functools import cache
from typing import Any, NamedTuple

from medapp.algorithms.region_naming import Naming, describe_regions, name_regions, split_words
from medapp.algorithms.text_encoder import make_encoder
from medapp.errors import OptionError
from medapp.result import Table

MAX_LETTERS = 1000
NO_LESION = (
    "The lesion is to be ignored, but there is no mask of it: give one as the lesion in the fixed or in the moving "
    "image, such as the mask that a segmentation here has made."
)
TABLE_COLUMNS = ("what", "effect", "words")
TABLE_HELP = "What the words under “What matters” were taken for."


class Effect(StrEnum):
    """What is asked for."""

    MATCH = "match more"
    IGNORE = "ignore"
    RIGID = "keep rigid"


class Wish(NamedTuple):
    """Something that is asked for some regions, or for the lesion on a side ("" for both), in the user's `words`."""

    effect: Effect
    naming: Naming
    words: str

    @property
    def subjects(self) -> list[str]:
        """What it is about, in words."""
        if self.naming.lesion:
            return [f"lesion on the {self.naming.side}" if self.naming.side else "lesion"]
        return describe_regions(self.naming.regions)


class Reading(NamedTuple):
    """What a line asks for, and sentences on what was not understood or cannot be."""

    wishes: tuple[Wish, ...] = ()
    problems: tuple[str, ...] = ()

    @property
    def table(self) -> Table:
        """A row for each subject: what, the effect, and the words it was read from."""
        rows = ((subject, str(wish.effect), wish.words) for wish in self.wishes for subject in wish.subjects)
        return Table(TABLE_COLUMNS, tuple(rows), TABLE_HELP)

    def select_regions(self, effect: Effect) -> tuple[int, ...]:
        """Return the regions for which an effect is asked for."""
        return tuple(dict.fromkeys(n for wish in self.wishes if wish.effect == effect for n in wish.naming.regions))

    @property
    def lesion_sides(self) -> tuple[str, ...]:
        """The sides of the lesion that are to be ignored, "" for both; none where the words say nothing of it."""
        return tuple(wish.naming.side for wish in self.wishes if wish.naming.lesion)


class _Part(NamedTuple):
    """A piece of a line: its words without those of its effect, the effect if it has one, and the joining word before.

    `is_open` if it begins like "keep the …", whose effect comes later.
    """

    text: str
    words: list[str]
    effect: Effect | None
    joint: str
    is_open: bool


NOT = r"(?:do not|dont|not|never|no need to|without|cannot|must not|should not|shouldnt|does not|doesnt)"
MATCHING = (
    r"(?:match(?:ed|es|ing)?|align(?:ed|ing)?|fit(?:ted|s)?|register(?:ed|ing)?|use[d]?|count(?:s|ed)?|compare[d]?|care"
    r"|consider(?:ed)?|matter[s]?)"
)
BENDING = (
    r"(?:deform(?:ed|ing)?|bend|bent|bending|warp(?:ed|ing)?|stretch(?:ed)?|distort(?:ed)?|change[d]?|squeeze[d]?)"
)
PATTERNS: tuple[tuple[str, Effect], ...] = (
    (rf"{NOT} (?:be )?{BENDING}(?: the shape of)?", Effect.RIGID),
    (rf"{NOT} (?:be )?(?:to )?{MATCHING}(?: about| for)?", Effect.IGNORE),
    (r"(?:keep|hold|leave|preserve)s? the (?:shape|form|size) of", Effect.RIGID),
    (r"rigid(?:ly)?|stiff(?:ly)?|undeformed|unbent|unchanged|as a rigid body|fixed in shape|in shape", Effect.RIGID),
    (
        r"ignor(?:e|es|ed|ing)|leave (?:out|away|aside)|left out|exclud(?:e|es|ed)|disregard(?:ed|ing)?|skip(?:ped)?"
        r"|mask(?:ed|ing)? out|mask off|omit(?:ted)?|forget(?: about)?|unimportant|irrelevant|neglect(?:ed)?",
        Effect.IGNORE,
    ),
    (
        rf"{MATCHING}(?: most)?(?: more)?|focus(?:ed)?(?: on)?|priorit(?:i[sz]e|y)|emphasi[sz]e|emphasis on"
        r"|(?:pay )?attention to|important|weight|stress|concentrate on|exact(?:ly)?|precise(?:ly)?|accurate(?:ly)?"
        r"|well|best|perfect(?:ly)?|carefully|closely|tightly",
        Effect.MATCH,
    ),
)
NOISE = re.compile(
    r"\b(?:please|as possible|as|very|much|more|most|mostly|only|just|mainly|especially|above all|must|should|has to"
    r"|have to|needs? to|be|being|i|we|you|me|want|wish|would|like|make|sure|that|it|them|they|there|for|particularly"
    r"|really|also|too|need|all of)\b"
)
OPENING = re.compile(r"\b(?:keep|hold|leave)\b")
JOINTS = re.compile(
    r"([,;\n]|\.(?=\s|$)|\b(?:and|but not|but|then|while|plus|or|except for|except|excluding|apart from|other than"
    r"|besides|yet|with|whereas)\b|\s&\s|\s\+\s)",
    re.IGNORECASE,
)
REST = {"rest", "else", "other"}  # words for what was not named before
BOTH = "left&right"  # stands for "left and right", where the line is not to be cut
EXCEPTIONS = ("but", "but not", "except", "except for", "excluding", "apart from", "other than", "besides")


def check_wishes(text: str) -> None:
    """Raise OptionError for a text that is too long."""
    if len(text) > MAX_LETTERS:
        raise OptionError(f"What matters must be said in at most {MAX_LETTERS} letters.")


def explain_wishes(text: str, get_network: Callable[[str], Any]) -> tuple[Table, tuple[str, ...]]:
    """Return what is understood of a text as a table, and sentences on what is not."""
    check_wishes(text)
    reading = read_wishes(text, get_network)
    return reading.table, reading.problems


def require_clear(reading: Reading, has_lesion: bool) -> Reading:
    """Return the reading. Raises OptionError for what was not understood, and for a lesion without a mask."""
    if reading.problems:
        raise OptionError(f"What matters: {' '.join(reading.problems)}")
    if reading.lesion_sides and not has_lesion:
        raise OptionError(NO_LESION)
    return reading


def read_wishes(text: str, get_network: Callable[[str], Any]) -> Reading:
    """Read a line of plain words. The network "text" is asked for only where the bank of names knows no answer."""
    get_encoder = cache(lambda: make_encoder(get_network("text")).encode)
    parts = _share_effects([part for part in _split_parts(text) if part.words or part.effect])
    wishes: list[Wish] = []
    problems: list[str] = []
    side_before: list[str] = []
    for part in parts:
        if not part.words:
            problems.append(f"“{part.text}”: say which region.")
            continue
        words = part.words
        inherits = part.joint == "and" and side_before and words[0] != "the" and not _find_side(words)
        naming = name_regions([*side_before, *words] if inherits else words, get_encoder)
        side_before = side_before if inherits else _find_side(words)
        if naming.is_all and REST & set(words):
            named = {number for wish in wishes for number in wish.naming.regions}
            naming = naming._replace(regions=tuple(number for number in naming.regions if number not in named))
        assert part.effect is not None
        wish = Wish(part.effect, naming, part.text)
        if naming.unknown:
            unknown = ", ".join(f"“{word}”" for word in naming.unknown)
            problems.append(f"{unknown} is no region that is known here.")
        elif naming.lesion and part.effect != Effect.IGNORE:
            problems.append(f"“{part.text}”: a lesion can only be ignored.")
        elif part.joint in EXCEPTIONS and wishes and wishes[-1].naming.is_all:
            wishes[-1:] = _make_exception(wishes[-1], wish)
        else:
            wishes.append(wish)
    wishes = [wish for wish in wishes if not (wish.effect == Effect.MATCH and wish.naming.is_all)]
    return Reading(tuple(wishes), (*dict.fromkeys(problems), *_find_conflicts(wishes)))


def _split_parts(text: str) -> list[_Part]:
    """Cut a line into parts, and find the effect that each of them names."""
    joined = re.sub(r"\bleft (?:and|or|&) right\b|\bright (?:and|or|&) left\b", BOTH, text, flags=re.IGNORECASE)
    pieces = JOINTS.split(joined)
    parts = []
    for joint, piece in zip(["", *pieces[1::2]], pieces[0::2], strict=True):
        effect, rest = None, " ".join(split_words(piece))
        for pattern, meant in PATTERNS:
            rest, count = re.subn(rf"\b(?:{pattern})\b", " ", rest)
            effect = effect or (meant if count else None)
        is_open = bool(OPENING.search(rest))
        rest = NOISE.sub(" ", OPENING.sub(" ", rest))
        said = " ".join(piece.replace(BOTH, "left and right").strip(" .!?").split())
        parts.append(_Part(said, rest.split(), effect, joint.strip().lower(), is_open))
    return parts


def _share_effects(parts: Sequence[_Part]) -> list[_Part]:
    """Give every part an effect: its own, that of the part before, or of the next one where "keep the …" begins."""
    done: list[_Part] = []
    for number, part in enumerate(parts):
        effect = part.effect
        if effect is None and (part.is_open or not done):
            later = (p.effect for p in parts[number:] if p.effect is not None)
            effect = next(later, Effect.RIGID if part.is_open else Effect.MATCH)
        elif effect is None:
            effect = done[-1].effect
        done.append(part._replace(effect=effect))
    return [part for part in done if part.words or not _is_adverb(part)]


def _is_adverb(part: _Part) -> bool:
    """Whether a part says how, not what, such as "and exactly"."""
    return not part.words and part.effect is not None and len(part.text.split()) <= 1 and part.joint == "and"


def _find_side(words: Sequence[str]) -> list[str]:
    return [word for word in words if word in ("left", "right")][:1]


def _make_exception(every: Wish, wish: Wish) -> list[Wish]:
    """Return what "everything except …" means."""
    rest = tuple(number for number in every.naming.regions if number not in wish.naming.regions)
    if every.effect == Effect.MATCH:
        return [wish._replace(effect=Effect.IGNORE)]
    return [every._replace(naming=Naming(rest), words=f"{every.words} {wish.words}")]


def _find_conflicts(wishes: Sequence[Wish]) -> list[str]:
    """Say which regions are asked to be matched more and to be ignored."""
    matched, ignored = (
        {n for wish in wishes if wish.effect == effect for n in wish.naming.regions}
        for effect in (Effect.MATCH, Effect.IGNORE)
    )
    both = describe_regions(sorted(matched & ignored))
    return [f"{name[0].upper()}{name[1:]}: the words ask to match it more and to ignore it." for name in both]
