"""People are divided always alike: ours as the scores say, anyone else's by turns, nobody in two parts."""

from pathlib import Path

import pytest

from medapp.errors import UserError
from training.core import data_cache
from training.data.labelled_brains import TEST_SCANS, VALIDATION_SCANS, split_scans, training_scans


def test_ours_are_held_out_as_the_cards_say():
    names = sorted(["1000", "1002", *TEST_SCANS, *VALIDATION_SCANS])
    assert split_scans(names) == {
        "train": ["1000", "1002"],
        "validation": sorted(VALIDATION_SCANS),
        "test": sorted(TEST_SCANS),
    }


def test_those_of_others_are_held_out_by_turns():
    names = [f"sub{n:02d}" for n in range(11)]
    parts = split_scans(names)
    assert sorted(name for part in parts.values() for name in part) == names
    assert (len(parts["validation"]), len(parts["test"])) == (2, 2)


def test_too_few_are_told(tmp_path):
    for name in ("a", "b"):
        (tmp_path / f"{name}_t1.nii.gz").touch()
    with pytest.raises(UserError, match="holds 2 scans"):
        training_scans(tmp_path)
    (tmp_path / "c_t1.nii.gz").touch()
    assert training_scans(tmp_path) == (["a", "b"], ["c"])
    with pytest.raises(UserError, match="hold 2 out"):
        training_scans(tmp_path, 2)


def test_two_folders_and_two_weights_are_kept_apart(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = [
        data_cache.cache_folder("ms", Path(data), *weights) for data in ("a", "b") for weights in ((), ("x",), ("y",))
    ]
    assert len(set(found)) == 6 and all(each.is_dir() for each in found)
    assert data_cache.cache_folder("ms", tmp_path / "a") == found[0]
