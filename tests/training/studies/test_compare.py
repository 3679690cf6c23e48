"""Comparisons: every study runs without data, on the same batches for all, and goes on where it was."""

import csv
from argparse import Namespace

import pytest
import torch

from training.core.random_source import RandomSource
from training.studies import compare
from training.studies.compare import STUDIES, average_seeds, main, train_candidate


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_in_two_steps(name, tmp_path, monkeypatch):
    study = STUDIES[name]
    main([name, "--smoke", "--out", str(tmp_path)])
    text = (tmp_path / "comparison.md").read_text()
    with (tmp_path / "cases.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [*dict.fromkeys(row["group"] for row in rows)] == [*study.candidates]
    assert set(study.figures) <= set(rows[0])
    ours, *others = study.candidates
    assert f"| {ours} (ours) | 2 |" in text
    assert all(text.count(f"| {other} | 2 |") == 2 for other in others), "means and tests, over two patients"

    monkeypatch.setattr(compare, "train_candidate", None)  # all is there already
    main([name, "--smoke", "--out", str(tmp_path)])
    assert (tmp_path / "comparison.md").read_text() == text
    with pytest.raises(SystemExit):
        main([name, "--smoke", "--rate", "1", "--out", str(tmp_path)])


@pytest.mark.parametrize("name", STUDIES)
def test_batches_depend_on_the_luck_alone(name):
    study_data = STUDIES[name].make_phantom()
    for first, second in zip(study_data.draw(RandomSource(3)), study_data.draw(RandomSource(3)), strict=True):
        assert torch.equal(first, second)
    assert any(
        not torch.equal(a, b)
        for a, b in zip(study_data.draw(RandomSource(3)), study_data.draw(RandomSource(4)), strict=True)
    )


@pytest.mark.parametrize(("name", "candidate"), [("stroke-networks", "CLCI-Net"), ("glioma-gates", "AR2-UNet")])
def test_a_killed_training_ends_as_if_nothing_had_happened(name, candidate, tmp_path, monkeypatch):
    study, args = STUDIES[name], Namespace(steps=3, share=1 / 16, rate=1e-3, device="cpu")
    whole = train_candidate(study, study.candidates[candidate], study.make_phantom(), tmp_path / "whole", 0, args)

    monkeypatch.setattr(compare, "CHECKPOINT_MINUTES", 0)
    study_data, draws = study.make_phantom(), []

    def until_killed(rng: RandomSource, draw=study_data.draw):
        if len(draws) == 2:
            raise KeyboardInterrupt
        draws.append(draw(rng))
        return draws[-1]

    monkeypatch.setattr(study_data, "draw", until_killed)
    with pytest.raises(KeyboardInterrupt):
        train_candidate(study, study.candidates[candidate], study_data, tmp_path / "killed", 0, args)
    killed = train_candidate(study, study.candidates[candidate], study.make_phantom(), tmp_path / "killed", 0, args)
    assert whole.losses == killed.losses and len(whole.losses) == 3
    for one, other in zip(whole.average.buffers(), killed.average.buffers(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_seeds_and_images_of_a_patient_are_averaged():
    rows = [
        {"patient": "a", "group": "X", "dice": 0.2, "false_ml": None},
        {"patient": "a", "group": "X", "dice": 0.4, "false_ml": 3.0},
        {"patient": "a", "group": "Y", "dice": None, "false_ml": None},
    ]
    first, second = average_seeds(rows, ("dice", "false_ml"), "X")
    assert first["group"] == "ours" and first["dice"] == pytest.approx(0.3) and first["false_ml"] == 3
    assert second["group"] == "Y" and second["dice"] is None
