"""Region naming: which regions a few words mean, by the bank of synonyms, sets of regions, and the text encoder.

Every word must be known, but for spelling and plural. Words in an order or mixture that the bank does not list go to
the text encoder, and count where it is sure.
"""

import re
import unicodedata
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from functools import cache
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor

from medapp.algorithms.region_prompts import (
    REGION_NUMBERS,
    REGION_SYNONYMS,
    SIDE_WORDS,
    make_prompts,
    split_side,
)

Encode = Callable[[Sequence[str]], Tensor]

MIN_COSINE = 0.9  # to a region's prompt, from which the text encoder is believed
MIN_LIKENESS = 0.8  # of two spellings, from which one is taken for the other
MIN_SPELLED = 5  # letters of a word whose spelling may be wrong
MANY = 26  # regions, which are described by what is missing
DEEP_GREY = ("Thalamus", "Caudate", "Putamen", "Pallidum", "Hippocampus", "Amygdala", "Accumbens")
CEREBELLUM = ("Cerebellum-Cortex", "Cerebellum-White-Matter")
VENTRICLES = ("Lateral-Ventricle", "Inf-Lat-Ventricle", "3rd-Ventricle", "4th-Ventricle", "Choroid-Plexus")
REGION_SETS = {
    "ventricle": VENTRICLES,
    "ventricular system": VENTRICLES,
    "cerebral ventricle": VENTRICLES,
    "cerebellum": CEREBELLUM,
    "cerebellar hemisphere": CEREBELLUM,
    "posterior fossa": (*CEREBELLUM, "Brain-Stem", "4th-Ventricle"),
    "basal ganglia": ("Caudate", "Putamen", "Pallidum", "Accumbens"),
    "basal ganglion": ("Caudate", "Putamen", "Pallidum", "Accumbens"),
    "striatum": ("Caudate", "Putamen", "Accumbens"),
    "corpus striatum": ("Caudate", "Putamen", "Accumbens"),
    "lentiform nucleus": ("Putamen", "Pallidum"),
    "lenticular nucleus": ("Putamen", "Pallidum"),
    "diencephalon": ("Thalamus", "Ventral-DC"),
    "cortex": ("Cerebral-Cortex",),
    "grey matter": ("Cerebral-Cortex", "Cerebellum-Cortex", *DEEP_GREY),
    "gray matter": ("Cerebral-Cortex", "Cerebellum-Cortex", *DEEP_GREY),
    **dict.fromkeys(
        (
            "deep grey matter", "deep gray matter", "deep nucleus", "deep structure", "deep grey nucleus",
            "deep gray nucleus", "subcortical structure", "subcortical grey matter", "subcortical gray matter",
            "subcortical region", "subcortical nucleus",
        ),
        DEEP_GREY,
    ),
    **dict.fromkeys(
        ("hemisphere", "cerebral hemisphere", "cerebrum", "hemisphere of the brain"),
        tuple(name for name in REGION_SYNONYMS if not name.startswith(("Cerebellum", "3rd", "4th", "Brain"))),
    ),
    **dict.fromkeys(("everything", "all", "brain", "whole brain", "entire brain", "rest", "rest of the brain",
                     "everything else"), tuple(REGION_SYNONYMS)),
}  # fmt: skip
"""Ways to name several structures at once."""

WHOLE_NAMES = {"Inf-Lat-Ventricle": "inferior lateral ventricle", "Ventral-DC": "ventral diencephalon"}
LESION_WORDS = (
    "lesion", "tumour", "tumor", "stroke", "infarct", "infarction", "glioma", "cavity", "plaque", "mask", "damage",
    "resection", "pathology",
)  # fmt: skip
FILLERS = frozenset(
    (
        "the", "a", "an", "of", "on", "in", "at", "to", "is", "are", "its", "this", "that", "these", "those", "my",
        "our", "with", "from", "side", "sides", "half", "one", "other", "both", "bilateral", "left&right",
    )
)  # fmt: skip
SIDES = {word.strip("."): side for side, words in SIDE_WORDS.items() for word in words if "-" not in word}
PLURALS = (("i", "us"), ("ae", "a"), ("ices", "ex"), ("ina", "en"), ("a", "um"), ("ies", "y"), ("es", ""), ("s", ""))
"""Endings of plurals, and of their singulars."""


class Naming(NamedTuple):
    """What words mean: regions (numbers from 1), or the lesion on a side ("left", "right" or "" for both).

    `unknown` are the words that mean nothing here; then there is neither.
    """

    regions: tuple[int, ...] = ()
    lesion: bool = False
    side: str = ""
    unknown: tuple[str, ...] = ()

    @property
    def is_all(self) -> bool:
        """Whether every region is meant."""
        return len(self.regions) == len(REGION_NUMBERS)


