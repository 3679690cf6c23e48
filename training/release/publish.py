"""Puts weights, or the app itself, on the Hugging Face Hub.

`python -m training.release.publish PIPELINE --repo USER/NAME`.

`--verify` pulls what is there through the app and repeats the golden pair; `--dry-run DIR` writes what would go there.
`space` for PIPELINE puts the app up as a Space. HF_TOKEN and HF_ENDPOINT mean what they mean to the Hub.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, hf_hub_download

from medapp.card import Card
from medapp.errors import UserError
from medapp.serving import runtime, weight_files
from training.evaluation import golden_pair
from training.evaluation.golden_pair import RefusedError
from training.release import space
from training.release.model_card import make_model_card
from training.release.repository import check_repository, hub_errors_in_words


def prepare_folder(card: Card, repo: str, revision: str, folder: Path, scores: Path | None = None) -> None:
    """Write the model card, NOTICE, the weights and the golden pair to `folder`.

    The weights are those beside the app; their sha256 must be that of the pipeline's card. Raises RefusedError.
    """
    file = weight_files.find_weights_folder() / card.weights.file
    if card.weights.third_party:
        raise RefusedError(f"{card.weights.file} is the work of others, who publish it themselves.")
    if not file.is_file():
        raise RefusedError(f"There is no {file.name} beside the app: train it, then run training.release.install.")
    if (digest := golden_pair.sha256(file)) != card.weights.sha256:
        raise RefusedError(
            f"{file.name} has the sha256 {digest[:12]}…, the card of {card.name} names {card.weights.sha256[:12]}…: "
            "run training.release.install with the right file."
        )
    text = file.with_suffix(".md")
    if not text.is_file():
        raise RefusedError(f"There is no {text.name} beside {file.name}, from which the model card is made.")
    picture = golden_pair.ROOT / "docs" / "failures" / f"{card.name}.webp"
    words = text.read_text(encoding="utf-8").replace(f"../docs/failures/{picture.name}", picture.name)
    page = make_model_card(card, words, repo, revision, scores)
    folder.mkdir(parents=True, exist_ok=True)
    if picture.is_file():
        shutil.copyfile(picture, folder / picture.name)
    page.save(folder / "README.md")
    shutil.copyfile(golden_pair.ROOT / "NOTICE", folder / "NOTICE")
    shutil.copyfile(file, folder / file.name)
    golden_pair.make_golden_pair(card, folder / "golden")


def publish(
    name: str, repo: str, revision: str | None = None, private: bool = False, scores: Path | None = None
) -> list[str]:
    """Upload the pipeline's weights in one commit and tag it with `revision`, by default that of its card.

    Returns messages for the user. Raises RefusedError, before anything is written if it can be known before.
    """
    card = find_card(name)
    tag = revision or card.weights.revision
    with hub_errors_in_words(repo), tempfile.TemporaryDirectory() as place:
        api = HfApi(endpoint=os.environ.get("HF_ENDPOINT") or None)
        known = check_repository(api, repo, "model", private, card.weights.file)
        if known and tag in (ref.name for ref in api.list_repo_refs(repo).tags):
            raise RefusedError(
                f"{repo} has the tag {tag} already, and what is published does not change: check it with --verify, or "
                "name another with --revision."
            )
        prepare_folder(card, repo, tag, Path(place), scores)
        api.create_repo(repo, private=private or None, exist_ok=True)
        done = api.upload_folder(
            repo_id=repo,
            folder_path=place,
            delete_patterns="golden/*",
            commit_message=f"{card.name} {tag}, sha256 {card.weights.sha256[:12]}",
        )
        api.create_tag(repo, tag=tag, revision=done.oid)
    messages = [f"{done.commit_url} is tagged {tag}."]
    if repo != card.weights.repo:
        variable = weight_files.name_repo_variable(card.weights)
        messages.append(f"The card of {name} names {card.weights.repo}: set {repo} there, or {variable}={repo}.")
    if tag != card.weights.revision:
        messages.append(
            f"The card of {name} names {card.weights.revision}, which the app will look for: set it to {tag}."
        )
    return messages


def publish_space(repo: str, private: bool = False) -> list[str]:
    """Upload the app as a Space; other files of the Space are removed. Raises RefusedError."""
    with hub_errors_in_words(repo), tempfile.TemporaryDirectory() as place:
        api = HfApi(endpoint=os.environ.get("HF_ENDPOINT") or None)
        check_repository(api, repo, "space", private, "medapp/serving/runtime.py")
        space.gather_files(Path(place))
        api.create_repo(repo, repo_type="space", space_sdk="gradio", private=private or None, exist_ok=True)
        done = api.upload_folder(
            repo_id=repo, repo_type="space", folder_path=place, delete_patterns="*", commit_message="The app"
        )
    return [f"{done.commit_url} is being built."]


def verify(name: str, repo: str, revision: str | None = None) -> list[golden_pair.Difference]:
    """Pull weights and golden pair, run the app on the input, and compare every output file with the golden one.

    The app runs in a separate process, with an empty Hub cache and without its local weights. Raises RefusedError if a
    file is not what golden.json says, or a difference is not allowed.
    """
    card = find_card(name)
    if revision not in (None, card.weights.revision):
        raise RefusedError(
            f"The app pulls {card.weights.revision}, as its card says, not {revision}: change the card first."
        )
    with tempfile.TemporaryDirectory() as temporary, hub_errors_in_words(repo):
        place = Path(temporary)
        index = _pull_golden_pair(card, repo, place)
        others = shutil.ignore_patterns(card.weights.file, "*.md")
        if weight_files.find_weights_folder().is_dir():
            shutil.copytree(weight_files.find_weights_folder(), place / "weights", ignore=others)
        golden_pair.run_app(
            card,
            {source: place / "golden" / path for source, path in index["inputs"].items()},
            index["settings"],
            place / "output",
            MEDAPP_WEIGHTS=str(place / "weights"),
            HF_HUB_CACHE=str(place / "cache"),
            **{weight_files.name_repo_variable(card.weights): repo},
        )
        differences = golden_pair.compare_outputs(place / "golden", place / "output")
    wrong = [each for each in differences if not each.value <= each.allowed]
    if wrong:
        raise RefusedError(f"The golden output was not reproduced: {'; '.join(map(str, wrong))}.")
    return differences


def find_card(name: str) -> Card:
    """Return the pipeline's card.

    Raises RefusedError for one that has no weights yet, OptionError for an unknown one.
    """
    module = golden_pair.ROOT / "medapp" / "pipelines" / f"{name}.py"
    if name not in runtime.load_cards() and module.is_file() and not name.startswith("_"):
        raise RefusedError(f"{name} has no weights yet: its card holds no sha256.")
    return runtime.find_card(name)


def _pull_golden_pair(card: Card, repo: str, place: Path) -> dict[str, Any]:
    """The golden pair of the card's revision, in `place`/golden, every file with the sha256 that golden.json names.

    Returns the content of golden.json.
    """

    def fetched(path: str) -> Path:
        return Path(
            hf_hub_download(
                repo, f"golden/{path}", revision=card.weights.revision, local_dir=place,
                endpoint=os.environ.get("HF_ENDPOINT") or None,
            )
        )  # fmt: skip

    file = fetched(golden_pair.INDEX_FILE)
    try:
        index = json.loads(file.read_text(encoding="utf-8"))
        digests, inputs, made_with = index["sha256"], index["inputs"], index["weights"]["sha256"]
    except (ValueError, KeyError, TypeError) as error:
        raise RefusedError(f"golden/{golden_pair.INDEX_FILE} in {repo} is not one that publish wrote.") from error
    if made_with != card.weights.sha256:
        raise RefusedError(f"The golden pair in {repo} was made with other weights than the card of {card.name} names.")
    for path in dict.fromkeys((*digests, *inputs.values())):
        if ".." in Path(path).parts or golden_pair.sha256(fetched(path)) != digests.get(path):
            raise RefusedError(f"golden/{path} in {repo} does not have the sha256 that {golden_pair.INDEX_FILE} names.")
    return index


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0, or 2 after one sentence on standard error."""
    parser = argparse.ArgumentParser(prog="python -m training.release.publish", description=__doc__.splitlines()[0])
    parser.add_argument("pipeline", help="a name from `python -m medapp list`, or `space` for the app itself")
    parser.add_argument("--repo", required=True, metavar="USER/NAME")
    parser.add_argument("--revision", metavar="TAG", help="the tag, if not the one that the pipeline's card names")
    parser.add_argument("--private", action="store_true", help="make the repository private")
    parser.add_argument(
        "--scores", type=Path, metavar="DIR", help="what training.evaluation.evaluate wrote, for the model index"
    )
    parser.add_argument("--dry-run", type=Path, metavar="DIR", help="write what would be uploaded, and upload nothing")
    parser.add_argument("--verify", action="store_true", help="pull what is published and repeat the golden pair")
    args = parser.parse_args(arguments)
    try:
        for line in _command(args)():
            print(line)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def _command(args: argparse.Namespace) -> Callable[[], Sequence[object]]:
    whole = args.pipeline == "space"
    if whole and (args.verify or args.revision or args.scores):
        raise RefusedError("A Space has no --verify, --revision or --scores.")
    if args.verify:
        return lambda: verify(args.pipeline, args.repo, args.revision)
    if args.dry_run:
        return lambda: _dry_run(args)
    if whole:
        return lambda: publish_space(args.repo, args.private)
    return lambda: publish(args.pipeline, args.repo, args.revision, args.private, args.scores)


def _dry_run(args: argparse.Namespace) -> list[str]:
    """Write what would be uploaded; a line for every file. Raises RefusedError if the folder holds something."""
    folder: Path = args.dry_run.resolve()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RefusedError(f"{folder} is not an empty folder.")
    if args.pipeline == "space":
        space.gather_files(folder)
    else:
        card = find_card(args.pipeline)
        prepare_folder(card, args.repo, args.revision or card.weights.revision, folder, args.scores)
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return [f"{path.stat().st_size:>10} {path.relative_to(folder).as_posix()}" for path in files]


if __name__ == "__main__":
    sys.exit(main())
