"""Low-dose CT: the identity gives the scan back in its unit and place, and what does not fit is said or refused."""

from functools import partial

import numpy as np
import pytest
import torch

from medapp.errors import CancelledError, InputError
from medapp.imaging.geometry import slice_axis, to_display_slices
from medapp.imaging.volume import Volume
from medapp.networks.rat import RAT
from medapp.pipelines import restore_ct_rat
from tests.helpers.restoration_scans import AFFINES, PassThrough, body, run, stain


@pytest.mark.parametrize("name", AFFINES)
def test_an_identity_gives_back_every_voxel_in_place(name):
    image = body(AFFINES[name])
    net = PassThrough()
    result = run(restore_ct_rat, net, image)
    np.testing.assert_allclose(result.volumes["restored"].array, image.array, atol=2e-3)
    for role in ("image", "restored", "regions"):
        assert result.volumes[role].grid.is_same(image.grid), role
    assert result.volumes["restored"].array.dtype == np.float32 and result.volumes["restored"].unit == "HU"
    assert len(net.inputs) == image.shape[slice_axis(image.grid)]
    assert set(result.volumes["regions"].labels) == set(np.unique(result.volumes["regions"].array).tolist())
    assert result.metrics["regions"].value > 3


@pytest.mark.parametrize("name", AFFINES)
def test_slices_are_upright_and_regions_lie_on_their_pixels(name):
    image = body(AFFINES[name])
    net = PassThrough()
    result = run(restore_ct_rat, net, image)
    seen = torch.cat(net.inputs)[:, 0].numpy() * 400
    rows, columns = np.nonzero((seen > 200).any(0))
    if name != "sagittal":
        assert rows.mean() < seen.shape[1] / 2 and columns.mean() < seen.shape[2] / 2, "front up, right on the left"
    else:
        assert columns.mean() < seen.shape[2] / 2, "front on the left"
    drawn = to_display_slices(result.volumes["regions"].array, image.grid)
    np.testing.assert_array_equal(drawn, torch.cat(net.labels).numpy())


def test_a_real_network_of_regions_answers_on_the_grid():
    torch.manual_seed(0)
    net = RAT(img_channel=1, width=8, middle_blk_num=3, enc_blk_nums=(1, 1), dec_blk_nums=(1, 1)).eval()
    for name, parameter in net.named_parameters():
        if name.split(".")[-1] in ("beta", "gamma", "lambda_ra"):
            torch.nn.init.normal_(parameter, 0, 0.1)
    image = body()
    several, one = (run(restore_ct_rat, net, image, regions=r).volumes["restored"] for r in ("superpixels", "one"))
    assert several.grid.is_same(image.grid) and np.isfinite(several.array).all()
    assert np.abs(several.array - one.array).max() > 0, "regions matter"


def test_neighbouring_slices_keep_the_numbers_of_their_regions():
    first = body(shape=(48, 40, 1)).array
    image = Volume(np.repeat(first, 3, axis=2), AFFINES["RAS"], unit="HU")
    labels = run(restore_ct_rat, PassThrough(), image).volumes["regions"].array
    np.testing.assert_array_equal(labels[..., 0], labels[..., 2])


def test_values_beyond_what_the_network_sees_are_untouched():
    array = np.array(body().array)
    array[:6, :6], array[10, 10, 1] = -2000, 9000
    image = body().new_like(array)
    out = run(restore_ct_rat, PassThrough(lambda x: x * 0), image).volumes["restored"].array
    assert (out[:6, :6] == -2000).all() and out[10, 10, 1] == 9000
    assert (out[20:30, 20:30] == 0).all()


def test_an_image_without_hounsfield_units_is_stretched_and_said():
    mr = body(unit="").new_like(body(unit="").array * 0.5)
    net = PassThrough()
    result = run(restore_ct_rat, net, mr)
    assert any("does not look like CT" in warning for warning in result.warnings)
    np.testing.assert_allclose(result.volumes["restored"].array, mr.array, atol=1e-2)
    assert -500 < float(torch.cat(net.inputs).min()) * 400 < 300
    hu = body().new_like(body().array, unit="")
    result = run(restore_ct_rat, PassThrough(), hu)
    assert result.volumes["restored"].unit == "HU" and any("taken as HU" in note for note in result.notes)


