"""The zip of one result as BIDS derivatives: named by the rules, whole, and passed by the validator."""

import json
import zipfile
from dataclasses import replace

import numpy as np
import pytest

from medapp.cohorts.bids_validation import find_errors
from medapp.imaging.deformation import Deformation
from medapp.imaging.volume import Volume
from medapp.presenters import get_presenter
from medapp.presenters.derivatives import pack_derivatives
from medapp.presenters.report import save_with_report
from medapp.result import Provenance, Result
from medapp.serving import runtime

AFFINE = np.diag([-3.0, -3.0, 4.0, 1.0])


def make_scan(name: str) -> Volume:
    array = np.zeros((20, 22, 12), np.float32)
    array[4:16, 4:18, 2:10] = np.random.default_rng(0).uniform(100, 200, (12, 14, 8))
    return Volume(array, AFFINE, name=name)


def make_lesions() -> Result:
    image = make_scan("FLAIR")
    probability = np.zeros(image.shape, np.float32)
    probability[6:9, 6:9, 4:6] = 0.9
    presenter = get_presenter(runtime.find_card("segment_glioma_ar2unet"))
    volumes = {"image": image, "probability": image.new_like(probability, name="probability")}
    return presenter.recompute(Result(volumes), None, {"threshold": 0.5, "min_lesion_ml": 0.0})


def make_pair() -> Result:
    fixed, moving = make_scan("Fixed"), make_scan("Moving")
    field = Deformation(np.ones((3, *fixed.shape), np.float32), fixed.affine)
    volumes = {"fixed": fixed, "moving": moving, "warped": moving.new_like(moving.array, name="Warped")}
    return Result(volumes, deformation=field, inverse=field, affine=np.eye(4))


@pytest.mark.parametrize(
    ("method", "make", "expected"),
    [
        (
            "segment_glioma_ar2unet",
            make_lesions,
            {
                "sub-7b/anat/sub-7b_space-orig_label-lesion_mask.nii.gz",
                "sub-7b/anat/sub-7b_space-orig_label-lesion_probseg.json",
                "sub-7b/anat/sub-7b_desc-lesions_stats.tsv",
                "extra/result.json",
            },
        ),
        (
            "register_brain_textscf",
            make_pair,
            {
                "sub-7b/anat/sub-7b_space-fixed_desc-warped_T1w.nii.gz",
                "sub-7b/anat/sub-7b_from-T1w_to-fixed_mode-image_desc-displacement_xfm.nii.gz",
                "sub-7b/anat/sub-7b_from-fixed_to-T1w_mode-image_desc-displacement_xfm.nii.gz",
                "sub-7b/anat/sub-7b_from-T1w_to-fixed_mode-image_desc-affine_xfm.tfm",
            },
        ),
    ],
)
def test_a_result_becomes_a_dataset_that_the_validator_passes(method, make, expected, tmp_path):
    card = runtime.find_card(method)
    presenter = get_presenter(card)
    origin = Provenance(method, {"file": "a.safetensors", "sha256": "ab" * 32}, versions={"medapp": "1"})
    result = replace(make(), provenance=origin, settings={"threshold": 0.5})
    saved = save_with_report(result, presenter, tmp_path / "files", card.title)
    archive = pack_derivatives(saved, presenter, card, "sub-7_b", tmp_path / "bids.zip")
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(tmp_path / "out")
    dataset = tmp_path / "out" / f"medapp-{method}"
    found = {path.relative_to(dataset).as_posix() for path in dataset.rglob("*") if path.is_file()}
    assert expected <= found
    assert sum(path.suffix == ".gz" for path in dataset.rglob("*")) == sum(p.suffix == ".gz" for p in saved.files)
    described = json.loads((dataset / "dataset_description.json").read_text())
    assert described["GeneratedBy"][0]["Weights"]["sha256"] == "ab" * 32
    errors = find_errors(dataset)
    if errors is None:
        pytest.skip("the BIDS validator does not run here")
    assert errors == []


def test_without_a_label_the_person_is_01(tmp_path):
    card = runtime.find_card("segment_glioma_ar2unet")
    result = replace(make_lesions(), provenance=Provenance(card.name, versions={"medapp": "1"}))
    saved = save_with_report(result, get_presenter(card), tmp_path / "files", card.title)
    archive = pack_derivatives(saved, get_presenter(card), card, "../", tmp_path / "bids.zip")
    with zipfile.ZipFile(archive) as opened:
        names = [name for name in opened.namelist() if "/sub-" in name]
    assert names and all("/sub-01/anat/sub-01_" in name and ".." not in name for name in names)
