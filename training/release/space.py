"""Space: the files of the app that a Hugging Face Space needs, and no others."""

import re
import shutil
from pathlib import Path

import yaml
from huggingface_hub import SpaceCard

from medapp.serving import runtime, weight_files
from training.evaluation.golden_pair import ROOT, RefusedError, sha256

FILES = ("README.md", "LICENSE", "NOTICE", "app.py", "requirements.txt")
FOLDERS = ("medapp", "weights", "examples")
LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.py[co]", "*.pyi", "*.pth", ".*")


def gather_files(folder: Path) -> None:
    """Copy the app into `folder`. Raises RefusedError if the Space could not run as the app does here."""
    check_front_matter(ROOT)
    for card in runtime.load_cards().values():
        beside = weight_files.find_weights_folder() / Path(card.weights.file).name
        if not card.weights.third_party and not (beside.is_file() and sha256(beside) == card.weights.sha256):
            raise RefusedError(
                f"{beside.name} beside the app is not the file that the card of {card.name} names by sha256."
            )
    folder.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        shutil.copyfile(ROOT / name, folder / name)
    for name in FOLDERS:
        shutil.copytree(
            weight_files.find_weights_folder() if name == "weights" else ROOT / name, folder / name, ignore=LEFT_OUT
        )


def check_front_matter(root: Path) -> None:
    """Check README's front matter: a Gradio Space of the pinned version that starts app.py. Raises RefusedError."""
    try:
        data = SpaceCard.load(root / "README.md").data
    except (ValueError, yaml.YAMLError) as error:
        raise RefusedError("README.md does not begin with a front matter that the Hub can read.") from error
    pinned = re.search(r"^gradio\S*==(\S+)", (root / "requirements.txt").read_text(encoding="utf-8"), re.MULTILINE)
    expected = {"sdk": "gradio", "app_file": "app.py", "sdk_version": pinned[1] if pinned else None}
    for name, value in expected.items():
        if getattr(data, name, None) != value:
            raise RefusedError(f"README.md begins with {name}: {getattr(data, name, None)}, which should be {value}.")
