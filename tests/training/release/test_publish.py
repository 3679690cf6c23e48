"""Weights and the app go up to a server that speaks the Hub's protocol, come down through the app, and are the same."""

import json
from dataclasses import replace
from types import SimpleNamespace

import huggingface_hub.constants
import nibabel as nib
import numpy as np
import pytest
from hub_upload_server import FakeHub, HubHandler
from huggingface_hub import ModelCard
from huggingface_hub.utils import disable_progress_bars, enable_progress_bars

from medapp.errors import WeightsError
from medapp.serving import runtime, weight_files
from training.evaluation import golden_pair
from training.evaluation.golden_pair import RefusedError
from training.release import publish, space
from training.release.model_card import make_model_card

NAME = "restore_pet_rat"  # the smallest weights
REPO = f"ada/{NAME}"


@pytest.fixture
def card():
    return runtime.find_card(NAME)


@pytest.fixture
def server(monkeypatch, tmp_path):
    """An empty Hub, the token of one who may write, an empty cache."""
    server = FakeHub()
    for name in ("HF_HUB_OFFLINE", "HTTP_PROXY", "ALL_PROXY", "MEDAPP_REPO", f"MEDAPP_REPO_{NAME.upper()}"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("HF_ENDPOINT", server.address)
    monkeypatch.setenv("HF_TOKEN", "hf_ada")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    disable_progress_bars()
    yield server
    enable_progress_bars()
    server.shutdown()
    server.server_close()


def drawn(card, images, settings, out, **environment):
    """In place of the app, which takes seconds: an image, a map, a table and facts."""
    out.mkdir()
    ramp = np.arange(60, dtype=np.float32).reshape(3, 4, 5)
    nib.save(nib.Nifti1Image(ramp, np.eye(4)), out / "restored.nii.gz")
    nib.save(nib.Nifti1Image((ramp > 30).astype(np.uint8), np.eye(4)), out / "regions.nii.gz")
    (out / "regions.csv").write_text("region,mean\n1,3.5\n")
    facts = {"settings": dict(settings), "metrics": {"regions": {"value": 2, "unit": ""}}, "seconds": len(environment)}
    facts |= dict.fromkeys(("device", "engine", "precision", "versions"), "any")
    (out / "result.json").write_text(json.dumps(facts))


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(golden_pair, "run_app", drawn)


def told(capsys, *arguments):
    """The exit code and what was said, the one sentence of a refusal or the lines of a success."""
    code = publish.main([*arguments])
    out, err = capsys.readouterr()
    assert (err if code == 0 else out) == "" and "hf_" not in out + err
    assert code == 0 or len(err.splitlines()) == 1
    return code, out + err


def test_published_pulled_and_reproduced_by_the_app(server, card, capsys, monkeypatch, tmp_path):
    code, said = told(capsys, NAME, "--repo", REPO)
    assert code == 0 and f"tagged {card.weights.revision}" in said and f"MEDAPP_REPO_{NAME.upper()}={REPO}" in said
    there = server.repos[f"models/{REPO}"]
    assert there.refs[card.weights.revision] == there.refs["main"]
    assert {"README.md", "NOTICE", card.weights.file, "golden/golden.json"} <= there.commits[there.refs["main"]].keys()

    monkeypatch.setenv("MEDAPP_WEIGHTS", str(tmp_path / "none"))
    found = weight_files.locate_weights(replace(card.weights, repo=REPO))
    assert found.sha256 == card.weights.sha256 and found.source == f"Hugging Face Hub {REPO}@{card.weights.revision}"
    monkeypatch.delenv("MEDAPP_WEIGHTS")

    server.requests.clear()
    code, said = told(capsys, NAME, "--repo", REPO, "--verify")
    assert code == 0 and "restored.nii.gz: " in said and "result.json: " in said
    assert ("GET", f"/{REPO}/resolve/{card.weights.revision}/{card.weights.file}") in server.requests


@pytest.mark.usefixtures("quick")
def test_a_tampered_file_is_refused(server, card, capsys, monkeypatch, tmp_path):
    assert told(capsys, NAME, "--repo", REPO)[0] == 0
    assert told(capsys, NAME, "--repo", REPO, "--verify")[0] == 0
    there = server.repos[f"models/{REPO}"]
    files = there.commits[there.refs["main"]]
    files[card.weights.file] = files[card.weights.file][:-1] + b"!"
    monkeypatch.setenv("MEDAPP_WEIGHTS", str(tmp_path / "none"))
    with pytest.raises(WeightsError, match="does not have the sha256"):
        weight_files.locate_weights(replace(card.weights, repo=REPO))
    files["golden/output/regions.csv"] += b"2,9\n"
    code, said = told(capsys, NAME, "--repo", REPO, "--verify")
    assert code == 2 and "golden/output/regions.csv" in said and "sha256" in said


@pytest.mark.usefixtures("quick")
def test_a_golden_output_that_is_not_reproduced_is_refused(server, capsys, monkeypatch):
    assert told(capsys, NAME, "--repo", REPO)[0] == 0

    def other(card, images, settings, out, **environment):
        drawn(card, images, settings, out)
        nib.save(nib.Nifti1Image(np.ones((3, 4, 5), np.float32), np.eye(4)), out / "restored.nii.gz")

    monkeypatch.setattr(golden_pair, "run_app", other)
    code, said = told(capsys, NAME, "--repo", REPO, "--verify")
    assert code == 2 and "not reproduced" in said and "restored.nii.gz" in said and "regions.csv" not in said


@pytest.mark.usefixtures("quick")
def test_what_is_published_does_not_change(server, card, capsys):
    assert told(capsys, NAME, "--repo", REPO)[0] == 0
    code, said = told(capsys, NAME, "--repo", REPO)
    assert code == 2 and f"has the tag {card.weights.revision} already" in said
    code, said = told(capsys, NAME, "--repo", REPO, "--revision", "v9")
    assert code == 0 and "set it to v9" in said
    code, said = told(capsys, NAME, "--repo", REPO, "--verify", "--revision", "v9")
    assert code == 2 and "The app pulls" in said


@pytest.mark.usefixtures("quick")
def test_an_upload_that_broke_off_before_the_tag_is_finished(server, card, capsys):
    assert told(capsys, NAME, "--repo", REPO)[0] == 0
    there = server.repos[f"models/{REPO}"]
    del there.refs[card.weights.revision]
    assert told(capsys, NAME, "--repo", REPO)[0] == 0 and card.weights.revision in there.refs


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("token", "repo", "words"),
    [
        ("", REPO, "There is no token"),
        ("hf_stale", REPO, "does not know this token"),
        ("hf_reader", REPO, "may only read"),
        ("hf_bob", REPO, "is not yours: this token writes for bob"),
        ("hf_ada", "ada", "NAME/REPOSITORY"),
        ("hf_ada", "ada/no such name", "no name of a repository"),
        ("hf_ada", "ada/bert", "holds something else (config.json"),
    ],
)
def test_who_may_not_write_is_told_before_anything_is_written(server, capsys, monkeypatch, token, repo, words):
    monkeypatch.setenv("HF_TOKEN", token)
    server.add_repo("models/ada/bert", {".gitattributes": b"", "config.json": b"{}"})
    code, said = told(capsys, NAME, "--repo", repo)
    assert code == 2 and words in said
    assert list(server.repos) == ["models/ada/bert"] and len(server.repos["models/ada/bert"].commits) == 1


