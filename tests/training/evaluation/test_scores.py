"""The evaluation of regions: a row a case with Dice of every region, and tables over the patients."""

from dataclasses import replace

import numpy as np
import pytest

from medapp.imaging.brain_labels import CLASS_NAMES
from medapp.imaging.volume import Volume
from medapp.result import Provenance, Result
from medapp.serving import runtime

scores = pytest.importorskip("training.evaluation.scores")
from training.core import score_tables  # noqa: E402
from training.core.case import Case  # noqa: E402


def case(found: np.ndarray, truth: np.ndarray) -> tuple[Case, Result]:
    names = {n: name for n, name in enumerate(CLASS_NAMES) if n}
    labels = Volume(found, np.eye(4), labels=names, name="labels")
    volumes = {"labels": labels, "brain": labels.new_like((found > 0).astype(np.uint8), labels={1: "brain"})}
    result = Result(volumes, provenance=Provenance("segment_anatomy_unet", seconds=4.0, peak_memory_mb=900.0))
    return Case("1001", "OASIS-1", "no skull", (labels,), labels.new_like(truth)), result


def blocks() -> np.ndarray:
    """The first 18 classes side by side, 4 × 4 × 4 voxels each, and those of the other side after them."""
    return np.repeat(np.arange(36, dtype=np.uint8), 4)[:, None, None] * np.ones((1, 4, 4), np.uint8)


def test_a_row_holds_every_region():
    truth, found = blocks(), blocks()
    found[4:8] = 2  # the first region is called the second
    given, result = case(found, truth)
    scorer = scores.find_scorer(runtime.find_card("segment_anatomy_unet"))
    (row,) = scorer.rows(given, result, {}, False)
    assert scorer is scores.PARCELLATOR and set(scorer.figures) <= set(row)
    assert row["dice Left-Cerebral-White-Matter"] == 0 and row["hd95 Left-Cerebral-White-Matter"] is None
    assert row["dice Left-Cerebral-Cortex"] == pytest.approx(2 / 3, abs=1e-4)
    assert row["dice Left-Choroid-Plexus"] is None, "counted to the ventricle, in both"
    assert row["dice"] == pytest.approx((31 + 2 / 3) / 33, abs=1e-3) and row["dice_brain"] == 1
    assert row["seconds"] == 4


def test_the_tables_are_over_patients():
    given, result = case(blocks(), blocks())
    scorer = scores.find_scorer(runtime.find_card("segment_anatomy_unet"))
    rows = scorer.rows(given, result, {}, False)
    other = given._replace(patient="1009")
    rows += scorer.rows(other, replace(result, notes=()), {}, False)
    text = score_tables.condition_table(rows, scorer.parts)
    assert "| dice Left-Hippocampus | 1.000 ± 0.000 |" in text and "Plexus" not in text
    assert "| no skull | all | 2 | 1.000 ± 0.000 |" in score_tables.group_table(rows, "dice")


def test_a_brain_is_scored_beside_its_peers(monkeypatch):
    truth = np.zeros((10, 10, 10), np.uint8)
    truth[2:8, 2:8, 2:8] = 1
    found = np.roll(truth, 1, axis=0)
    image = Volume(truth * 100.0, np.eye(4) * [10, 10, 10, 1])  # voxels of 1 ml
    mask = image.new_like(found, labels={1: "brain"}, name="brain")
    result = Result({"image": image, "brain": mask}, provenance=Provenance("segment_brain_unet", seconds=2.0))
    given = Case("T3", "real", "whole head", (image,), image.new_like(truth))
    (row,) = scores.BRAIN_EXTRACTOR.rows(given, result, {}, ())
    assert set(scores.BRAIN_EXTRACTOR.figures) <= set(row) and row["group"] == "real" and row["seconds"] == 2
    assert (row["excess"], row["missed"], row["brain"]) == (36, 36, 216)
    assert row["dice"] == pytest.approx(5 / 6, abs=1e-4)
    exact = mask.new_like(truth)
    monkeypatch.setattr(scores.brain_peers, "run_peers", lambda head: {"peer": (exact, 5.0)})
    ours, peer = scores.BRAIN_EXTRACTOR.rows(given, result, {}, ("all",))
    assert (ours["group"], peer["group"], peer["dice"], peer["seconds"]) == ("ours", "peer", 1, 5)