def name_regions(words: Sequence[str], get_encoder: Callable[[], Encode]) -> Naming:
    """Return what words, as of `split_words`, mean. The encoder is asked for only where the bank knows no answer."""
    sides = {SIDES[word] for word in words if word in SIDES}
    side = next(iter(sides)) if len(sides) == 1 else ""
    named = [word for word in words if word not in SIDES and word not in FILLERS]
    if not named:
        return Naming(unknown=(" ".join(words),))
    read = [_correct_word(word) for word in named]
    if unknown := tuple(word for word, known in zip(named, read, strict=True) if known is None):
        return Naming(unknown=unknown)
    spelled = [word for word in read if word]
    if set(spelled) & set(LESION_WORDS):
        return Naming(lesion=True, side=side) if set(spelled) <= set(LESION_WORDS) else Naming(unknown=tuple(named))
    structures = _list_structures().get(_make_key(spelled)) or _ask_encoder(spelled, get_encoder)
    if not structures:
        return Naming(unknown=(" ".join(named),))
    found = ((number, *split_side(number)) for number in REGION_NUMBERS)
    return Naming(tuple(n for n, where, name in found if name in structures and (not where or side in ("", where))))


def split_words(text: str) -> list[str]:
    """Return the words of a text in lower case, without accents, apostrophes and other signs."""
    plain = "".join(sign for sign in unicodedata.normalize("NFKD", text.lower()) if not unicodedata.combining(sign))
    return re.sub(r"[-_.,;:!?()\[\]\"“”<>/]", " ", plain.replace("'", "").replace("’", "")).split()


def describe_regions(regions: Sequence[int]) -> list[str]:
    """Return the names of regions, both sides of a structure in one, and nearly all as all but the others."""
    if len(regions) > MANY:
        others = [number for number in REGION_NUMBERS if number not in regions]
        return [f"all but {', '.join(describe_regions(others))}" if others else "all regions"]
    sides: dict[str, list[str]] = {}
    for number in regions:
        side, name = split_side(number)
        sides.setdefault(name, []).append(side)
    return [
        " ".join(filter(None, (" and ".join(where), WHOLE_NAMES.get(name, name.replace("-", " ").lower()))))
        for name, where in sides.items()
    ]


def _ask_encoder(words: Sequence[str], get_encoder: Callable[[], Encode]) -> tuple[str, ...]:
    """Return the structure that the text encoder is sure of, in the midline or asked for on both sides; else none."""
    encode = get_encoder()
    prompts = F.normalize(encode(make_prompts()), dim=1)
    phrase = " ".join(words)
    asked = [phrase, *(f"{side} {phrase}" for side in SIDE_WORDS)]
    best = (F.normalize(encode(asked), dim=1) @ prompts.T).max(1)
    structures = [split_side(int(number) + 1)[1] for number in best.indices]
    if best.values[0] >= MIN_COSINE:
        return (structures[0],)
    return (structures[1],) if structures[1] == structures[2] and best.values[1:].min() >= MIN_COSINE else ()


def _make_key(words: Sequence[str]) -> tuple[str, ...]:
    """Return what is the same for words in any order, in the singular and in the plural."""
    return tuple(sorted({_to_singular(word) for word in words} - FILLERS))


@cache
def _list_structures() -> dict[tuple[str, ...], tuple[str, ...]]:
    """Return the structures of every name in the bank and the sets, by the key of its words."""
    table = {
        _make_key(split_words(name)): (structure,) for structure, names in REGION_SYNONYMS.items() for name in names
    }
    return table | {_make_key(split_words(name)): structures for name, structures in REGION_SETS.items()}


@cache
def _list_vocabulary() -> frozenset[str]:
    """Return the words of the bank, of the sets and for lesions."""
    names = (*LESION_WORDS, *REGION_SETS, *(name for names in REGION_SYNONYMS.values() for name in names))
    return frozenset(word for name in names for word in split_words(name)) - FILLERS


def _correct_word(word: str) -> str | None:
    """Return the word as the vocabulary spells it, in the singular; None if it is not known."""
    vocabulary = _list_vocabulary()
    if (singular := _to_singular(word)) in vocabulary:
        return singular
    if len(word) < MIN_SPELLED:
        return None
    return next(iter(get_close_matches(word, sorted(vocabulary), 1, MIN_LIKENESS)), None)


def _to_singular(word: str) -> str:
    """Return the singular of a word where the vocabulary holds it, else the word."""
    ends = (word.removesuffix(many) + one for many, one in PLURALS if word.endswith(many))
    return next((singular for singular in ends if singular in _list_vocabulary()), word)
