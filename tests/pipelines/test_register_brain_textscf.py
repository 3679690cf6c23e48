"""Registration from upload to files: phantoms on oblique grids, whose way to each other is known."""

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from nibabel.affines import from_matvec

from medapp.analysis import region_overlap
from medapp.card import Card
from medapp.errors import InputError, OptionError
from medapp.imaging.volume import Volume
from medapp.networks.textscf import TextSCF
from medapp.pipelines.prepare_brain_pair import prepare
from medapp.pipelines.register_brain_textscf import CARD, register
from medapp.presenters import PRESENTERS
from tests.helpers.brain_phantoms import CORTEX, OTHER, WHITE, make_pair


def get_network(name: str) -> torch.nn.Module:
    assert name == "textscf", "nothing else is needed where the label maps are given and the words are the paper's"
    torch.manual_seed(0)
    return TextSCF(2, 4, 4, diffeomorphic=True).eval()


def settings(card: Card = CARD, **given: object) -> dict:
    return card.parse_settings(given)


@pytest.fixture(scope="module")
def pair() -> tuple[Volume, Volume, Volume, Volume]:
    return make_pair()


@pytest.fixture(scope="module")
def result(pair):
    points = "10,20,5,19.0,20,5"
    with torch.inference_mode():
        return register(None, *pair, get_network=get_network, progress=lambda *_: None, **settings(landmarks=points))


def test_the_brains_come_to_lie_on_each_other(result):
    value = {name: metric.value for name, metric in result.metrics.items()}
    assert value["dice"] > 0.9 > value["dice_before"] + 0.02
    assert value["ncc"] > 0.97 > value["ncc_before"]
    assert value["folding"] < 0.01 and value["inverse_residual"] < 0.05
    assert value["tre"] < 4, "the wave that bends the moving brain is not in this landmark"
    regions = {row[0]: row for row in result.tables["regions"].rows}
    assert regions["Left-Cerebral-Cortex"][1] == pytest.approx(regions["Right-Cerebral-Cortex"][1], rel=0.1)


def test_everything_lies_on_the_fixed_grid_and_says_where_it_comes_from(pair, result):
    fixed = pair[0]
    for role in ("aligned", "warped", "labels", "warped_labels"):
        assert result.volumes[role].grid.is_same(fixed.grid), role
    assert result.deformation.grid.is_same(fixed.grid) and result.inverse.grid.is_same(fixed.grid)
    assert set(np.unique(result.volumes["warped_labels"].array)) <= {0, *WHITE, *CORTEX, OTHER}
    assert any("uploaded label map" in note for note in result.notes)
    assert result.settings["landmarks"] == "1 pair"


def test_simpleitk_makes_the_same_image_of_the_files(pair, result, tmp_path):
    result.write_files(tmp_path, ("warped",))
    reference = sitk.ReadImage(str(tmp_path / "warped.nii.gz"))
    field = sitk.DisplacementFieldTransform(
        sitk.ReadImage(str(tmp_path / "displacement.nii.gz"), sitk.sitkVectorFloat64)
    )
    both = sitk.CompositeTransform([sitk.ReadTransform(str(tmp_path / "affine.tfm")), field])
    lps = np.diag([-1.0, -1, 1, 1]) @ pair[1].affine
    moving = sitk.GetImageFromArray(pair[1].array.T)
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    moving.SetSpacing(spacing.tolist())
    moving.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    moving.SetOrigin(lps[:3, 3].tolist())
    theirs = sitk.GetArrayFromImage(sitk.Resample(moving, reference, both, sitk.sitkLinear))
    ours = sitk.GetArrayFromImage(reference)
    inner = (slice(4, -4),) * 3
    assert (
        np.abs(theirs - ours)[inner].mean() < 1
        and np.corrcoef(theirs[inner].ravel(), ours[inner].ravel())[0, 1] > 0.999
    )


def test_there_and_back_through_the_inverse(result):
    field, back = result.deformation, result.inverse
    index = np.argwhere(result.volumes["labels"].array > 0)[::997]
    points = field.grid.to_mm(index)
    again = back.transform_points(field.transform_points(points))
    assert np.percentile(np.linalg.norm(again - points, axis=1), 99) < 0.4, "mm, of voxels of 2 mm"


def test_what_cannot_be_registered_is_refused(pair):
    fixed, moving, mine, theirs = pair

    def go(*volumes: Volume, **more: object) -> None:
        register(None, *volumes, get_network=get_network, progress=lambda *_: None, **settings(**more))

    with pytest.raises(InputError, match="CT"):
        go(fixed.new_like(fixed.array, unit="HU"), moving, mine, theirs)
    with pytest.raises(InputError, match="label map"):
        go(fixed, moving, fixed, theirs)
    with pytest.raises(InputError):
        go(fixed, moving, mine, theirs.new_like(theirs.array, affine=from_matvec(theirs.affine[:3, :3], (900, 0, 0))))
    with pytest.raises(OptionError, match="35 regions"):
        settings(prompts_a="foo = bar")
    with pytest.raises(OptionError, match="template"):
        settings(prompt_template="no place for a name")


def test_the_pair_can_be_looked_at_first_and_what_was_found_is_used_again(pair):
    fixed, moving, mine, theirs = pair
    result = prepare(None, *pair, get_network=get_network, progress=lambda *_: None)
    assert result.metrics["turn"].value < 8, "it is the grid that is turned, not the head"
    assert result.metrics["shift"].value == pytest.approx(9, abs=3) and abs(result.metrics["growth"].value) < 15
    assert result.metrics["dice_before"].value > 0.7 and "rotated by" in PRESENTERS["brain_pair"].headline(result)
    shapes = {result.volumes[role].shape for role in ("fixed_prepared", "moving_prepared")}
    assert shapes == {(160, 192, 224)}

    found = [
        v.new_like(v.array.astype(np.uint8), labels={1: "x"}, name=region_overlap.PREDICTED_SOURCE)
        for v in (mine, theirs)
    ]
    again = prepare(None, fixed, moving, *found, get_network=get_network, progress=lambda *_: None)
    assert not any("uploaded" in note for note in again.notes)
    np.testing.assert_allclose(again.affine, result.affine, atol=1e-6)