def test_ct_that_is_1024_too_high_is_seen_in_hounsfield_units_and_comes_back_as_it_was():
    hu = body()
    stored = hu.new_like(hu.array.clip(-1024, None) + 1024, unit="")
    net, right = PassThrough(), PassThrough()
    result = run(restore_ct_rat, net, stored)
    run(restore_ct_rat, right, hu.new_like(hu.array.clip(-1024, None)))
    for a, b in zip(net.inputs, right.inputs, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)
    np.testing.assert_allclose(result.volumes["restored"].array, stored.array, atol=1e-2)
    assert any("plus 1024" in note for note in result.notes)
    assert not any("does not look like CT" in warning for warning in result.warnings)


def test_a_clean_image_is_said_and_a_noisy_one_is_not():
    assert any("clean already" in n for n in run(restore_ct_rat, PassThrough(), body(noise=1.0)).notes)
    assert not any("clean already" in n for n in run(restore_ct_rat, PassThrough(), body()).notes)


@pytest.mark.parametrize(
    ("image", "word"),
    [
        (body().new_like(body().array, unit="Bq/ml"), "CT"),
        (stain(), "colour"),
        (body().new_like(np.zeros((48, 40, 4))), "empty"),
        (Volume(body().array[:5], AFFINES["RAS"], unit="HU"), "at least 8"),
    ],
)
def test_unfit_input_is_refused(image, word):
    with pytest.raises(InputError, match=word):
        run(restore_ct_rat, PassThrough(), image)


def test_cancel_ends_a_run_between_slices():
    net = PassThrough()

    def stop(fraction, stage):
        if len(net.inputs) == 2:
            raise CancelledError("Cancelled.")

    with pytest.raises(CancelledError):
        run(restore_ct_rat, net, body(), progress=stop)
    assert len(net.inputs) == 2


def test_progress_never_runs_back():
    reports = []
    run(restore_ct_rat, PassThrough(), body(), progress=lambda fraction, stage: reports.append((fraction, stage)))
    assert [fraction for fraction, _ in reports] == sorted(fraction for fraction, _ in reports)
    assert any("slice 3 of 4" in stage for _, stage in reports)


def test_simulated_degradation_has_its_clean_reference():
    image = body(shape=(48, 40, 2))
    result = run(restore_ct_rat, PassThrough(), image, degrade="tenth dose")
    np.testing.assert_array_equal(result.volumes["reference"].array, image.array)
    assert all(result.volumes[role].grid.is_same(image.grid) for role in ("image", "restored", "reference"))
    assert np.abs(result.volumes["image"].array - image.array).max() > 0
    value = {name: metric.value for name, metric in result.metrics.items()}
    assert value["rmse"] == pytest.approx(value["rmse_before"], rel=1e-3) and value["rmse"] > 0
    assert value["psnr"] > 5 and value["data_range"] > 0 and "ssim" in value


def test_an_uploaded_region_map_is_used_voxel_by_voxel():
    image = body(shape=(48, 40, 2))
    uploaded = np.zeros(image.shape, np.float64)
    uploaded[:24], uploaded[:, :20] = 7, 9
    result = run(restore_ct_rat, PassThrough(), image, Volume(uploaded, image.affine))
    used = result.volumes["regions"].array
    assert set(np.unique(used).tolist()) == {1, 2, 3} and result.settings["regions"] == "uploaded"
    assert all(len(np.unique(used[uploaded == value])) == 1 for value in (0, 7, 9))


def test_memory_is_not_spent_on_copies_of_the_image():
    image = body()
    result = run(restore_ct_rat, PassThrough(), image)
    assert np.shares_memory(result.volumes["image"].array, image.array)


def test_the_card_says_what_it_needs():
    card = restore_ct_rat.CARD
    methods = next(o for o in card.options if o.name == "regions")
    assert set(card.networks) == {m for m in methods.values if m not in ("superpixels", "one")}
    assert methods.upload == "region_map" and [i.name for i in card.inputs] == ["image", "region_map"]
    assert isinstance(card.build, partial) and card.build().limit == 4096
