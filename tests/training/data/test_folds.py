"""Folds of anyone's data: nobody crosses, whatever the files are called, and what is written of them."""

import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medapp.imaging.volume import Volume
from medapp.io import files
from training.data import folds, patient_folder
from training.data.stroke_slices import PLANES

OBLIQUE = np.array([[0, 0, 4, -10], [-1.2, 0.1, 0, 5], [0.1, 1.2, 0, 8], [0, 0, 0, 1.0]])  # stored as P, S, R
NAMES = {
    "plain": "p{}_v{}_{}.nii.gz",
    "a folder each": "p{}/v{}_{}.nii.gz",
    "BIDS": "sub-p{}/ses-v{}/sub-p{}_ses-v{}_{}.nii.gz",
}
MANY = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=20, unique=True)


def exam(person: str, name: str, seed: int, shape=(24, 20, 6)) -> folds.ExamLesions:
    """A head with a box of lesion, on an oblique grid."""
    random = np.random.default_rng(seed)
    mask = np.zeros(shape, bool)
    low = random.integers(2, 5, 3)
    high = low + random.integers(1, (16, 12, 2))
    mask[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = True
    image = np.zeros(shape, np.float32)
    image[1:-1, 1:-1] = random.uniform(50, 100, (shape[0] - 2, shape[1] - 2, shape[2]))
    return folds.measure_exam(person, name, Volume(image, OBLIQUE), Volume(mask, OBLIQUE))


@settings(max_examples=20, deadline=None)
@given(st.integers(3, 7), st.integers(1, 3), st.integers(2, 3), st.sampled_from(sorted(PLANES)), st.integers(0, 10**6))
def test_nobody_crosses_folds(people, visits, count, plane, seed):
    found = [exam(f"p{p}", f"p{p}_{v}", seed + 10 * p + v) for p in range(people) for v in range(visits)]
    listing = folds.list_slices(found, plane)
    parts = [folds.describe_fold(listing, plane, f) for f in folds.split_folds(listing.slices, plane, count, seed)]
    held = [person for part in parts for person in part["people"]]
    assert sorted(held) == sorted({each.subject for each in found}), "everyone is held out once"
    exams = [name for part in parts for name in part["slices"]]
    assert len(exams) == len(set(exams))
    assert all({name.split("_")[0] for name in part["slices"]} == set(part["people"]) for part in parts)
    assert sum(sum(part["by_size"]) for part in parts) == sum(each.row[f"{plane}_with_lesion"] for each in found)


@settings(max_examples=15, deadline=None)
@given(st.sampled_from(sorted(NAMES)), MANY)
def test_visits_stay_with_their_person_whatever_the_files_are_called(layout, visits):
    with TemporaryDirectory() as name:
        root = Path(name)
        for person, visit in visits:
            for word in ("flair", "mask"):
                count = NAMES[layout].count("{}")
                path = root / NAMES[layout].format(*([person, visit] * 2)[: count - 1], word)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()
        found = patient_folder.find_complete_exams(
            root,
            {"image": folds.IMAGE_WORDS, "truth": patient_folder.MASK_WORDS},
            ["image", "truth"],
            patient_folder.SUBJECT,
        )
    assert len(found) == len(visits)
    assert {e.subject.removeprefix("sub-") for e in found} == {f"p{person}" for person, _ in visits}


def test_slices_are_measured_in_the_patient():
    mask = np.zeros((24, 20, 6), bool)
    mask[3:9, 5:9, 2:4] = True  # P, S, R: 6 × 1.204, 4 × 1.204, 2 × 4 mm
    found = folds.measure_exam("p", "p_1", Volume(mask * np.float32(9), OBLIQUE), Volume(mask, OBLIQUE))
    mm = np.hypot(1.2, 0.1)
    with_lesion = {plane: [(at, size) for at, size in found.slices[plane] if size] for plane in PLANES}
    assert with_lesion["sagittal"] == [(2, round(24 * mm**2)), (3, round(24 * mm**2))]
    assert with_lesion["coronal"] == [(at, round(8 * 4 * mm)) for at in range(24 - 9, 24 - 3)], "from the back"
    assert with_lesion["axial"] == [(at, round(12 * 4 * mm)) for at in range(5, 9)]
    assert found.row["lesions"] == 1 and found.row["volume_ml"] == pytest.approx(48 * mm**2 * 4 / 1000, rel=0.02)


def test_a_folder_becomes_files_and_a_page(tmp_path, monkeypatch, capsys):
    data, out = tmp_path / "data", tmp_path / "out"
    data.mkdir()
    random = np.random.default_rng(0)
    for number in range(4):
        mask = np.zeros((16, 16, 8), np.uint8)
        mask[4 : 6 + 2 * number, 4:9, 2:5] = 3
        files.write(Volume(mask, OBLIQUE, labels={3: "lesion"}), data / f"p{number}_seg.nii.gz")
        scan = Volume(random.uniform(50, 100, (8, 16, 8)).astype(np.float32), OBLIQUE)
        files.write(scan, data / f"p{number}_flair.nii.gz")

    def run(*more: str) -> int:
        monkeypatch.setattr(sys, "argv", ["folds", str(data), "--out", str(out), *more])
        try:
            folds.main()
        except SystemExit as left:
            return left.code
        return 0

    assert run("--folds", "2", "--seed", "1") == 0 and "axial fold 2" in capsys.readouterr().out
    told = json.loads((out / "folds.json").read_text())
    assert told["seed"] == 1 and set(told["planes"]) == set(PLANES)
    assert sorted(p for part in told["planes"]["axial"] for p in part["people"]) == ["p0", "p1", "p2", "p3"]
    assert len((out / "statistics.csv").read_text().splitlines()) == 5
    page = (out / "lesions.html").read_text()
    assert "Where lesions lie" in page and "4 exams of 4 people, 0 without lesion" in page
    assert run() == 1 and "5 folds need" in capsys.readouterr().err
    monkeypatch.setattr(patient_folder, "MASK_WORDS", ("nothing",))
    assert run() == 1 and "No images" in capsys.readouterr().err
