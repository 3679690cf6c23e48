"""H&E super-resolution: the finer picture covers the same field and agrees with the coarse one."""

from functools import partial

import numpy as np
import pytest
from scipy import ndimage

from medapp.errors import InputError
from medapp.imaging.volume import Volume
from medapp.pipelines import restore_pathology_rat
from tests.helpers.restoration_scans import PassThrough, body, run, stain


@pytest.mark.parametrize("scale", [2, 4])
def test_what_is_made_finer_gives_the_picture_back_when_it_is_made_coarser(scale):
    rgb = stain().array[:, :, 0].astype(np.float32) / 255
    blurred = restore_pathology_rat.upsample_bilinear(ndimage.gaussian_filter(rgb, (1, 1, 0)), scale)
    better = restore_pathology_rat.back_project(blurred, rgb, scale)

    def missing(y: np.ndarray) -> float:
        coarse = y.reshape(3, rgb.shape[0], scale, rgb.shape[1], scale).mean((2, 4)).transpose(1, 2, 0)
        return float(np.abs(coarse - rgb)[2:-2, 2:-2].mean())

    assert missing(better) < 0.35 * missing(blurred)


@pytest.mark.parametrize("scale", ["2", "4"])
def test_pathology_comes_back_finer_over_the_same_field(scale):
    turned = np.array([[0, -0.5, 0, 3], [0.25, 0, 0, 4], [0, 0, 1.0, 0], [0, 0, 0, 1]])
    image = stain(affine=turned)
    result = run(restore_pathology_rat, PassThrough(), image, scale=scale)
    fine, times = result.volumes["restored"], int(scale)
    assert fine.array.dtype == np.uint8 and fine.shape == (40 * times, 30 * times, 1)
    np.testing.assert_allclose(fine.spacing, image.spacing / (times, times, 1))
    corner = np.array([[-0.5, -0.5, 0], [39.5, 29.5, 0]])
    np.testing.assert_allclose(
        fine.grid.to_mm((corner + 0.5) * (times, times, 1) - 0.5), image.grid.to_mm(corner), atol=1e-9
    )
    small = fine.array.reshape(40, times, 30, times, 1, 3).mean((1, 3))
    assert np.abs(small - image.array).mean() < 8, "nothing is turned or shifted"
    assert result.volumes["regions"].grid.is_same(fine.grid)
    assert "noise" not in result.metrics


def test_what_is_not_stained_so_is_said():
    assert not any("H&E" in n for n in run(restore_pathology_rat, PassThrough(), stain()).notes)
    green = stain().new_like(stain().array[..., [1, 0, 2]] // 2 + np.array([0, 100, 0], np.uint8))
    assert any("not those of H&E" in n for n in run(restore_pathology_rat, PassThrough(), green).notes)
    grey = run(restore_pathology_rat, PassThrough(), stain().new_like(stain().array[..., 0]))
    assert any("grey" in n for n in grey.notes) and grey.volumes["restored"].is_colour


@pytest.mark.parametrize(
    ("image", "word"),
    [
        (stain().new_like(np.zeros((40, 30, 1, 3), np.uint8)), "empty"),
        (Volume(np.repeat(stain().array, 2, axis=2), np.eye(4)), "one picture"),
        (body(shape=(48, 40, 1), unit=""), "8 bits"),
        (Volume(np.arange(9e6).reshape(3000, 3000, 1) % 255, np.eye(4)), "too large"),
    ],
)
def test_unfit_input_is_refused(image, word):
    with pytest.raises(InputError, match=word):
        run(restore_pathology_rat, PassThrough(), image)


def test_simulated_degradation_has_its_clean_reference_on_the_finer_grid():
    image = stain((41, 30, 1))
    result = run(restore_pathology_rat, PassThrough(), image, degrade="yes", scale="2")
    reference, degraded = result.volumes["reference"], result.volumes["image"]
    np.testing.assert_array_equal(reference.array, image.array[:40])
    assert reference.grid.is_same(result.volumes["restored"].grid) and degraded.shape == (20, 15, 1)
    np.testing.assert_allclose(degraded.spacing, image.spacing * (2, 2, 1))
    assert result.metrics["rmse_before"].value > 0 and result.metrics["psnr"].value > 5


def test_the_card_says_what_it_needs():
    card = restore_pathology_rat.CARD
    methods = next(o for o in card.options if o.name == "regions")
    assert set(card.networks) == {m for m in methods.values if m not in ("superpixels", "one")}
    assert [i.name for i in card.inputs] == ["image", "region_map"]
    assert isinstance(card.build, partial) and card.build().limit == 4096
