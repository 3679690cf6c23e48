"""Trainings run on data in noise and boxes, and a killed one ends as one that was not."""

import csv

import numpy as np
import pytest
import torch
from scipy import ndimage

from training.core import data_cache, smoke
from training.core.smoke import TRIALS, ResumeError, check_resume, main
from training.data import template_head
from training.methods import register_brain_textscf


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """What trainings keep is kept apart; the average head, which pydeface ships, is a ball; few words are embedded."""
    monkeypatch.setattr(data_cache, "CACHE_ROOT", tmp_path / "kept")
    monkeypatch.setattr(register_brain_textscf, "WORDINGS", 2)
    ball = np.linalg.norm(np.indices((100, 100, 100)) - 49.5, axis=0) < 35
    signed = ndimage.distance_transform_edt(~ball) - ndimage.distance_transform_edt(ball)
    monkeypatch.setattr(template_head, "average_head", lambda: (np.float32(90 * (signed < 15)), np.float32(signed)))


@pytest.mark.parametrize("name", TRIALS)
def test_a_training_in_two_steps(name, tmp_path, elsewhere):
    main([name, "--out", str(tmp_path)])
    for run in ("whole", "killed"):
        with (tmp_path / name / run / "log.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert rows and all(None not in row and float(row["loss"]) > 0 for row in rows)
        assert list((tmp_path / name / run).glob("events.*")), "and TensorBoard has something to show"


def test_a_training_that_does_not_go_on_as_it_was_is_told(tmp_path, monkeypatch):
    stopped = iter((1.0, 2.0))
    monkeypatch.setattr(smoke.torch, "load", lambda *_, **__: {"average": {"a": torch.tensor(next(stopped))}})
    monkeypatch.setattr(
        smoke.importlib, "import_module", lambda name: type("Nothing", (), {"main": lambda given: None})
    )
    with pytest.raises(ResumeError, match="restore_pet_rat"):
        check_resume("restore_pet_rat", tmp_path)
