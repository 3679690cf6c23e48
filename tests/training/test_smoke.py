"""Trainings run on data in noise and boxes, and a killed one ends as one that was not."""

import csv

import pytest
import torch

from training import smoke
from training.smoke import TRIALS, Differs, main, tried


@pytest.mark.parametrize("name", TRIALS)
def test_a_training_in_two_steps(name, tmp_path):
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
    with pytest.raises(Differs, match="restore_pet_rat"):
        tried("restore_pet_rat", tmp_path)