@pytest.mark.usefixtures("quick")
def test_private_stays_private(server, capsys):
    server.add_repo(f"models/{REPO}", {})
    code, said = told(capsys, NAME, "--repo", REPO, "--private")
    assert code == 2 and "is public" in said
    assert told(capsys, NAME, "--repo", "ada/hidden", "--private")[0] == 0
    assert server.repos["models/ada/hidden"].private


def test_nothing_to_verify(server, capsys):
    server.add_repo(f"models/{REPO}", {})
    code, said = told(capsys, NAME, "--repo", REPO, "--verify")
    assert code == 2 and "no golden pair" in said
    code, said = told(capsys, NAME, "--repo", "ada/none", "--verify")
    assert code == 2 and "There is no repository ada/none" in said


def test_the_hub_is_away(server, capsys):
    server.shutdown()
    server.server_close()
    for more in ([], ["--verify"]):
        code, said = told(capsys, NAME, "--repo", REPO, *more)
        assert code == 2 and "cannot be reached" in said


@pytest.mark.usefixtures("quick")
def test_an_upload_that_breaks_off_is_told_in_words(server, capsys, monkeypatch):
    monkeypatch.setattr(HubHandler, "store", lambda self, oid: self.refuse(507))
    code, said = told(capsys, NAME, "--repo", REPO)
    assert code == 2 and "answered 507" in said
    assert not server.repos[f"models/{REPO}"].commits[server.repos[f"models/{REPO}"].refs["main"]].get("README.md")


