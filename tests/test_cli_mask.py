"""The command line measures a mask that was corrected elsewhere, without the network where it has run before."""

import json

import nibabel as nib
import numpy as np
import pytest

from medapp import examples
from medapp.cli import main
from medapp.serving import runtime

LESION = next(e for e in examples.of_task("segmentation") if e.reference and set(e.images) == {"flair"})
NAME = "segment_glioma_ar2unet"
FLAIR = str(LESION.images["flair"])


@pytest.fixture(scope="module")
def run_before(tmp_path_factory):
    """A folder with a result."""
    out = tmp_path_factory.mktemp("out")
    assert main(["run", NAME, FLAIR, "--out", str(out), "--quiet"]) == 0
    return out


@pytest.fixture
def edited(run_before, tmp_path):
    """The mask of the result with a corner cut off and a block added, and how many ml that is."""
    image = nib.load(run_before / "mask.nii.gz")
    array = np.asarray(image.dataobj).copy()
    lowest, highest = np.argwhere(array).min(0), np.argwhere(array).max(0)
    cut = tuple(slice(a, (a + b) // 2) for a, b in zip(lowest, highest, strict=True))
    ml = np.prod(nib.affines.voxel_sizes(image.affine)) / 1000
    removed, array[cut] = np.count_nonzero(array[cut]) * ml, 0
    array[:5, :5, :2] = 1
    nib.save(nib.Nifti1Image(array, image.affine), tmp_path / "edited.nii.gz")
    return tmp_path / "edited.nii.gz", removed, 50 * ml


def test_a_corrected_mask_is_measured_and_reported_without_the_network(run_before, edited, monkeypatch, capsys):
    path, removed, added = edited
    before = {file.name: file.read_bytes() for file in run_before.iterdir()}

    def fail(*volumes, **options):
        raise AssertionError("the network ran")

    monkeypatch.setattr(runtime, "run", fail)
    arguments = ["--mask", str(path), "--reference", str(LESION.reference), "--set", "threshold=0.6"]
    assert main(["run", NAME, FLAIR, "--out", str(run_before), *arguments]) == 0
    assert "The network was not run again" in capsys.readouterr().out
    facts = json.loads((run_before / "corrected_result.json").read_text())
    value = {name: metric["value"] for name, metric in facts["metrics"].items()}
    assert value["hand_removed"] == pytest.approx(removed, abs=0.01) and value["dice"] > 0.5
    assert value["hand_added"] == pytest.approx(added, abs=0.01)
    mask = np.asarray(nib.load(run_before / "corrected_mask.nii.gz").dataobj)
    np.testing.assert_array_equal(mask, np.asarray(nib.load(path).dataobj))
    page = (run_before / "corrected_report.html").read_text()
    assert "Corrected by hand" in page and "Dice" in page
    assert {name: (run_before / name).read_bytes() for name in before} == before, "the earlier result stays"
    automatic = np.asarray(nib.load(run_before / "automatic_mask.nii.gz").dataobj)
    np.testing.assert_array_equal(automatic, np.asarray(nib.load(run_before / "mask.nii.gz").dataobj))


def test_of_other_images_or_a_damaged_result_the_network_runs(run_before, edited, tmp_path, monkeypatch):
    class Ran(Exception):
        pass

    def note(*volumes, **options):
        raise Ran

    monkeypatch.setattr(runtime, "run", note)
    image = nib.load(FLAIR)
    other = np.asarray(image.dataobj).copy()
    other[0, 0, 0] += 1
    nib.save(nib.Nifti1Image(other, image.affine), tmp_path / "other.nii.gz")
    with pytest.raises(Ran):
        main(["run", NAME, str(tmp_path / "other.nii.gz"), "--out", str(run_before), "--mask", str(edited[0])])
    facts = json.loads((run_before / "result.json").read_text())
    for name, content in (("none", None), ("damaged", "{"), ("list", "[]"), ("partial", json.dumps(facts))):
        (tmp_path / name).mkdir()
        if content is not None:
            (tmp_path / name / "result.json").write_text(content)
        with pytest.raises(Ran):
            main(["run", NAME, FLAIR, "--out", str(tmp_path / name), "--mask", str(edited[0])])


@pytest.mark.parametrize("fault", ["an image", "elsewhere", "missing", "no method"])
def test_what_is_no_mask_of_this_image_is_refused_in_a_sentence(fault, edited, tmp_path, capsys):
    array = np.zeros((9, 9, 9), np.float32)
    array[3:6] = 1
    affine = np.eye(4)
    if fault == "an image":
        array, affine = np.random.default_rng(0).normal(100, 9, (40, 40, 20)), nib.load(FLAIR).affine
    if fault == "elsewhere":
        affine[:3, 3] = 900
    nib.save(nib.Nifti1Image(array.astype(np.float32), affine), tmp_path / "mask.nii.gz")
    path = tmp_path / ("nothing.nii.gz" if fault == "missing" else "mask.nii.gz")
    name = "register_brain_textscf" if fault == "no method" else NAME
    images = [FLAIR, FLAIR] if fault == "no method" else [FLAIR]
    assert main(["run", name, *images, "--out", str(tmp_path / "out"), "--mask", str(path)]) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert {"an image": "not a mask", "elsewhere": "The mask lies", "missing": "no file", "no method": "no mask"}[
        fault
    ] in said
