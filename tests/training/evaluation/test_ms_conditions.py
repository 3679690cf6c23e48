"""Weights for MS beside each other: every exam, threshold and file of weights has its row."""

import csv
from functools import partial

import numpy as np
import torch
from safetensors.torch import save_file

from medapp.algorithms.ms_input import INPUT_CHANNELS
from medapp.imaging.volume import Volume
from medapp.networks.rsanet import RSANet
from training.data.ms_exams import Exam
from training.evaluation import ms_conditions


def test_every_exam_is_scored_on_its_own_grid(tmp_path, monkeypatch):
    build = partial(RSANet, 1, INPUT_CHANNELS, None, (8, 16, 32), block=2)
    monkeypatch.setattr(ms_conditions, "build_network", build)
    torch.manual_seed(0)
    files = [tmp_path / f"{name}.safetensors" for name in "ab"]
    for file in files:
        save_file(build().state_dict(), file)
    x, grid = np.random.default_rng(0).normal(size=(INPUT_CHANNELS, 16, 16, 16)).astype(np.float16), np.eye(4)
    lesion = np.zeros((16, 16, 4), np.uint8)
    thick = Volume(lesion, np.diag([1.0, 1, 4, 1]), labels={1: "lesion"})
    lesion[2:6, 2:6, 1] = 1
    view = Volume(x[0], grid).grid
    exams = [Exam("free", x, view, thick.new_like(lesion * 0)), Exam("P1_thick", x, view, thick)]
    monkeypatch.setattr(ms_conditions, "make_exams", lambda data, people: iter(exams))
    out = tmp_path / "scores.csv"
    ms_conditions.main([str(tmp_path), "--out", str(out), "--weights", *map(str, files)])
    with out.open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(files) * len(exams) * len(ms_conditions.THRESHOLDS)
    assert {row["ml_true"] for row in rows if row["exam"] == "P1_thick"} == {"0.064"}
    assert all((row["dice"] == "") == (row["exam"] == "free") for row in rows)
    assert ms_conditions.tabulate_scores(rows[:0]).count("\n") == 1
