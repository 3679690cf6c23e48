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
