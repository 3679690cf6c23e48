"""The command line compares raters' masks, with a result or alone."""

import csv
import json

import nibabel as nib
import numpy as np
import pytest

from medapp import examples
from medapp.cli import main

LESION = next(e for e in examples.of_task("segmentation") if e.reference and set(e.images) == {"flair"})
NAME = "segment_glioma_ar2unet"


@pytest.fixture
def masks(tmp_path):
    """The reference under the names of three raters, the last of whom has marked one slab less."""
    image = nib.load(LESION.reference)
    array = np.asarray(image.dataobj).astype(np.uint8)
    for name in ("anna", "ben", "cleo"):
        if name == "cleo":
            array = array.copy()
            array[array.shape[0] // 2 :] = 0
        nib.save(nib.Nifti1Image(array, image.affine), tmp_path / f"{name}.nii.gz")
    return [str(tmp_path / f"{name}.nii.gz") for name in ("anna", "ben", "cleo")]


def read_rows(path):
    return list(csv.DictReader(path.open()))


def test_masks_are_compared_alone(masks, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["compare", *masks, "--out", str(out)]) == 0
    assert [(row["first"], row["second"]) for row in read_rows(out / "raters.csv")] == [
        ("anna", "ben"), ("anna", "cleo"), ("ben", "cleo"),
    ]  # fmt: skip
    assert [row["rater"] for row in read_rows(out / "rater_performance.csv")] == ["anna", "ben", "cleo"]
    consensus = nib.load(out / "consensus.nii.gz")
    np.testing.assert_array_equal(np.asarray(consensus.dataobj), np.asarray(nib.load(masks[0]).dataobj))
    assert json.loads((out / "result.json").read_text())["metrics"]["raters"]["value"] == 3
    assert "consensus_volume" in capsys.readouterr().out


def test_nonsense_is_refused_in_a_sentence(masks, tmp_path, capsys):
    out = ["--out", str(tmp_path / "out")]
    flair = str(LESION.images["flair"])
    for wrong in ([masks[0]], [masks[0], flair], [masks[0], "nothing.nii.gz"], masks * 4):
        assert main(["compare", *wrong, *out]) == 2
        said = capsys.readouterr().err
        assert said.strip() and "Traceback" not in said
    assert main(["run", NAME, flair, *out, "--rater", flair]) == 2
    assert main(["run", "segment_anatomy_unet", flair, *out, "--rater", masks[0]]) == 2
    assert not (tmp_path / "out").exists()


def test_raters_are_compared_with_a_result_and_reported(masks, tmp_path):
    out = tmp_path / "out"
    arguments = ["--rater", masks[0], "--rater", masks[2], "--reference", str(LESION.reference), "--quiet"]
    assert main(["run", NAME, str(LESION.images["flair"]), "--out", str(out), *arguments]) == 0
    rows = {(row["first"], row["second"]): row for row in read_rows(out / "raters.csv")}
    assert rows["Reference", "anna"]["Dice"] == "1.0" and ("Automatic", "cleo") in rows
    dice = json.loads((out / "result.json").read_text())["metrics"]["dice"]["value"]
    assert float(rows["Automatic", "anna"]["Dice"]) == dice
    assert (out / "consensus.nii.gz").is_file() and "STAPLE" in (out / "report.html").read_text()
