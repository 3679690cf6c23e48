"""Wishes in plain words and masks of lesions steer a registration, proved on the files that it writes."""

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from scipy.spatial.transform import Rotation

from medapp.errors import InputError, OptionError
from medapp.imaging.volume import Volume
from medapp.networks.textscf import TextSCF
from medapp.pipelines.register_brain_textscf import CARD, register
from tests.helpers.brain_phantoms import OTHER, make_pair

WORDS = "Keep the left thalamus rigid, ignore the lesion on the right, and match the cortex"


def get_network(name: str) -> torch.nn.Module:
    assert name == "textscf", "the bank of names knows all of these words"
    torch.manual_seed(0)
    return TextSCF(2, 4, 4, diffeomorphic=True).eval()


def go(*volumes: Volume | None, **given: object):
    with torch.inference_mode():
        return register(None, *volumes, get_network=get_network, progress=lambda *_: None, **CARD.parse_settings(given))


@pytest.fixture(scope="module")
def pair() -> tuple[Volume, Volume, Volume, Volume]:
    return make_pair()


@pytest.fixture(scope="module")
def lesion(pair) -> Volume:
    """Two balls in the moving brain, on its right and on its left."""
    moving = pair[1]
    mm = moving.grid.to_mm(np.moveaxis(np.indices(moving.shape), 0, -1))
    balls = [np.linalg.norm(mm - (9 + x, -20, 10), axis=-1) < 9 for x in (25, -30)]
    return moving.new_like((balls[0] | balls[1]).astype(np.uint8), labels={1: "lesion"}, name="lesion")


@pytest.fixture(scope="module")
def result(pair, lesion):
    return go(*pair, None, lesion, what_matters=WORDS)


def test_what_is_kept_rigid_is_rigid_in_the_files(pair, result, tmp_path):
    result.write_files(tmp_path, ())
    image = sitk.ReadImage(str(tmp_path / "displacement.nii.gz"), sitk.sitkVectorFloat64)
    field = sitk.DisplacementFieldTransform(image)
    affine = sitk.ReadTransform(str(tmp_path / "affine.tfm"))
    inside = pair[2].array == OTHER
    points = pair[2].grid.to_mm(np.argwhere(inside)) * [-1, -1, 1]
    for way in (field, sitk.CompositeTransform([affine, field])):
        moved = np.array([way.TransformPoint(point) for point in points.tolist()])
        assert np.linalg.norm(moved - points, axis=1).mean() > 1
        a, b = points - points.mean(0), moved - moved.mean(0)
        turn, _ = Rotation.align_vectors(b, a)
        assert np.linalg.norm(turn.apply(a) - b, axis=1).max() < 0.05
    assert result.metrics["folding"].value == 0 and result.metrics["inverse_residual"].value < 0.05
    assert result.metrics["dice"].value > 0.85


def test_the_lesion_on_one_side_is_ignored_and_shown(pair, lesion, result):
    ignored = result.volumes["ignored"]
    assert ignored.grid.is_same(pair[0].grid)
    places = ignored.grid.to_mm(np.argwhere(ignored.array))
    assert places[:, 0].min() > 5, "that on the left is matched"
    assert len(places) * ignored.grid.voxel_ml == pytest.approx(4 / 3 * np.pi * 11**3 / 1000, rel=0.4), "and no more"
    rows = {row[0]: row[1] for row in result.tables["words"].rows}
    assert rows["left thalamus"] == "keep rigid" and rows["lesion on the right"] == "ignore"
    assert rows["left and right cerebral cortex"] == "match more" and result.settings["what_matters"] == WORDS


def test_what_cannot_be_done_is_said_before_anything_is_computed(pair, lesion):
    with pytest.raises(OptionError, match="banana"):
        go(*pair, what_matters="match the banana")
    with pytest.raises(OptionError, match="no mask of it"):
        go(*pair, what_matters="ignore the lesion")
    with pytest.raises(InputError, match="not a mask"):
        go(*pair, None, pair[1])
    with pytest.raises(InputError, match="covers 100%"):
        go(*pair, pair[0].new_like(np.ones(pair[0].shape, np.uint8), labels={1: "all"}))
