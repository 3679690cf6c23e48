"""The examples for stroke hold what they say; three files become one; every mask gets a row of scores."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load, save_file

from medapp.analysis.mask_metrics import label_components
from medapp.analysis.stroke_ensemble import PLANE_LETTERS, measure_ensemble
from medapp.imaging.volume import Volume
from medapp.io import files
from medapp.pipelines.segment_stroke_raxnet import CARD, build_networks
from medapp.result import Provenance, Result
from training.core import score_tables
from training.core.case import Case
from training.core.random_source import RandomSource
from training.core.run import half_precision_state
from training.evaluation import scores
from training.examples.make_stroke import RECIPES, ragged_ellipsoid
from training.examples.make_synthetic_heads import OUT
from training.release.install import pack_parts, read_weights


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda r: r.name)
def test_lesions_are_dark_and_lie_where_they_are_said_to(recipe):
    image, reference = (files.read([OUT / recipe.name / f"{name}.nii.gz"]) for name in ("image", "reference"))
    assert image.grid.is_same(recipe.grid) and reference.grid.is_same(recipe.grid)
    middle = reference.grid.to_mm(np.argwhere(reference.array > 0)).mean(0)
    assert np.linalg.norm(middle - recipe.centre) < 10
    assert 10 < reference.array.sum() * reference.grid.voxel_ml < 80
    dark, rest = image.array[reference.array > 0], image.array[(reference.array == 0) & (image.array > 40)]
    assert np.median(dark) < np.percentile(rest, 20), "an old infarct is dark"


def test_a_made_up_shape_is_one_piece_of_about_its_size():
    shape = ragged_ellipsoid((61, 71, 51), (17, 20, 14), RandomSource(3))
    assert 0.6 < shape.sum() / (4 / 3 * np.pi * 17 * 20 * 14) < 1.5
    assert label_components(shape)[0].max() == 1 or (label_components(shape)[0] == 1).mean() > 0.9 * shape.mean()


def test_three_files_become_one_that_fits_the_card(tmp_path: Path):
    parts = build_networks((2, 4, 8, 16))
    for plane in PLANE_LETTERS:
        save_file(half_precision_state(parts[plane].state_dict()), tmp_path / f"{plane}.safetensors")
    content = pack_parts({plane: tmp_path / f"{plane}.safetensors" for plane in PLANE_LETTERS})
    again = build_networks((2, 4, 8, 16))
    again.load_state_dict({name: tensor.float() for name, tensor in load(content).items()})
    for name, tensor in parts.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], tensor, rtol=1e-3, atol=1e-3)
    assert read_weights([f"{plane}={tmp_path / plane}.safetensors" for plane in PLANE_LETTERS]) == content
    with pytest.raises(ValueError, match="PART=FILE"):
        read_weights(["a", "b=c"])


@pytest.fixture
def result():
    shape = (20, 20, 20)
    image = Volume(np.ones(shape, np.int16), np.eye(4))
    seen = {plane: np.zeros(shape, np.float32) for plane in PLANE_LETTERS}
    for plane in PLANE_LETTERS:
        seen[plane][:10, :10, : 10 if plane != "sagittal" else 4] = 0.9
    volumes = {f"probability_{plane}": image.new_like(p) for plane, p in seen.items()} | {
        "image": image,
        "template": image,
    }
    settings = CARD.parse_settings({"min_lesion_ml": 0})
    return replace(measure_ensemble(Result(volumes), settings), provenance=Provenance(CARD.name, seconds=3.0))


def test_every_mask_gets_a_row_and_small_lesions_and_none_their_own_figures(result):
    truth = np.zeros((20, 20, 20), np.uint8)
    truth[:10, :10, :10] = 1
    settings = CARD.parse_settings({"min_lesion_ml": 0})
    case = Case("test 000", "1 ml", "1 mm", (), result.volumes["image"].new_like(truth))
    scorer = scores.find_scorer(CARD)
    rows = scorer.rows(case, result, settings, ())
    rows += scorer.rows(case._replace(patient="test 001", truth=case.truth.new_like(truth * 0)), result, settings, ())
    assert [r["group"] for r in rows[:5]] == ["vote", "ours", *PLANE_LETTERS] and set(scorer.figures) <= set(rows[0])
    of = {(r["patient"][-1], r["group"]): r for r in rows}
    assert of["0", "ours"]["dice"] == of["0", "ours"]["dice_small"] == 1 and of["0", "ours"]["false_ml"] is None
    assert of["0", "sagittal"]["dice"] == pytest.approx(0.5714, abs=1e-3)
    assert of["1", "sagittal"]["false_ml"] == 0.4 and of["1", "sagittal"]["dice"] is None
    text = score_tables.method_table(rows, scorer.methods)
    assert "| sagittal | 1 | 0.571" in text and "false_ml" in text
