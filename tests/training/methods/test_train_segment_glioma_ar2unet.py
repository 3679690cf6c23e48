"""AR2-UNet learns from anyone's images and masks."""

import json

import nibabel as nib
import numpy as np
import pytest

from medapp.pipelines.segment_glioma_ar2unet import CARD
from training.data.glioma_patients import SIDE, patient_from_case, split_patients
from training.data.patient_folder import read_cases
from training.methods.segment_glioma_ar2unet import main

OBLIQUE = np.array([[0, 0, 6.0, -20], [-1.1, 0.1, 0, 60], [-0.1, -1.1, 0, 70], [0, 0, 0, 1]])


@pytest.fixture
def people(tmp_path):
    """Four people with FLAIR and a mask, sagittal slices, oblique; two of them also with T1 after contrast."""
    for number in range(4):
        random = np.random.default_rng(number)
        image, mask = random.normal(50, 5, (110, 120, 8)), np.zeros((110, 120, 8), np.uint8)
        image[:10] = image[-10:] = 0
        mask[30:60, 40:70, 3:5] = 1
        for word, array in (("flair", image + 60 * mask), ("mask", mask), ("t1ce", image))[: 2 + (number < 2)]:
            nib.save(nib.Nifti1Image(array.astype(np.float32), OBLIQUE), tmp_path / f"P{number}_{word}.nii.gz")
    return tmp_path


def test_anyones_images_are_learned_from(people):
    out = people / "out"
    small = ["--width", "4", "--crop", "64", "--batch", "32"]
    main(["--data", str(people), "--out", str(out), "--epochs", "1", "--every", "1", "--device", "cpu", *small])
    parts = json.loads((out / "split.json").read_text())
    assert sorted(name for part in parts.values() for name in part) == [f"P{number}" for number in range(4)] and all(
        parts.values()
    )
    assert (out / "checkpoint.pt").exists() and (out / "log.csv").exists()


def test_slices_are_those_that_the_pipeline_looks_at(people):
    first = next(iter(read_cases(CARD, people)))
    patient = patient_from_case(first)
    assert patient.whole.shape[1:] == (3, SIDE, SIDE) and patient.mask.shape[1:] == (SIDE, SIDE)
    inside, outside = patient.whole[:, 1][patient.mask], patient.whole[:, 1][~patient.mask]
    assert np.median(inside) > np.percentile(outside, 99.5), "image and mask lie on one another"
    pixel_ml = np.prod([1.25, 1.25, np.linalg.norm(OBLIQUE[:3, 0])]) / 1000
    true_ml = first.truth.array.sum() * first.truth.grid.voxel_ml
    assert patient.mask.sum() * pixel_ml == pytest.approx(true_ml, rel=0.15)


def test_few_people_and_empty_folders_are_told(people, capsys):
    for number in range(2, 4):
        for file in people.glob(f"P{number}_*"):
            file.unlink()
    for folder in (people, people / "out"):
        (people / "out").mkdir(exist_ok=True)
        with pytest.raises(SystemExit):
            main(["--data", str(folder), "--out", str(people / "out"), "--epochs", "1"])
    said = capsys.readouterr().err.splitlines()
    assert "holds 2 people: three are needed" in said[0] and "No images" in said[-1]


def test_sites_of_the_set_are_divided_alike_and_strangers_are_of_one_site():
    names = [f"TCGA_{site}_{number}" for site in ("CS", "DU") for number in range(20)]
    assert {part: sum("DU" in n for n in names) for part, names in split_patients(names).items()} == {
        "train": 15, "validation": 2, "test": 3,
    }  # fmt: skip
    assert {part: len(names) for part, names in split_patients(["a", "b_c", "d"]).items()} == dict.fromkeys(
        ("train", "validation", "test"), 1
    )
