"""How well names of regions are understood: `python -m training.evaluation.region_names`.

Names that the text encoder was not trained on, names of the bank in the plural and misspelled (a letter left out,
doubled or swapped with the next), and words for other things. Prints the share that is taken for the right structure,
for another one, and that is said to be unknown.
"""

import argparse
import random
from collections.abc import Iterator

from medapp.algorithms.region_naming import name_regions, split_words
from medapp.algorithms.region_prompts import REGION_SYNONYMS, split_side
from medapp.algorithms.text_encoder import make_encoder
from medapp.serving import runtime
from training.methods.text_encoder import HELD_OUT_SYNONYMS, HELD_OUT_UNRELATED, UNRELATED_WORDS

OTHER_PARTS = (
    "frontal lobe", "temporal lobe", "occipital lobe", "insula", "cingulate", "corpus callosum", "fornix", "skull",
    "substantia nigra", "red nucleus", "pituitary", "optic nerve", "eye", "scalp", "spinal cord", "falx", "tentorium",
    "claustrum", "internal capsule", "sulcus", "gyrus", "meninges", "carotid", "sinus", "tongue", "ear", "nose", "jaw",
    "neck", "artery",
)  # fmt: skip
PLURALS = {
    "hippocampi": "Hippocampus", "thalami": "Thalamus", "putamina": "Putamen", "caudates": "Caudate",
    "pallida": "Pallidum", "globi pallidi": "Pallidum", "amygdalae": "Amygdala", "amygdalas": "Amygdala",
    "lateral ventricles": "Lateral-Ventricle", "temporal horns": "Inf-Lat-Ventricle",
    "nuclei caudati": "Caudate", "caudate nuclei": "Caudate",
    "choroid plexuses": "Choroid-Plexus", "cerebral cortices": "Cerebral-Cortex", "nuclei accumbentes": "Accumbens",
    "vessels": "Vessel", "brainstems": "Brain-Stem", "cerebellar cortices": "Cerebellum-Cortex",
}  # fmt: skip
MIN_LETTERS = 6  # of a word that is misspelled


def misspell(name: str, rng: random.Random) -> str:
    """Change one letter of the longest word: it is left out, doubled, or changes places with the next."""
    word = max(name.split(), key=len)
    at = rng.randrange(1, len(word) - 1)
    changed = rng.choice(
        (
            word[:at] + word[at + 1 :],
            word[:at] + word[at] + word[at:],
            word[:at] + word[at + 1] + word[at] + word[at + 2 :],
        )
    )
    return name.replace(word, changed)


def list_phrases(rng: random.Random) -> Iterator[tuple[str, str, str]]:
    """Yield kind, phrase, and the structure that it means, "" for none."""
    for structure, held_out in HELD_OUT_SYNONYMS.items():
        yield from (("names held out", name, structure) for name in held_out)
    yield from (("plurals", name, structure) for name, structure in PLURALS.items())
    for structure, names in REGION_SYNONYMS.items():
        for name in names:
            if len(max(name.split(), key=len)) >= MIN_LETTERS:
                yield "misspelled", misspell(name, rng), structure
    for word in (w for w in (*HELD_OUT_UNRELATED, *UNRELATED_WORDS, *OTHER_PARTS) if w):
        yield "other things", f"{rng.choice(('', 'left ', 'the right '))}{word}", ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    rng = random.Random(parser.parse_args().seed)
    card = runtime.find_card("register_brain_textscf")
    encode = make_encoder(runtime.load_network(card, "cpu", {}, "text")).encode
    answers: dict[str, list[str]] = {}
    for kind, phrase, structure in list_phrases(rng):
        naming = name_regions(split_words(phrase), lambda: encode)
        found = {split_side(number)[1] for number in naming.regions}
        answer = "unknown" if naming.unknown else "right" if found == {structure} else "wrong"
        answers.setdefault(kind, []).append(answer)
        if answer != ("right" if structure else "unknown"):
            print(f"{kind}: “{phrase}” {answer} {', '.join(sorted(found))}")
    print("| phrases | number | right | another region | said to be unknown |\n|---|---|---|---|---|")
    for kind, given in answers.items():
        shares = " | ".join(f"{given.count(answer) / len(given):.0%}" for answer in ("right", "wrong", "unknown"))
        print(f"| {kind} | {len(given)} | {shares} |")


if __name__ == "__main__":
    main()
