"""Cases of any folder of patients, images beside masks or BIDS, for `training.evaluation.evaluate`.

Plain, `WORD` telling what a file is (see `input_words` and TRUTH_WORDS): `ID_WORD.nii.gz`, such as `7_flair.nii.gz` and
`7_mask.nii.gz`; a folder for each person, `7/flair.nii.gz` or `7/7_flair.nii.gz`; a folder for each kind,
`images/7.nii.gz` and `masks/7.nii.gz`. The person is ID up to the first `_`, or the person's folder: where these are
visits, a pattern of one's own tells who is who. In place of a file there may be a folder of DICOM files.

BIDS: `sub-7/[ses-1/]anat/sub-7_[ses-1_]FLAIR.nii.gz`, masks anywhere as `sub-7_..._mask`, `_dseg` and so on, those with
`lesion` among their entities first, those of the brain never. Where there are several runs, the shortest name is taken.
"""

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from medapp.card import VOLUME_FILES, Card, Input
from medapp.errors import InputError
from medapp.imaging.geometry import resample
from medapp.imaging.volume import Volume
from medapp.io import files
from training.core.case import Case

SUBJECT = "[^_]+"  # by default the person is the name up to the first _
MASK_WORDS = ("mask", "lesion", "lesions", "seg", "dseg", "roi", "truth", "labels", "label")
LABEL_WORDS = ("labels", "label", "dseg", "seg", "aseg", "truth")
CLEAN_WORDS = ("reference", "clean", "full", "sharp", "truth")
TRUTH_WORDS: Mapping[str, Sequence[str]] = {
    "lesions": MASK_WORDS,
    "regions": LABEL_WORDS,
    "restoration": CLEAN_WORDS,
    "registration": ("fixed_labels", *LABEL_WORDS),
}
MODALITY_WORDS = {  # further words for an image
    "flair": ("t2f",),
    "t1": ("t1w", "t1n", "mprage", "pre"),
    "t2": ("t2w",),
    "t1ce": ("t1gd", "t1c", "post"),
    "mri": ("t1", "t1w", "t1n", "mprage"),
}
NATIVE_SPACES = ("orig", "individual", "t1w", "t2w", "flair")  # BIDS: spaces that are the scan's own


class Exam(NamedTuple):
    """An exam: its person, its name, and the file (or the folder of DICOM files) of each role."""

    subject: str
    name: str
    files: Mapping[str, Path]


class FolderFile(NamedTuple):
    """A file, the word that tells what it is, and its rank among files of the same word: less is better."""

    subject: str
    name: str
    word: str
    path: Path
    rank: tuple


