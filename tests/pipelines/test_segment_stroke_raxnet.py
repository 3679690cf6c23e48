"""Stroke: each network looks along its own axis of the template; what it sees goes back to where the patient has it."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from nibabel.affines import from_matvec
from phantoms import grid
from scipy.spatial.transform import Rotation

from medapp.algorithms.brain_pair import find_centroids
from medapp.algorithms.mni_template import (
    TEMPLATE_REGIONS,
    TemplatePlacement,
    load_template,
    load_template_mask,
    register_template,
)
from medapp.algorithms.parcellation import parcellate
from medapp.analysis.mask_metrics import compute_dice
from medapp.errors import InputError
from medapp.imaging.geometry import resample
from medapp.imaging.volume import Grid, Volume
from medapp.io import files
from medapp.pipelines import segment_stroke_raxnet as stroke
from medapp.pipelines.segment_stroke_raxnet import (
    CARD,
    NEIGHBOUR_MM,
    PLANE_VIEWS,
    build_networks,
    predict_plane,
    scale_by_slice,
    segment,
    stack_slices,
    standardize_template,
)
from medapp.serving import runtime
from medapp.serving.inference_engine import Engine

EXAMPLE = Path(__file__).parents[2] / "examples" / "segmentation" / "stroke_whole_head"
SETTINGS = CARD.parse_settings({"min_lesion_ml": 0})
AID = partial(runtime.load_network, CARD, "cpu", {})


def quiet(fraction: float, stage: str) -> None:
    assert 0 <= fraction <= 1 and stage


class Halves:
    """Stands in for the networks: the axial one marks the left half, the coronal the upper, the sagittal the front."""

    def get_submodule(self, plane: str):
        def look(x: torch.Tensor) -> torch.Tensor:
            assert x.shape[1:] == (5, *PLANE_VIEWS[plane].canvas) and x.dtype == torch.float32 and x.isfinite().all()
            row, column = torch.arange(x.shape[2])[:, None], torch.arange(x.shape[3])
            middle = -load_template().affine[:3, 3]
            top, left = PLANE_VIEWS[plane].corner
            marked = {
                "axial": row < top + middle[0],
                "coronal": column > left + middle[2],
                "sagittal": row > top + middle[1],
            }[plane]
            return (20.0 * marked - 10).expand(x[:, :1].shape)

        return look


class Bright:
    """Stands in for the networks: marks what is brighter than any tissue."""

    def get_submodule(self, plane: str):
        return lambda x: 20 * (x[:, :1] - 2)


GRIDS = {
    "RAS": grid((3, 3, 3)),
    "LPI": grid((3, 3, 3), flip=(-1, -1, -1)),
    "sagittal": grid((4, 2.5, 3), order=(1, 2, 0), flip=(-1, 1, -1)),
    "oblique": grid((3, 3, 5), turn=(20, -10, 15), order=(2, 0, 1)),
}


@pytest.fixture
def in_place(monkeypatch):
    """The template need not be looked for: the scan lies in its space."""
    monkeypatch.setattr(stroke, "register_template", lambda head, *more: TemplatePlacement(load_template().grid, 1.0))


@pytest.mark.parametrize("name", GRIDS)
def test_every_plane_sees_its_own_axis_whatever_the_file_does(name, in_place):
    scan = resample(load_template(), GRIDS[name])
    result = segment(Halves(), scan, get_network=AID, progress=quiet, **SETTINGS)
    assert all(volume.grid.is_same(scan.grid) for volume in result.volumes.values())
    x, y, z = np.moveaxis(scan.grid.to_mm(np.moveaxis(np.indices(scan.shape), 0, -1)), -1, 0)
    brain = scan.array > 0.3 * scan.array.max()
    for plane, away in (("axial", -x), ("coronal", z), ("sagittal", y)):
        found = result.volumes[f"probability_{plane}"].array
        assert (found[brain & (away > 8)] > 0.99).all() and (found[brain & (away < -8)] < 0.01).all(), plane
    agreement = result.volumes["agreement"].array
    assert (agreement[brain & (x < -8) & (y > 8) & (z > 8)] == 3).all()
    assert (agreement[brain & (x > 8) & (y < -8) & (z < -8)] == 0).all()


@pytest.mark.parametrize("plane", PLANE_VIEWS)
def test_a_slice_lies_on_its_canvas_and_comes_back(plane):
    random = np.random.default_rng(0).uniform(-3, 3, load_template().shape).astype(np.float32)
    view = PLANE_VIEWS[plane]
    found = predict_plane(lambda x: x[:, :1], random, view)
    rest = tuple(a for a in range(3) if a != view.axis)
    seen = np.moveaxis(np.zeros(random.shape, bool), view.axis, 0)
    seen[(load_template_mask().any(rest), *view.crop((random.shape[rest[0]], random.shape[rest[1]]))[0])] = True
    assert (
        seen.sum() > 1.4 * np.count_nonzero(load_template_mask())
        and np.moveaxis(seen, 0, view.axis)[load_template_mask()].all()
    )
    np.testing.assert_allclose(
        found, np.where(np.moveaxis(seen, 0, view.axis), 1 / (1 + np.exp(-random)), 0), rtol=1e-5
    )


@pytest.mark.parametrize("plane", PLANE_VIEWS)
def test_a_slice_is_seen_with_its_neighbours_and_the_other_half(plane):
    scan = np.random.default_rng(0).random((9, 11, 10))
    axis = PLANE_VIEWS[plane].axis
    at = np.array([1, 5])
    own, before, behind, other = np.moveaxis(stack_slices(scan, at, axis), 1, 0)
    slices, mirrored = np.moveaxis(scan, axis, 0), np.moveaxis(scan[::-1], axis, 0)
    np.testing.assert_array_equal(own, slices[at])
    np.testing.assert_array_equal(before, slices[[0, 5 - NEIGHBOUR_MM]])
    np.testing.assert_array_equal(behind, slices[np.add(at, NEIGHBOUR_MM)])
    np.testing.assert_array_equal(other, mirrored[at])


def test_the_template_is_the_same_in_both_halves():
    np.testing.assert_array_equal(load_template().array, load_template().array[::-1])
    assert (
        standardize_template().shape == load_template().shape
        and abs(standardize_template()[load_template_mask()].mean()) < 1
    )


def test_a_turned_anisotropic_scan_is_found_and_answered_in_its_own_space():
    ball = np.linalg.norm(
        load_template().grid.to_mm(np.moveaxis(np.indices(load_template().shape), 0, -1)) - (28, -30, 32), axis=-1
    )
    carried = from_matvec(Rotation.from_euler("xyz", (18, -12, 20), degrees=True).as_matrix() * 1.05, [12, -20, 25])
    painted = load_template().new_like(
        np.where(ball < 14, 3, load_template().array), affine=carried @ load_template().affine
    )
    where = Grid((230, 60, 210), from_matvec(np.array([[-1.1, 0, 0], [0, 0, 1.1], [0, 3.5, 0]]), [130, -140, -80]))
    scan = resample(painted, where)
    truth = resample(painted.new_like((ball < 14).astype(np.uint8), labels={1: "ball"}), where)
    result = segment(Bright(), scan, get_network=AID, progress=quiet, **SETTINGS)
    assert result.metrics["fit"].value > 0.6 and result.volumes["mask"].grid.is_same(where)
    assert compute_dice(result.volumes["mask"].array > 0, truth.array > 0) > 0.85
    assert any("3.5 mm long" in note for note in result.notes)


def test_the_template_is_found_in_a_whole_head():
    laid = register_template(files.read([EXAMPLE / "image.nii.gz"]), AID("anatomy"))
    stretch = np.linalg.svd(laid.grid.affine[:3, :3], compute_uv=False)
    assert laid.correlation > 0.6 and stretch.max() < 1.15 and stretch.min() > 0.85
    np.testing.assert_allclose(laid.grid.affine[:3, 3], load_template().affine[:3, 3], atol=12)


def test_another_contrast_is_told():
    scan = resample(load_template(), GRIDS["RAS"])
    inverse = scan.new_like((scan.array > 0.1) * (scan.array.max() * 1.2 - scan.array))
    said = stroke.describe_placement(inverse, register_template(inverse, AID("anatomy")))
    assert any("hardly resembles" in note for note in said)
    assert not any(
        "hardly" in note for note in stroke.describe_placement(scan, register_template(scan, AID("anatomy")))
    )


@pytest.mark.parametrize(("fit", "doubted"), [(0.1, True), (0.8, False)])
def test_a_poor_fit_is_said_before_what_was_found(fit, doubted, monkeypatch):
    placement = TemplatePlacement(load_template().grid, fit)
    monkeypatch.setattr(stroke, "register_template", lambda head, *more: placement)
    scan = resample(load_template(), GRIDS["RAS"])
    result = segment(Halves(), scan, get_network=AID, progress=quiet, **SETTINGS)
    assert bool(result.doubt) == doubted and any("do not trust" in w for w in result.warnings) == doubted


def test_an_empty_slice_never_becomes_nan(in_place):
    dull = np.zeros((4, 3, 5), np.float32)
    dull[:, 1] = 7
    dull[0, 1, 0] = 14
    scaled = scale_by_slice(dull, 1)
    assert scaled.dtype == np.float32 and not scaled[:, [0, 2]].any()
    assert scaled[:, 1].max() == 255 and scaled[1, 1, 1] == 127.5
    scan = resample(load_template(), GRIDS["RAS"])
    holed = scan.array.copy()
    holed[:, 20:24] = 0
    result = segment(
        build_networks((2, 4, 8, 16)).eval(),
        scan.new_like(holed),
        get_network=AID,
        progress=quiet,
        **SETTINGS | {"scaling": "slice"},
    )
    assert all(np.isfinite(volume.array).all() for volume in result.volumes.values())
    assert result.settings["scaling"] == "slice"


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (Volume(np.zeros((20, 20, 20)), np.eye(4)), "empty"),
        (Volume(np.zeros((9, 9, 9, 3), np.uint8), np.eye(4)), "colour"),
        (Volume(np.arange(8000.0).reshape(20, 20, 20), np.eye(4), unit="HU"), "CT"),
        (Volume(np.arange(8000.0).reshape(20, 20, 20), np.eye(4), unit="Bq/ml"), "PET"),
        (Volume(np.arange(400.0).reshape(20, 20, 1), np.eye(4)), "whole head"),
    ],
)
def test_what_cannot_work_is_refused_in_words(image, said):
    with pytest.raises(InputError, match=said):
        segment(Halves(), image, get_network=AID, progress=quiet, **SETTINGS)


def test_the_engine_serves_every_network_of_the_three():
    torch.manual_seed(0)
    whole = build_networks((2, 4, 8, 16)).eval()
    x = torch.randn(2, 5, 32, 48)
    with torch.inference_mode():
        expected = {plane: whole.get_submodule(plane)(x) for plane in PLANE_VIEWS}
    engine = Engine(whole, "cpu", "torch")
    for plane, right in expected.items():
        part = engine.get_submodule(plane)
        torch.testing.assert_close(part(x), right, rtol=0, atol=0.05 * float(right.abs().max()))
        assert part is engine.get_submodule(plane) and (engine.name, engine.precision) == (part.name, part.precision)


def test_the_card_says_that_lesions_were_painted():
    assert "Synthetic lesions" in CARD.trained_on and {name.split(".")[0] for name in CARD.build().state_dict()} == set(
        PLANE_VIEWS
    )
    assert [o.name for o in CARD.options if not o.live] == ["scaling"]


def test_the_template_is_nilearns_and_its_regions_lie_where_the_table_says():
    from nilearn.datasets import load_mni152_template

    image = load_mni152_template(resolution=1)
    np.testing.assert_allclose(load_template().affine, image.affine)
    np.testing.assert_allclose(load_template().array, np.asarray(image.dataobj), atol=1e-6)
    found = find_centroids(parcellate(AID("anatomy"), load_template(), progress=quiet).labels)
    assert ((found.ml > 0.05) == (TEMPLATE_REGIONS.ml > 0)).all()
    there = TEMPLATE_REGIONS.ml[:, 0] > 0
    assert np.abs(found.mm - TEMPLATE_REGIONS.mm)[there].max() < 1
