"""A stranger's folder: who is who in every layout, and an evaluation of it from end to end."""

import json
import sys
from dataclasses import replace

import numpy as np
import pytest
from plotly.offline import get_plotlyjs

from medapp.card import Card, Input, Weights
from medapp.errors import InputError
from medapp.imaging.volume import Volume
from medapp.io import files
from medapp.options import Slider
from medapp.result import Provenance, Result
from medapp.serving import runtime
from training.data import patient_folder
from training.evaluation import evaluate

ROLES = {"flair": ("flair",), "t1": ("t1", "t1w"), "truth": patient_folder.MASK_WORDS}
AFFINE = np.array([[0, 0, 3, -10], [-1.2, 0.1, 0, 5], [0.1, 1.2, 0, 8], [0, 0, 0, 1.0]])
LAYOUTS = {
    "plain": ("7_flair.nii.gz", "7_t1.nii.gz", "7_mask.nii.gz"),
    "plain, other words": ("7-FLAIR.nii", "7-T1w.nii", "7-seg.nii"),
    "a folder each": ("7/flair.nii.gz", "7/t1.nii.gz", "7/mask.nii.gz"),
    "a folder each, named": ("7/7_flair.nii.gz", "7/7_t1.nii.gz", "7/7_seg.nii.gz"),
    "a folder a kind": ("flair/7.nii.gz", "t1/7.nii.gz", "masks/7.nii.gz"),
    "BIDS": (
        "sub-7/anat/sub-7_FLAIR.nii.gz", "sub-7/anat/sub-7_T1w.nii.gz",
        "derivatives/us/sub-7/anat/sub-7_space-FLAIR_label-lesion_mask.nii.gz",
    ),
    "BIDS, sessions": (
        "sub-7/ses-1/anat/sub-7_ses-1_FLAIR.nii.gz", "sub-7/ses-1/anat/sub-7_ses-1_T1w.nii.gz",
        "derivatives/us/sub-7/ses-1/anat/sub-7_ses-1_dseg.nii.gz",
    ),
}  # fmt: skip


def card() -> Card:
    inputs = (Input("flair", "FLAIR"), Input("t1", "T1", optional=True))
    options = (Slider("threshold", "Threshold", 0, 1, 0.1, 0.5), Slider("min_lesion_ml", "Smallest", 0, 1, 0.1, 0.0))
    texts = dict.fromkeys(("about", "licence", "cite", "trained_on", "scores", "limits"), "-")
    weights = Weights("none.safetensors", "nobody/nothing", "main", "1" * 64)
    names = {"name": "segment_tiny", "task": "segmentation", "presenter": "lesions", "title": "Tiny"}
    return Card(**names, inputs=inputs, options=options, weights=weights, build=None, run=None, **texts)


def images(seed: int) -> tuple[Volume, Volume]:
    """A noisy scan, and the mask of what is bright in it."""
    random = np.random.default_rng(seed)
    mask = np.zeros((12, 10, 5), np.uint8)
    mask[2 : 5 + seed % 4, 3:6, 1:4] = 1
    scan = mask * 0.8 + random.uniform(0, 0.4, mask.shape)
    return Volume(scan.astype(np.float32), AFFINE), Volume(mask, AFFINE, labels={1: "lesion"})


def put(root, name, volume):
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    files.write(volume, root / name)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_is_read(layout, tmp_path):
    flair, t1, mask = LAYOUTS[layout]
    for name in (flair, t1, mask):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "README.txt").touch()
    (exam,) = patient_folder.find_exams(tmp_path, ROLES)
    assert exam.subject in ("7", "sub-7")
    assert exam.files == {"flair": tmp_path / flair, "t1": tmp_path / t1, "truth": tmp_path / mask}


def test_sessions_of_a_person_are_told_apart_and_masks_of_the_brain_passed_over(tmp_path):
    for name in (
        "sub-1/ses-a/anat/sub-1_ses-a_FLAIR.nii.gz", "sub-1/ses-b/anat/sub-1_ses-b_FLAIR.nii.gz",
        "sub-1/ses-b/anat/sub-1_ses-b_run-2_FLAIR.nii.gz", "derivatives/x/sub-1_ses-a_desc-brain_mask.nii.gz",
        "derivatives/x/sub-1_ses-a_label-lesion_mask.nii.gz", "derivatives/x/sub-1_ses-b_mask.nii.gz",
        "derivatives/x/sub-1_ses-b_desc-lesion_roi.nii.gz", "derivatives/x/sub-1_ses-b_space-MNI_mask.nii.gz",
    ):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    first, second = patient_folder.find_complete_exams(tmp_path, ROLES, ["flair", "truth"], patient_folder.SUBJECT)
    assert first.subject == second.subject == "sub-1" and first.name != second.name
    assert first.files["truth"].name == "sub-1_ses-a_label-lesion_mask.nii.gz"
    assert second.files["flair"].name == "sub-1_ses-b_FLAIR.nii.gz"
    assert second.files["truth"].name == "sub-1_ses-b_mask.nii.gz"