@pytest.mark.usefixtures("quick")
def test_a_rehearsal_asks_nobody(server, capsys, tmp_path):
    code, said = told(capsys, NAME, "--repo", REPO, "--dry-run", str(tmp_path / "there"))
    assert code == 0 and "golden/output/restored.nii.gz" in said and not server.requests
    index = json.loads((tmp_path / "there" / "golden" / "golden.json").read_text())
    assert index["inputs"] == {"image": "input/image.nii.gz"} and index["licence"] and index["tolerances"]
    code, said = told(capsys, NAME, "--repo", REPO, "--dry-run", str(tmp_path / "there"))
    assert code == 2 and "not an empty folder" in said


def test_the_weights_must_be_those_of_the_card(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("MEDAPP_WEIGHTS", str(tmp_path))
    code, said = told(capsys, NAME, "--repo", REPO, "--dry-run", str(tmp_path / "out"))
    assert code == 2 and "beside the app" in said
    (tmp_path / f"{NAME}.safetensors").write_bytes(b"other")
    code, said = told(capsys, NAME, "--repo", REPO, "--dry-run", str(tmp_path / "out"))
    assert code == 2 and "has the sha256 d9298a10d1b0…" in said and "training.release.install" in said


def test_unknown_and_unfinished_methods(capsys, monkeypatch):
    code, said = told(capsys, "restore_everything", "--repo", REPO)
    assert code == 2 and "There is no method" in said
    monkeypatch.setattr(runtime, "load_cards", dict)
    code, said = told(capsys, NAME, "--repo", REPO)
    assert code == 2 and "has no weights yet" in said


def page(card, scores=None):
    text = (golden_pair.ROOT / "weights" / card.weights.file).with_suffix(".md").read_text(encoding="utf-8")
    return make_model_card(card, text, REPO, "v1", scores)


def test_every_card_of_ours_becomes_one_of_the_hub():
    for card in runtime.load_cards().values():
        made = page(card)
        again = ModelCard(str(made)).data.to_dict()
        assert again == made.data.to_dict() and {"license", "tags", "library_name"} <= again.keys()
        assert card.weights.sha256 in str(made) and "model-index" not in again
    assert page(runtime.find_card(NAME)).data.datasets == ["oasis-1", "acrin-nsclc-fdg-pet"]
    assert page(runtime.find_card(NAME)).data.metrics == ["psnr", "ssim"]


def test_a_card_without_scores_or_with_two_licences_is_refused(card):
    with pytest.raises(RefusedError, match="no scores"):
        page(replace(card, scores="To be measured."))
    with pytest.raises(RefusedError, match=r"licences.*cc-by-4\.0.*cc-by-nc-4\.0"):
        page(replace(card, licence="CC BY 4.0"))


def test_the_model_index_is_what_was_measured_with_these_weights(card, tmp_path):
    figures = {"psnr": {"n": 4, "mean": 36.8}, "seconds": {"n": 4, "mean": 1.0}, "ssim": {"n": 0}}
    summary = {"part": "test", "weights": {"sha256": card.weights.sha256}, "summary": {"1/2, brain": {"all": figures}}}
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    (result,) = ModelCard(str(page(card, tmp_path))).data.eval_results
    assert (result.metric_type, result.metric_value, result.dataset_split) == ("psnr", 36.8, "test")
    assert "1/2, brain" in result.dataset_name and "4 patients" in result.metric_name
    summary["weights"]["sha256"] = "0" * 64
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    with pytest.raises(RefusedError, match="other weights"):
        page(card, tmp_path)


def test_differences_are_measured_by_kind(card, tmp_path):
    (tmp_path / "output").mkdir()
    index = {"sha256": {}, "tolerances": {kind: {"allowed": a} for kind, (a, _) in golden_pair.TOLERANCES.items()}}
    for name in ("a.nii.gz", "b.nii.gz", "c.csv", "d.csv"):
        index["sha256"][f"output/{name}"] = ""
    (tmp_path / golden_pair.INDEX_FILE).write_text(json.dumps(index))
    again = tmp_path / "again"
    again.mkdir()
    for folder, more, text in ((tmp_path / "output", 0, "x,100"), (again, 1, "x,102")):
        image, labels = np.zeros((2, 2, 2), np.float32), np.ones((2, 2, 2), np.int16)
        image[0, 0, 0], image[1, 1, 1], labels[0, 0, 0] = 1000, more, 1 + more
        nib.save(nib.Nifti1Image(image, np.eye(4)), folder / "a.nii.gz")
        nib.save(nib.Nifti1Image(labels, np.eye(4)), folder / "b.nii.gz")
        (folder / "c.csv").write_text(text)
        (folder / "d.csv").write_text(f"{'yn'[more]},1")
    found = {each.file: each for each in golden_pair.compare_outputs(tmp_path, again)}
    assert found["a.nii.gz"].kind == "image" and found["a.nii.gz"].value == pytest.approx(1e-3)
    assert found["b.nii.gz"].kind == "labels" and found["b.nii.gz"].value == pytest.approx(1 / 8)
    assert found["c.csv"].value == pytest.approx(2 / 102) and found["d.csv"].value == np.inf
    assert "exact" in str(golden_pair.compare_outputs(tmp_path, tmp_path / "output")[0])
    (again / "c.csv").unlink()
    with pytest.raises(RefusedError, match=r"wrote no c\.csv"):
        golden_pair.compare_outputs(tmp_path, again)


def test_the_app_goes_up_as_a_space_and_nothing_else(server, capsys, monkeypatch, tmp_path):
    root = tmp_path / "root"
    for name in ("README.md", "requirements.txt"):
        root.mkdir(exist_ok=True)
        (root / name).write_bytes((golden_pair.ROOT / name).read_bytes())
    for name in ("LICENSE", "NOTICE", "app.py", "medapp/serving/runtime.py", "medapp/ui/page.pyi",
                 "medapp/__pycache__/x.pyc", "weights/a.safetensors", "examples/task/case/case.json", "tests/test_x.py",
                 "training/x.py", "runs/log.csv", ".venv/x"):  # fmt: skip
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"\0" + name.encode())
    monkeypatch.setattr(space, "ROOT", root)
    monkeypatch.setattr(runtime, "load_cards", dict)
    monkeypatch.setenv("MEDAPP_WEIGHTS", str(root / "weights"))
    kept = (".gitattributes", "README.md", "medapp/serving/runtime.py", "old.py")
    server.add_repo("spaces/ada/app", dict.fromkeys(kept, b""))
    code, said = told(capsys, "space", "--repo", "ada/app")
    assert code == 0 and "/commit/" in said
    there = server.repos["spaces/ada/app"]
    assert set(there.commits[there.refs["main"]]) == {
        ".gitattributes", "README.md", "LICENSE", "NOTICE", "app.py", "requirements.txt",
        "medapp/serving/runtime.py", "weights/a.safetensors", "examples/task/case/case.json",
    }  # fmt: skip
    assert told(capsys, "space", "--repo", "ada/new", "--private")[0] == 0 and server.repos["spaces/ada/new"].private
    assert told(capsys, "space", "--repo", "ada/new", "--verify")[0] == 2
    (root / "requirements.txt").write_text("gradio==1.0\n")
    code, said = told(capsys, "space", "--repo", "ada/newer")
    assert code == 2 and "should be 1.0" in said


