"""Comparisons: every study runs without data, on the same batches for all, and goes on where it was."""

import csv
from argparse import Namespace

import pytest
import torch

from training.core.random_source import Luck
from training.studies import compare
from training.studies.compare import STUDIES, averaged, main, trained


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_in_two_steps(name, tmp_path, monkeypatch):
    study = STUDIES[name]
    main([name, "--smoke", "--out", str(tmp_path)])
    text = (tmp_path / "comparison.md").read_text()
    with (tmp_path / "cases.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [*dict.fromkeys(row["group"] for row in rows)] == [*study.rivals]
    assert set(study.figures) <= set(rows[0])
    ours, *others = study.rivals
    assert f"| {ours} (ours) | 2 |" in text
    assert all(text.count(f"| {other} | 2 |") == 2 for other in others), "means and tests, over two patients"

    monkeypatch.setattr(compare, "trained", None)  # all is there already
    main([name, "--smoke", "--out", str(tmp_path)])
    assert (tmp_path / "comparison.md").read_text() == text
    with pytest.raises(SystemExit):
        main([name, "--smoke", "--rate", "1", "--out", str(tmp_path)])


@pytest.mark.parametrize("name", STUDIES)
def test_batches_depend_on_the_luck_alone(name):
    bench = STUDIES[name].phantom()
    for first, second in zip(bench.draw(Luck(3)), bench.draw(Luck(3)), strict=True):
        assert torch.equal(first, second)
    assert any(not torch.equal(a, b) for a, b in zip(bench.draw(Luck(3)), bench.draw(Luck(4)), strict=True))


@pytest.mark.parametrize(("name", "rival"), [("stroke-networks", "CLCI-Net"), ("glioma-gates", "AR2-UNet")])
def test_a_killed_training_ends_as_if_nothing_had_happened(name, rival, tmp_path, monkeypatch):
    study, args = STUDIES[name], Namespace(steps=3, share=1 / 16, rate=1e-3, device="cpu")
    whole = trained(study, study.rivals[rival], study.phantom(), tmp_path / "whole", 0, args)

    monkeypatch.setattr(compare, "KEEP", 0)
    bench, draws = study.phantom(), []

    def until_killed(luck: Luck, draw=bench.draw):
        if len(draws) == 2:
            raise KeyboardInterrupt
        draws.append(draw(luck))
        return draws[-1]

    monkeypatch.setattr(bench, "draw", until_killed)
    with pytest.raises(KeyboardInterrupt):
        trained(study, study.rivals[rival], bench, tmp_path / "killed", 0, args)
    killed = trained(study, study.rivals[rival], study.phantom(), tmp_path / "killed", 0, args)
    assert whole.losses == killed.losses and len(whole.losses) == 3
    for one, other in zip(whole.average.buffers(), killed.average.buffers(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_seeds_and_images_of_a_patient_are_averaged():
    rows = [
        {"patient": "a", "group": "X", "dice": 0.2, "false_ml": None},
        {"patient": "a", "group": "X", "dice": 0.4, "false_ml": 3.0},
        {"patient": "a", "group": "Y", "dice": None, "false_ml": None},
    ]
    first, second = averaged(rows, ("dice", "false_ml"), "X")
    assert first["group"] == "ours" and first["dice"] == pytest.approx(0.3) and first["false_ml"] == 3
    assert second["group"] == "Y" and second["dice"] is None
