"""The command line with a restoration: what it writes, own regions, a clean image to compare with, weights missing."""

import hashlib
import json
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from medapp.cli import main
from medapp.imaging.volume import Volume
from medapp.io import files
from medapp.serving import runtime

AFFINE = np.array([[-0.78, 0.1, 0.4, 20], [-0.1, -0.75, 0.5, 30], [0.05, 0.15, 2.9, -60], [0, 0, 0, 1]])


@pytest.fixture(autouse=True)
def weights(monkeypatch, tmp_path):
    """Networks as they begin, which hand back what they are given, in place of trained ones."""
    (tmp_path / "weights").mkdir()
    cards = dict(runtime.load_cards())
    for name in ("restore_ct_rat", "restore_pathology_rat"):
        torch.manual_seed(0)
        net = cards[name].build()
        torch.nn.init.zeros_(net.ending.weight), torch.nn.init.zeros_(net.ending.bias)
        file = tmp_path / "weights" / cards[name].weights.file
        save_file(net.state_dict(), file)
        sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
        cards[name] = replace(cards[name], weights=replace(cards[name].weights, sha256=sha256))
    monkeypatch.setattr(runtime, "load_cards", lambda: cards)
    monkeypatch.setattr(runtime, "loaded_engines", {})
    monkeypatch.setenv("MEDAPP_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture
def scan(tmp_path):
    hu = np.random.default_rng(0).normal(40, 20, (40, 36, 2)).astype(np.float32)
    hu[:8] = -1000
    clean = hu.copy()
    clean[8:] = 40
    files.write(Volume(clean, AFFINE), tmp_path / "clean.nii.gz")
    return files.write(Volume(hu, AFFINE), tmp_path / "scan.nii.gz")


def run(*arguments):
    return main(["run", *map(str, arguments), "--device", "cpu", "--quiet"])


def test_a_volume_is_restored_and_compared(scan, tmp_path):
    out, clean = tmp_path / "out", tmp_path / "clean.nii.gz"
    assert run("restore_ct_rat", scan, "--out", out, "--set", "regions=superpixels", "--reference", clean) == 0
    facts = json.loads((out / "result.json").read_text())
    value = {name: metric["value"] for name, metric in facts["metrics"].items()}
    assert value["rmse"] == pytest.approx(value["rmse_before"], rel=1e-3) and 10 < value["rmse"] < 25
    assert {"psnr", "ssim", "bias", "data_range", "noise", "noise_before", "regions"} <= set(value)
    assert facts["engine"] == "torch" and facts["settings"]["regions"] == "superpixels"
    source, restored, regions = (nib.load(p) for p in (scan, out / "restored.nii.gz", out / "regions.nii.gz"))
    for image in (restored, regions):
        assert image.shape == source.shape
        np.testing.assert_allclose(image.affine, source.affine, atol=1e-4)
    np.testing.assert_allclose(restored.get_fdata(), source.get_fdata(), atol=0.01)
    assert regions.get_data_dtype().kind in "iu" and regions.get_fdata().min() >= 1


def test_own_regions_are_given_by_path(scan, tmp_path):
    own = np.ones((40, 36, 2), np.uint8)
    own[20:] = 2
    path = files.write(Volume(own, AFFINE, {1: "a"}), tmp_path / "own.nii.gz")
    assert run("restore_ct_rat", scan, "--out", tmp_path / "out", "--set", f"regions={path}") == 0
    np.testing.assert_array_equal(nib.load(tmp_path / "out" / "regions.nii.gz").get_fdata(), own)


def test_a_word_that_is_no_method_and_no_file_is_said(scan, tmp_path, capsys):
    assert run("restore_ct_rat", scan, "--out", tmp_path / "out", "--set", "regions=nowhere.png") == 2
    assert "superpixels" in capsys.readouterr().err


def test_a_coloured_picture_comes_out_as_png(tmp_path):
    pixels = np.full((24, 30, 3), (200, 130, 180), np.uint8)
    pixels[5:12, 8:20] = (90, 50, 140)
    Image.fromarray(pixels).save(tmp_path / "he.png")
    out = tmp_path / "out"
    arguments = ("restore_pathology_rat", tmp_path / "he.png", "--out", out)
    assert run(*arguments, "--set", "regions=one", "--set", "scale=2") == 0
    restored = Image.open(out / "restored.png")
    assert restored.size == (60, 48) and restored.getpixel((28, 16)) == (90, 50, 140)
    assert nib.load(out / "regions.nii.gz").shape == (60, 48, 1)
    Image.fromarray(np.asarray(restored)).save(tmp_path / "truth.png")
    assert run(*arguments, "--set", "regions=one", "--reference", tmp_path / "truth.png") == 0
    assert json.loads((out / "result.json").read_text())["metrics"]["rmse"]["value"] == 0


def test_without_its_weights_a_method_does_not_answer(scan, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("MEDAPP_WEIGHTS", str(tmp_path))
    assert run("restore_ct_rat", scan, "--out", tmp_path / "out", "--set", "regions=one") == 2
    assert "restore_ct_rat.safetensors" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("why", ["damaged", "away", "colour"])
def test_a_reference_that_does_not_fit_costs_the_comparison_alone(scan, tmp_path, capsys, why):
    reference, out = tmp_path / "reference.nii.gz", tmp_path / "out"
    if why == "damaged":
        reference.write_bytes(b"\x1f\x8b nothing")
    elif why == "away":
        files.write(Volume(np.zeros((9, 9, 9), np.float32), np.eye(4) + 900 * np.eye(4, k=3)), reference)
    else:
        reference = tmp_path / "reference.png"
        Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 36, 3), np.uint8)).save(reference)
    assert run("restore_ct_rat", scan, "--out", out, "--set", "regions=one", "--reference", reference) == 0
    said = capsys.readouterr()
    assert said.err.startswith("note: Not compared with the reference. ") and said.err.count("\n") == 1
    facts = json.loads((out / "result.json").read_text())
    assert facts["notes"][0].startswith("Not compared with the reference.") and "psnr" not in facts["metrics"]
    assert (out / "restored.nii.gz").exists()


def test_a_picture_of_another_size_is_found_unfit_at_the_end_and_costs_nothing(tmp_path, capsys):
    rng, out = np.random.default_rng(0), tmp_path / "out"
    picture, other = tmp_path / "picture.png", tmp_path / "other.png"
    Image.fromarray(rng.integers(0, 255, (48, 40, 3), np.uint8)).save(picture)
    Image.fromarray(rng.integers(0, 255, (20, 20, 3), np.uint8)).save(other)
    assert run("restore_pathology_rat", picture, "--out", out, "--set", "regions=one", "--reference", other) == 0
    assert "Not compared" in capsys.readouterr().err
    facts = json.loads((out / "result.json").read_text())
    assert (out / "restored.png").exists() and "psnr" not in facts["metrics"]