def test_a_space_with_other_weights_than_the_cards_is_refused(card, capsys, monkeypatch, tmp_path):
    space.check_front_matter(golden_pair.ROOT)
    monkeypatch.setattr(runtime, "load_cards", lambda: {NAME: card})
    monkeypatch.setattr(weight_files, "find_weights_folder", lambda: tmp_path)
    code, said = told(capsys, "space", "--repo", "ada/app", "--dry-run", str(tmp_path / "out"))
    assert code == 2 and f"{NAME}.safetensors beside the app is not the file" in said


def test_every_method_has_a_small_synthetic_example():
    for name, card in runtime.load_cards().items():
        example = golden_pair.smallest_example(card)
        assert example.synthetic and sum(path.stat().st_size for path in example.images.values()) < 3e6
        assert example.pipeline == name or not example.settings
    assert golden_pair.smallest_example(runtime.find_card(NAME)).name == "pet_brain_slice_twentieth"


def test_the_app_says_why_there_is_no_golden_output(card, monkeypatch):
    answer = SimpleNamespace(returncode=2, stderr="wandering\nThe file is broken.\n")
    asked = []
    monkeypatch.setattr(golden_pair.subprocess, "run", lambda command, **more: asked.append(command) or answer)
    with pytest.raises(RefusedError, match="golden output: The file is broken"):
        golden_pair.run_app(card, {"image": golden_pair.ROOT / "a.nii"}, {"counts": "1/20"}, golden_pair.ROOT / "out")
    assert asked[0][-2:] == ["--set", "counts=1/20"]
