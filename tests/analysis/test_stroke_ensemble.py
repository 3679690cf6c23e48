"""Three planes become one mask by any rule, live, and every plane is held against the fusion and the reference."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medapp.analysis import ensemble
from medapp.analysis.stroke_ensemble import ENSEMBLE_COLUMNS, PLANE_LETTERS, measure_ensemble
from medapp.errors import InputError
from medapp.imaging.volume import Volume
from medapp.pipelines.segment_stroke_raxnet import CARD
from medapp.presenters import PRESENTERS
from medapp.presenters.catalogue import OUTPUTS
from medapp.presenters.report import render_report
from medapp.result import Provenance, Result

presenter = PRESENTERS["stroke"]

SETTINGS = CARD.parse_settings({"min_lesion_ml": 0})


@pytest.fixture
def result():
    """A cube of 8 voxels a side that all planes see, beside it one that two see, and one that only the axial sees."""
    shape = (30, 12, 10)
    image = Volume(np.ones(shape, np.int16), np.diag([1.0, 2, 3, 1]))
    planes = {plane: np.zeros(shape, np.float32) for plane in PLANE_LETTERS}
    for plane, p in planes.items():
        p[0:8, 0:8, 0:8] = 0.9
        p[10:18, 0:8, 0:8] = 0 if plane == "sagittal" else 0.6
        p[20:28, 0:8, 0:8] = 0.8 if plane == "axial" else 0
    volumes = {f"probability_{plane}": image.new_like(p, name=plane) for plane, p in planes.items()}
    return Result({"image": image, "template": image, **volumes}, provenance=Provenance(CARD.name))


def ml(voxels):
    return pytest.approx(voxels * 0.006)


def test_every_rule_makes_its_own_mask(result):
    volume = {
        rule: measure_ensemble(result, SETTINGS | {"fusion": rule}).metrics["volume"].value
        for rule in ("mean", "vote", "weighted")
    }
    assert volume == {"mean": ml(512), "vote": ml(1024), "weighted": ml(512)}
    heavy = SETTINGS | {"fusion": "weighted", "weight_sagittal": 0.0}
    assert measure_ensemble(result, heavy).metrics["volume"].value == ml(1024)
    assert measure_ensemble(result, SETTINGS | {"weight_sagittal": 0.0}).metrics["volume"].value == ml(512), (
        "the mean is plain"
    )


def test_a_plane_switched_off_is_not_there(result):
    out = measure_ensemble(result, SETTINGS | {"coronal": False, "sagittal": False})
    assert out.metrics["volume"].value == ml(1536) and out.volumes["agreement"].array.max() == 1
    np.testing.assert_array_equal(out.volumes["probability"].array, result.volumes["probability_axial"].array)
    with pytest.raises(InputError, match="No plane"):
        measure_ensemble(result, SETTINGS | dict.fromkeys(PLANE_LETTERS, False))
    with pytest.raises(InputError, match="No plane"):
        measure_ensemble(
            result, SETTINGS | {"fusion": "weighted"} | {f"weight_{plane}": 0.0 for plane in PLANE_LETTERS}
        )


def test_maps_of_agreement_and_doubt(result):
    out = measure_ensemble(result, SETTINGS)
    agreement, variance, entropy = (out.volumes[role].array for role in ("agreement", "variance", "entropy"))
    assert [int(agreement[x, 4, 4]) for x in (4, 14, 24, 29)] == [3, 2, 1, 0]
    assert out.volumes["agreement"].labels == {1: "1 plane", 2: "2 planes", 3: "3 planes"}
    assert variance[4, 4, 4] == pytest.approx(0) and variance[24, 4, 4] == pytest.approx(np.var([0.8, 0, 0]))
    assert entropy[14, 4, 4] == pytest.approx(0.971, abs=1e-3) and entropy[29, 4, 4] == 0
    assert out.metrics["agreed"].value == pytest.approx(33.3)


def test_live_options_do_not_remember_the_ones_before(result):
    first = measure_ensemble(result, SETTINGS)
    there_and_back = measure_ensemble(
        measure_ensemble(first, SETTINGS | {"fusion": "vote", "threshold": 0.2}), SETTINGS
    )
    for role, volume in first.volumes.items():
        np.testing.assert_array_equal(volume.array, there_and_back.volumes[role].array)
    assert there_and_back.facts() == first.facts()


def row(out, mask, against):
    row = next(r for r in out.tables["planes"].rows if r[:2] == (mask, against))
    return dict(zip(ENSEMBLE_COLUMNS, row, strict=True))


def test_planes_are_held_against_the_fusion_and_the_reference(result):
    truth = np.zeros((30, 12, 10), np.uint8)
    truth[0:8, 0:8, 0:4] = 1
    out = measure_ensemble(result, SETTINGS, result.volumes["image"].new_like(truth))
    fused, axial = row(out, "fusion", "reference"), row(out, "axial", "fusion")
    assert axial["precision"] == pytest.approx(1 / 3, abs=1e-4) and axial["recall"] == 1 and axial["Dice"] == 0.5
    assert fused["precision"] == 0.5 and fused["recall"] == 1 and fused["volume difference (%)"] == 100
    assert fused["lesion-wise F1"] == 1 and fused["HD95 (mm)"] == pytest.approx(12)
    assert fused["Dice, axial slices"] == 0.5, "half of the slices with lesion in either mask are right, none is empty"
    assert fused["Dice, coronal slices"] == fused["Dice, sagittal slices"] == pytest.approx(2 / 3, abs=1e-4)
    assert len(out.tables["planes"].rows) == 3 + 4 and len(measure_ensemble(out, SETTINGS).tables["planes"].rows) == 3


def test_nothing_against_nothing_is_not_a_figure(result):
    empty = {
        f"probability_{plane}": result.volumes["image"].new_like(np.zeros((30, 12, 10), np.float32))
        for plane in PLANE_LETTERS
    }
    out = measure_ensemble(replace(result, volumes={**result.volumes, **empty}), SETTINGS, empty["probability_axial"])
    assert set(row(out, "fusion", "reference").values()) == {"fusion", "reference", 0.0, None}
    assert out.metrics["agreed"].value is None and "both are empty" in out.tables["planes"].about


def test_slices_follow_the_patient_not_the_file(result):
    truth = np.zeros((30, 12, 10), np.uint8)
    truth[0:8, 0:8, 0:4] = 1
    order = (2, 0, 1)
    turned = {
        role: Volume(v.array.transpose(order), v.affine[:, [*order, 3]], name=v.name)
        for role, v in {**result.volumes, "truth": result.volumes["image"].new_like(truth)}.items()
    }
    reference = turned.pop("truth")
    out = measure_ensemble(replace(result, volumes=turned), SETTINGS, reference)
    assert row(out, "fusion", "reference")["Dice, axial slices"] == 0.5
    assert row(out, "fusion", "reference")["Dice, sagittal slices"] == pytest.approx(2 / 3, abs=1e-4)


@given(st.integers(1, 5), st.lists(st.integers(0, 10), min_size=40, max_size=40), st.integers(1, 10))
def test_what_the_majority_reaches_is_the_vote(planes, tenths, threshold):
    stack = np.reshape(tenths, (5, 2, 2, 2))[:planes] / 10
    votes = ensemble.count_agreeing_planes(stack, threshold / 10)
    np.testing.assert_array_equal(ensemble.compute_majority_probability(stack) >= threshold / 10, 2 * votes > planes)


def test_the_tab_the_files_and_the_report_know_it(result, tmp_path):
    out = presenter.recompute(measure_ensemble(result, SETTINGS), None, SETTINGS | {"fusion": "vote"})
    assert out.settings["fusion"] == "vote" and "33 % are marked by all" in presenter.headline(out)
    assert [t.columns for t in presenter.further_tables(out)] == [ENSEMBLE_COLUMNS]
    layers = presenter.layers(out)
    assert next(iter(layers)) == "image" and {"Entropy", "Disagreement (variance)", "Lesion"} <= set(layers)
    names = {path.name for path in out.write_files(tmp_path, presenter.files).paths}
    wanted = ("mask", "probability", *(f"probability_{plane}" for plane in PLANE_LETTERS), "agreement")
    assert {f"{role}.nii.gz" for role in wanted} | {"result.json", "planes.csv", "lesions.csv"} <= names
    assert names <= {output.file for output in OUTPUTS} and "lesion-wise F1" in render_report(out, presenter, "Stroke")