def test_words_follow_from_the_cards():
    for name, image in (
        ("segment_anatomy_unet", "t1"), ("restore_ct_rat", "ct"), ("restore_pet_rat", "pet"),
        ("segment_glioma_ar2unet", "flair"),
    ):  # fmt: skip
        sources = [i for i in runtime.find_card(name).inputs if not i.optional]
        assert image in patient_folder.input_words(sources[0], True)
        assert patient_folder.truth_kind(runtime.find_card(name)) in patient_folder.TRUTH_WORDS
    with pytest.raises(InputError, match="scored"):
        patient_folder.truth_kind(runtime.find_card("find_regions_sam"))


def test_visits_share_the_person_and_a_pattern_finds_another(tmp_path, capsys):
    for name in ("a_1_flair.nii", "a_2_flair.nii", "b_1_flair.nii"):
        (tmp_path / name).touch()
    assert [e.subject for e in patient_folder.find_exams(tmp_path, ROLES)] == ["a", "a", "b"]
    assert [e.subject for e in patient_folder.find_exams(tmp_path, ROLES, "._.")] == ["a_1", "a_2", "b_1"]
    (tmp_path / "c_1").mkdir()
    (tmp_path / "c_1" / "flair.nii").touch()
    assert [e.subject for e in patient_folder.find_exams(tmp_path, ROLES)][-1] == "c_1", "a folder is a person"
    assert [e.subject for e in patient_folder.find_exams(tmp_path, ROLES, "[a-z]")] == ["a", "a", "b", "c"]
    (tmp_path / "c_1" / "flair.nii").unlink()
    patient_folder.find_complete_exams(tmp_path, ROLES, ["flair"], ".")
    assert not capsys.readouterr().err
    (tmp_path / "b_1_flair.nii").unlink()
    patient_folder.find_complete_exams(tmp_path, ROLES, ["flair"], patient_folder.SUBJECT)
    assert "all 2 are taken for a;" in capsys.readouterr().err


def test_what_was_looked_for_is_said(tmp_path, capsys):
    (tmp_path / "7_flair.nii.gz").touch()
    with pytest.raises(InputError, match=r"ID_flair\.nii\.gz.*ID_mask\.nii\.gz.*BIDS"):
        next(patient_folder.read_cases(card(), tmp_path))
    assert "7: no truth" in capsys.readouterr().err
    with pytest.raises(InputError, match="no folder"):
        next(patient_folder.read_cases(card(), tmp_path / "nowhere"))


def test_the_clean_image_tells_the_scale():
    image = Volume(np.zeros((4, 6, 1), np.float32), np.eye(4))
    option = replace(card(), options=(Slider("scale", "Scale", 1, 4, 1, 2),))
    assert patient_folder.scale_option(option, image, Volume(np.zeros((8, 12, 1)), np.eye(4))) == {"scale": "2"}
    assert patient_folder.scale_option(card(), image, image) == {}
    with pytest.raises(InputError, match="fit"):
        patient_folder.scale_option(card(), image, Volume(np.zeros((8, 6, 1)), np.eye(4)))


def test_a_folder_is_scored_from_end_to_end(tmp_path, monkeypatch, capsys):
    data, out = tmp_path / "data", tmp_path / "out"
    for number in range(4):
        scan, mask = images(number)
        put(data, f"p{number}_flair.nii.gz", scan)
        put(data, f"p{number}_mask.nii.gz", mask)
    put(data, "p4_flair.nii.gz", scan)
    put(data, "p0_later_flair.nii.gz", images(9)[0])
    put(data, "p0_later_mask.nii.gz", images(9)[1])
    monkeypatch.setattr(runtime, "load_cards", lambda: {"segment_tiny": card()})

    def run(name, image, t1, **options):
        weights = {"file": "none.safetensors", "sha256": "1" * 64}
        origin = Provenance(name, seconds=1.0, device="cpu", weights=weights, versions={"numpy": "2"})
        return Result({"image": image, "probability": image}, provenance=origin)

    monkeypatch.setattr(runtime, "run", run)
    command = ["evaluate", "segment_tiny", str(data), "--out", str(out), "--set", "threshold=0.6"]
    monkeypatch.setattr(sys, "argv", command)
    evaluate.main()
    text = (out / "summary.md").read_text()
    assert "| FLAIR | ours | 4 | 1.000 ± 0.000 |" in text, "two images of one patient count as one"
    told = json.loads((out / "summary.json").read_text())
    assert told["summary"]["FLAIR"]["ours"]["dice"]["n"] == 4 and told["weights"]["sha256"] == "1" * 64
    assert "--set threshold=0.6" in told["command"] and told["settings"]["threshold"] == 0.6
    assert len((out / "cases.csv").read_text().splitlines()) == 6
    page = (out / "report.html").read_text().replace(get_plotlyjs(), "")
    assert page.count("<html") == 1 and "Bland" in page and "1" * 64 in page and "p0_later" in page
    assert 'src="http' not in page and 'href="http' not in page
    assert "left out: p4: no truth" in capsys.readouterr().err

    monkeypatch.setattr(sys, "argv", [*command[:2], str(tmp_path / "none"), *command[3:]])
    with pytest.raises(SystemExit) as left:
        evaluate.main()
    assert left.value.code == 1 and "no folder" in capsys.readouterr().err
