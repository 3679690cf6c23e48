"""Region prompts: what the text encoder reads for each of the brain's 35 regions, and a bank of synonyms."""

from collections.abc import Mapping
from itertools import product

from medapp.errors import OptionError
from medapp.imaging.brain_labels import CLASS_NAMES

PROMPT_TEMPLATE = "A magnetic resonance imaging of a {} in human brain."
"""The sentence of TextSCF (Chen et al. 2023, arXiv:2311.15607), as its authors wrote it."""

REGION_NUMBERS = range(1, len(CLASS_NAMES))
SPOKEN_NAMES = {label: CLASS_NAMES[label].replace("-", " ").lower() for label in REGION_NUMBERS}
"""Region 1 to 35 to the name in the authors' prompts, such as "left inf lat ventricle"."""

MAX_LETTERS = 200  # of a name or a template

REGION_SYNONYMS: Mapping[str, tuple[str, ...]] = {
    "Cerebral-White-Matter": (
        "cerebral white matter", "white matter of the cerebrum", "white matter", "hemispheric white matter",
        "cerebral wm", "substantia alba cerebri", "wm of the cerebrum", "myelinated tissue of the cerebrum",
        "centrum semiovale",
    ),
    "Cerebral-Cortex": (
        "cerebral cortex", "cortex of the cerebrum", "cerebral grey matter", "cerebral gray matter", "cortical ribbon",
        "cortical grey matter", "cortical gray matter", "cortex cerebri", "cerebral gm", "ctx", "neocortex",
    ),
    "Lateral-Ventricle": (
        "lateral ventricle", "body of the lateral ventricle", "ventriculus lateralis", "lv", "lat ventricle",
        "frontal horn of the lateral ventricle", "anterior horn of the lateral ventricle",
    ),
    "Inf-Lat-Ventricle": (
        "inf lat ventricle", "inferior lateral ventricle", "inf lat vent", "temporal horn", "cornu temporale",
        "temporal horn of the lateral ventricle", "inferior horn of the lateral ventricle", "inferior horn",
        "cornu inferius",
    ),
    "Cerebellum-White-Matter": (
        "cerebellum white matter", "cerebellar white matter", "white matter of the cerebellum", "cerebellum wm",
        "cerebellar wm", "substantia alba cerebelli", "arbor vitae", "myelinated tissue of the cerebellum",
    ),
    "Cerebellum-Cortex": (
        "cerebellum cortex", "cerebellar cortex", "cortex of the cerebellum", "cerebellar grey matter",
        "cortex cerebelli", "cerebellar gray matter", "grey matter of the cerebellum", "cerebellum gm",
        "folia of the cerebellum",
    ),
    "Thalamus": (
        "thalamus", "thalamus proper", "thalamic nuclei", "thalamic region", "dorsal thalamus", "thal",
        "nuclei thalami", "optic thalamus",
    ),
    "Caudate": (
        "caudate", "caudate nucleus", "nucleus caudatus", "caud", "head of the caudate", "tail of the caudate nucleus",
        "caudatum",
    ),
    "Putamen": (
        "putamen", "putaminal nucleus", "nucleus putamen", "put", "putaminal region",
        "shell of the lentiform nucleus",
    ),
    "Pallidum": (
        "pallidum", "globus pallidus", "pallidal nucleus", "gp", "paleostriatum", "pale globe of the lentiform nucleus",
        "pallidal region",
    ),
    "3rd-Ventricle": (
        "3rd ventricle", "third ventricle", "ventriculus tertius", "3v", "iii ventricle", "third cerebral ventricle",
    ),
    "4th-Ventricle": (
        "4th ventricle", "fourth ventricle", "ventriculus quartus", "4v", "iv ventricle", "fourth cerebral ventricle",
        "rhomboid fossa",
    ),
    "Brain-Stem": (
        "brain stem", "brainstem", "brain-stem", "midbrain, pons and medulla", "truncus encephali", "truncus cerebri",
        "pons", "midbrain", "medulla oblongata", "stem of the brain", "bs",
    ),
    "Hippocampus": (
        "hippocampus", "hippocampal formation", "hippocampus proper", "ammon's horn", "cornu ammonis", "hipp", "hippo",
        "hippocampal region", "pes hippocampi", "sea horse of the temporal lobe",
    ),
    "Amygdala": (
        "amygdala", "amygdaloid body", "amygdaloid complex", "corpus amygdaloideum", "amy", "amyg", "amygdalar region",
        "almond of the temporal lobe",
    ),
    "Accumbens": (
        "accumbens", "accumbens area", "nucleus accumbens", "accumbens nucleus", "nacc", "nucleus accumbens septi",
        "acc area",
    ),
    "Ventral-DC": (
        "ventral dc", "ventral diencephalon", "ventral part of the diencephalon", "vdc", "hypothalamic region",
        "hypothalamus and subthalamus", "subthalamic region", "diencephalon ventrale", "ventraldc",
    ),
    "Vessel": (
        "vessel", "blood vessel", "perivascular space", "lenticulostriate vessel", "vas sanguineum", "vascular space",
        "perforating artery", "virchow-robin space",
    ),
    "Choroid-Plexus": (
        "choroid plexus", "plexus choroideus", "choroidal plexus", "plexus", "chp", "choroid", "plexus of the choroid",
    ),
}  # fmt: skip
"""Structure -> ways to name it in English, Latin and short."""