def find_exams(folder: Path, roles: Mapping[str, Sequence[str]], subject: str = SUBJECT) -> list[Exam]:
    """The exams of a folder by name; `roles` names the words by which each role is known, best first, "" for no word.

    `subject` is a regular expression that finds the person at the beginning of a plain name; BIDS says it itself.
    Raises InputError if there is no such folder.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder.")
    known = sorted({word for words in roles.values() for word in words if word}, key=len, reverse=True)
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file() and _stem(path) and path.suffix != ".raw"]
    scans = [path for path in paths if re.match(r"sub-[^_]+_", path.name)]
    if scans:
        candidates = [_parse_bids_name(path, folder, known) for path in scans]
    else:
        shallow = dict.fromkeys(folder.joinpath(*path.relative_to(folder).parts[:2]) for path in paths)
        candidates = [_parse_plain_name(path, folder, known, subject) for path in shallow]
    kept: dict[tuple[str, str], dict[str, FolderFile]] = {}
    for each in sorted(filter(None, candidates), key=lambda each: each.rank):
        kept.setdefault((each.subject, each.name), {}).setdefault(each.word, each)
    made = []
    for (person, name), files_by_word in sorted(kept.items()):
        paths_by_role = {
            role: next((files_by_word[w].path for w in words if w in files_by_word), None)
            for role, words in roles.items()
        }
        made.append(Exam(person, name, {role: path for role, path in paths_by_role.items() if path}))
    return made


def find_complete_exams(
    folder: Path, roles: Mapping[str, Sequence[str]], needed: Sequence[str], subject: str
) -> list[Exam]:
    """The exams that have all roles `needed`; the others are named on the standard error stream.

    Raises InputError, which says what was looked for, if there is none.
    """
    whole = []
    for exam in find_exams(folder, roles, subject):
        lack = [role for role in needed if role not in exam.files]
        if not lack:
            whole.append(exam)
        elif exam.files:
            print(f"left out: {exam.name}: no {' and no '.join(lack)}", file=sys.stderr)
    if not whole:
        sought = "; ".join(
            f"{role} as {', '.join(f'ID_{w}.nii.gz' if w else 'ID.nii.gz' for w in roles[role])}" for role in needed
        )
        raise InputError(
            f"No images with what they are to be compared with were found in {folder}. Looked for: {sought}; in one "
            f"folder, in a folder for each person, or as BIDS (sub-ID_..._FLAIR.nii.gz, masks in derivatives)."
        )
    people = {exam.subject for exam in whole}
    if len(whole) > len(people) == 1:
        print(f"all {len(whole)} are taken for {people.pop()}; --subject tells people apart", file=sys.stderr)
    return whole


def input_words(source: Input, alone: bool) -> tuple[str, ...]:
    """The words by which the files of an input are known, best first; if it is `alone`, a file without word will do."""
    abbreviations = re.findall(r"\b[A-Z][A-Z0-9]+\b", source.title) if source.name == "image" else []
    known = [source.name, *(word.lower() for word in abbreviations)]
    more = [other for word in known for other in MODALITY_WORDS.get(word, ())]
    return tuple(dict.fromkeys([*known, *more, *([""] if alone else [])]))


def truth_kind(card: Card) -> str:
    """Which of TRUTH_WORDS a method is compared with. Raises InputError for one that is not scored."""
    if card.task == "segmentation":
        return "lesions" if any(option.name == "threshold" for option in card.options) else "regions"
    if card.task not in ("restoration", "registration"):
        raise InputError(f"{card.title} makes nothing that could be scored.")
    return card.task


def read_cases(card: Card, folder: Path, subject: str = SUBJECT) -> Iterator[Case]:
    """Every exam of a folder in one condition, which tells the images that there are.

    Raises InputError if there is none, or if a file cannot be read.
    """
    truth = truth_kind(card)
    inputs = [i for i in card.inputs if not (truth == "registration" and i.optional) and i.name != "region_map"]
    needed = [i.name for i in inputs if not i.optional]
    roles = {i.name: input_words(i, needed == [i.name]) for i in inputs} | {"truth": TRUTH_WORDS[truth]}
    if truth == "registration":
        roles["moving truth"] = ("moving_labels",)
    needed += [role for role in roles if "truth" in role]
    for exam in find_complete_exams(folder, roles, needed, subject):
        present = [i for i in inputs if i.name in exam.files]
        images = {i.name: files.read([exam.files[i.name]], name=i.title, colour=i.colour) for i in present}
        given = tuple(images.get(i.name) for i in card.inputs)
        first = next(iter(images.values()))
        answer = files.read([exam.files["truth"]], name="truth", colour=first.is_colour, labels=truth != "restoration")
        condition, options, moving = ", ".join(i.title for i in present), {}, None
        if truth == "lesions":
            answer = answer.new_like((answer.array > 0).astype(np.uint8), labels={1: "lesion"})
        elif truth == "restoration":
            answer, options = answer.new_like(answer.array, unit=first.unit), scale_option(card, first, answer)
        else:
            answer = number_labels(answer)
        if truth == "registration":
            condition, moving = (
                "predicted",
                number_labels(files.read([exam.files["moving truth"]], name="moving truth", labels=True)),
            )
            answer = resample(answer, first.grid)
        yield Case(exam.subject, "ours", condition, given, answer, options, moving, exam.name)


def number_labels(volume: Volume) -> Volume:
    """A label map of whole numbers, named by themselves."""
    array = np.asarray(volume.array).round().astype(np.int32)
    return volume.new_like(array, labels={n: str(n) for n in np.unique(array).tolist() if n})


def scale_option(card: Card, image: Volume, clean: Volume) -> dict[str, str]:
    """The options that tell how much finer the clean image is. Raises InputError if it does not fit the image."""
    times = clean.shape[0] // image.shape[0]
    if clean.shape != (image.shape[0] * times, image.shape[1] * times, image.shape[2]):
        raise InputError(f"The clean image has {clean.shape} voxels, which does not fit {image.shape} of the image.")
    return {"scale": str(times)} if any(option.name == "scale" for option in card.options) else {}


def _stem(path: Path) -> str:
    """The name without the ending of an image; "" for what is none."""
    ends = sorted((end for end in VOLUME_FILES if path.name.lower().endswith(end)), key=len)
    return "" if path.name.startswith(".") or not ends else path.name[: -len(ends[-1])]


def _file_rank(path: Path) -> tuple:
    """Less for shorter names, NIfTI first."""
    return len(_stem(path)), ".nii" not in path.name, path.as_posix()


def _parse_bids_name(path: Path, folder: Path, known: Sequence[str]) -> FolderFile | None:
    *pieces, last = _stem(path).split("_")
    entities = dict(piece.split("-", 1) for piece in pieces if "-" in piece)
    word = "t1ce" if last.lower() == "t1w" and "ce" in entities else last.lower()
    about = f"{entities.get('label', '')} {entities.get('desc', '')}".lower()
    if word not in known or "brain" in about:
        return None
    space = entities.get("space", "")
    name = "_".join(
        f"{key}-{entities[key]}"
        for key in ("sub", "ses", "space")
        if key in entities and (key != "space" or space.lower() not in NATIVE_SPACES)
    )
    derived = "derivatives" in path.relative_to(folder).parts
    return FolderFile(f"sub-{entities['sub']}", name, word, path, ("lesion" not in about, derived, *_file_rank(path)))


def _parse_plain_name(path: Path, folder: Path, known: Sequence[str], subject: str) -> FolderFile | None:
    above = path.relative_to(folder).parts[:-1]
    stem = path.name if path.is_dir() else _stem(path)
    match = re.fullmatch(rf"(?:(.+?)[_-])?({'|'.join(map(re.escape, known))})", stem, re.IGNORECASE)
    name, word = (match[1] or "", match[2].lower()) if match else (stem, "")
    shared = next((w for w in known if above and re.fullmatch(rf"{w}s?(tr|ts)?", above[0], re.IGNORECASE)), None)
    if shared:
        name, word = re.sub(r"_0000$", "", name or stem), shared
    elif path.is_dir() and not match:
        return None
    elif above:
        name = above[0] if name in ("", above[0]) else f"{above[0]}/{name}"
    name = name or folder.name
    person = re.match(".*" if above and not shared and subject == SUBJECT else subject, name.split("/")[0])
    return FolderFile(person[0] if person else name, name, word, path, _file_rank(path))