SIDE_WORDS = {
    "left": ("left", "left-sided", "left-hand", "lh", "l", "l.", "lt", "sinister"),
    "right": ("right", "right-sided", "right-hand", "rh", "r", "r.", "rt", "dexter"),
}
SIDE_FORMS = (
    "{side} {name}", "{side}-{name}", "{any} {name}", "{any}_{name}", "{name} on the {side}", "{name} ({any})",
    "{name}, {any}", "{name} of the {side} hemisphere", "{side} hemisphere {name}", "{name} on the {side} side",
    "{any}-{name}", "{name} {any}", "{name} in the {side} half of the brain",
)  # fmt: skip
PROMPT_TEMPLATES = (
    PROMPT_TEMPLATE, "{}", "the {}", "a {}", "{}.", "mri of the {}", "a t1-weighted scan of the {}",
    "an image that shows the {}", "segmentation of the {}", "the {} in a human brain", "a region of the brain: {}",
    "a brain scan, {}", "region {}", "the patient's {}", "location of the {} on magnetic resonance imaging",
    "label: {}", "t1 image of the {} of a human", "this is the {} of a patient", "anatomy of the {}", "{} in mri",
    "a magnetic resonance image of the {}",
)  # fmt: skip


def fill_template(name: str, template: str = PROMPT_TEMPLATE) -> str:
    """Put the name into the template. Raises OptionError for an empty or long name, or a template without one "{}"."""
    if template.count("{}") != 1 or len(template) > MAX_LETTERS:
        raise OptionError('The prompt template must contain "{}" once, in place of the region name.')
    if not name.strip() or len(name) > MAX_LETTERS:
        raise OptionError(f"A region's name must have 1 to {MAX_LETTERS} letters.")
    return template.replace("{}", name.strip())


def make_prompts(names: Mapping[int, str] | None = None, template: str = PROMPT_TEMPLATE) -> tuple[str, ...]:
    """Return the 35 prompts in the regions' order; `names` replaces those of some, 1 to 35. Raises OptionError."""
    spoken = SPOKEN_NAMES | dict(names or {})
    if len(spoken) != len(SPOKEN_NAMES):
        raise OptionError(f"Regions are numbered 1 to {len(SPOKEN_NAMES)}.")
    return tuple(fill_template(spoken[label], template) for label in REGION_NUMBERS)


def parse_names(text: str) -> dict[int, str]:
    """Parse names that the user changed, as in "left hippocampus = right hippocampus; 13 = brainstem", or in lines.

    Before the sign stands a region's number or name, as in the label map or in the prompts. Raises OptionError.
    """
    known = {str(label): label for label in REGION_NUMBERS} | {name: label for label, name in SPOKEN_NAMES.items()}
    names = {}
    for piece in text.replace("\n", ";").split(";"):
        if not piece.strip():
            continue
        region, sign, name = piece.partition("=")
        label = known.get(" ".join(region.replace("-", " ").lower().split()))
        if not sign or label is None:
            raise OptionError(
                f'Write "left hippocampus = other words", one of the 35 regions first, not {piece.strip()!r}.'
            )
        names[label] = name.strip()
    return names


def split_side(label: int) -> tuple[str, str]:
    """Return the side of a region 1 to 35, "" in the middle, and its structure, a key of REGION_SYNONYMS."""
    side, _, rest = CLASS_NAMES[label].partition("-")
    return (side.lower(), rest) if side in ("Left", "Right") else ("", CLASS_NAMES[label])


def list_phrases(label: int) -> list[str]:
    """List every way of the bank to name a region."""
    side, rest = split_side(label)
    if not side:
        return list(REGION_SYNONYMS[rest])
    phrases = [
        form.format(side=side, any=other, name=name)
        for name, form in product(REGION_SYNONYMS[rest], SIDE_FORMS)
        for other in (SIDE_WORDS[side] if "{any}" in form else ("",))
    ]
    return list(dict.fromkeys(phrases))
