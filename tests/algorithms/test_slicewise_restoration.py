"""The restoration methods: slices upright, back where they were, in the unit they came in; figures against truth."""

from dataclasses import replace
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy import ndimage

from medapp.algorithms.slicewise_restoration import SliceClock, place_region_map
from medapp.algorithms.sliding_window import find_tile_starts, make_blend_weights, run_tiled
from medapp.errors import CancelledError, InputError
from medapp.imaging.geometry import reorient, slice_axis, to_display_slices
from medapp.imaging.volume import Volume
from medapp.networks.rat import RAT
from medapp.pipelines import restore_ct_rat, restore_pathology_rat, restore_pet_rat

AFFINES = {
    "RAS": np.array([[0.8, 0, 0, -20], [0, 0.8, 0, -30], [0, 0, 3.0, -50], [0, 0, 0, 1]]),
    "LPI": np.array([[-0.8, 0, 0, 20], [0, -0.8, 0, 30], [0, 0, -3.0, 50], [0, 0, 0, 1]]),
    "sagittal": np.array([[0, 0, 3.0, -9], [-0.9, 0, 0, 30], [0, -0.7, 0, 30], [0, 0, 0, 1]]),
    "oblique": np.array([[-0.78, 0.1, 0.4, 20], [-0.1, -0.75, 0.5, 30], [0.05, 0.15, 2.9, -60], [0, 0, 0, 1]]),
}


class Same:
    """Stands in for a network: hands back what it was given, and remembers it."""

    def __init__(self, change=lambda x: x):
        self.seen, self.labels, self.change = [], [], change

    def __call__(self, x: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        assert x.dtype == torch.float32 and labels.shape == (1, *x.shape[2:]) and labels.min() >= 1
        self.seen.append(x)
        self.labels.append(labels)
        return self.change(x)


def quiet(fraction: float, stage: str) -> None:
    assert 0 <= fraction <= 1 and stage


def call(module, net, image, region_map=None, *, progress=quiet, **options):
    settings = module.CARD.parse_settings({"regions": "superpixels"} | options)
    with torch.inference_mode():
        return module.CARD.run(net, image, region_map, progress=progress, get_network=None, **settings)


def body(affine=AFFINES["oblique"], shape=(48, 40, 4), unit="HU", noise=20.0) -> Volume:
    """Soft tissue in air with a bright ball at the patient's right and front."""
    mm = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1) @ affine[:3, :3].T + affine[:3, 3]
    middle = mm.reshape(-1, 3).mean(0)
    size = np.abs(affine[:3, :3]) @ np.array(shape)
    inside = (((mm - middle) / (0.45 * size)) ** 2).sum(-1) < 1
    ball = np.linalg.norm((mm - middle - (6, 7, 0)) / (3, 3, 30), axis=-1) < 1
    hu = np.where(inside, 40.0, -1000.0) + 260 * ball + np.random.default_rng(0).normal(0, noise, shape)
    array = np.rint(hu).astype(np.int16) if unit == "HU" else np.maximum(hu + 1000, 0).astype(np.float32)
    return Volume(array, affine, unit=unit, name="scan")


def stain(shape=(40, 30, 1), affine=None) -> Volume:
    """Purple spots on pink."""
    random = np.random.default_rng(0)
    spots = ndimage.gaussian_filter(random.normal(size=shape), (2, 2, 0))
    array = np.where((spots > 0.1)[..., None], (90, 50, 140), (230, 160, 200)) + random.integers(0, 10, (*shape, 3))
    return Volume(array.astype(np.uint8), np.diag([-1.0, -1, 1, 1]) if affine is None else affine, name="H&E")


@pytest.mark.parametrize("name", AFFINES)
def test_an_identity_gives_back_every_voxel_in_place(name):
    image = body(AFFINES[name])
    net = Same()
    result = call(restore_ct_rat, net, image)
    np.testing.assert_allclose(result.volumes["restored"].array, image.array, atol=2e-3)
    for role in ("image", "restored", "regions"):
        assert result.volumes[role].grid.is_same(image.grid), role
    assert result.volumes["restored"].array.dtype == np.float32 and result.volumes["restored"].unit == "HU"
    assert len(net.seen) == image.shape[slice_axis(image.grid)]
    assert set(result.volumes["regions"].labels) == set(np.unique(result.volumes["regions"].array).tolist())
    assert result.metrics["regions"].value > 3


@pytest.mark.parametrize("name", AFFINES)
def test_slices_are_upright_and_regions_lie_on_their_pixels(name):
    image = body(AFFINES[name])
    net = Same()
    result = call(restore_ct_rat, net, image)
    seen = torch.cat(net.seen)[:, 0].numpy() * 400
    rows, columns = np.nonzero((seen > 200).any(0))
    if name != "sagittal":
        assert rows.mean() < seen.shape[1] / 2 and columns.mean() < seen.shape[2] / 2, "front up, right on the left"
    else:
        assert columns.mean() < seen.shape[2] / 2, "front on the left"
    drawn = to_display_slices(result.volumes["regions"].array, image.grid)
    np.testing.assert_array_equal(drawn, torch.cat(net.labels).numpy())


def test_upright_agrees_with_the_grid_that_points_the_same_way():
    image = body()
    view = to_display_slices(image.array, image.grid, 2)
    target = reorient(image.grid, "LPS")
    index = np.array([[3, 5, 1], [30, 20, 3]])
    own = np.rint(image.grid.to_index(target.to_mm(index))).astype(int)
    np.testing.assert_array_equal([view[k, j, i] for i, j, k in index], [image.array[tuple(o)] for o in own])


def test_a_real_network_of_regions_answers_on_the_grid():
    torch.manual_seed(0)
    net = RAT(img_channel=1, width=8, middle_blk_num=3, enc_blk_nums=(1, 1), dec_blk_nums=(1, 1)).eval()
    for name, parameter in net.named_parameters():
        if name.split(".")[-1] in ("beta", "gamma", "lambda_ra"):
            torch.nn.init.normal_(parameter, 0, 0.1)
    image = body()
    several, one = (call(restore_ct_rat, net, image, regions=r).volumes["restored"] for r in ("superpixels", "one"))
    assert several.grid.is_same(image.grid) and np.isfinite(several.array).all()
    assert np.abs(several.array - one.array).max() > 0, "regions matter"


def test_neighbouring_slices_keep_the_numbers_of_their_regions():
    first = body(shape=(48, 40, 1)).array
    image = Volume(np.repeat(first, 3, axis=2), AFFINES["RAS"], unit="HU")
    labels = call(restore_ct_rat, Same(), image).volumes["regions"].array
    np.testing.assert_array_equal(labels[..., 0], labels[..., 2])


def test_values_beyond_what_the_network_sees_are_untouched():
    array = np.array(body().array)
    array[:6, :6], array[10, 10, 1] = -2000, 9000
    image = body().new_like(array)
    out = call(restore_ct_rat, Same(lambda x: x * 0), image).volumes["restored"].array
    assert (out[:6, :6] == -2000).all() and out[10, 10, 1] == 9000
    assert (out[20:30, 20:30] == 0).all()


def test_an_image_without_hounsfield_units_is_stretched_and_said():
    mr = body(unit="").new_like(body(unit="").array * 0.5)
    net = Same()
    result = call(restore_ct_rat, net, mr)
    assert any("does not look like CT" in warning for warning in result.warnings)
    np.testing.assert_allclose(result.volumes["restored"].array, mr.array, atol=1e-2)
    assert -500 < float(torch.cat(net.seen).min()) * 400 < 300
    hu = body().new_like(body().array, unit="")
    result = call(restore_ct_rat, Same(), hu)
    assert result.volumes["restored"].unit == "HU" and any("taken for HU" in note for note in result.notes)


def test_ct_that_is_1024_too_high_is_seen_in_hounsfield_units_and_comes_back_as_it_was():
    hu = body()
    stored = hu.new_like(hu.array.clip(-1024, None) + 1024, unit="")
    net, right = Same(), Same()
    result = call(restore_ct_rat, net, stored)
    call(restore_ct_rat, right, hu.new_like(hu.array.clip(-1024, None)))
    for a, b in zip(net.seen, right.seen, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)
    np.testing.assert_allclose(result.volumes["restored"].array, stored.array, atol=1e-2)
    assert any("plus 1024" in note for note in result.notes)
    assert not any("does not look like CT" in warning for warning in result.warnings)


def test_a_clean_image_is_said_and_a_noisy_one_is_not():
    assert any("clean already" in n for n in call(restore_ct_rat, Same(), body(noise=1.0)).notes)
    assert not any("clean already" in n for n in call(restore_ct_rat, Same(), body()).notes)


@pytest.mark.parametrize(
    ("module", "image", "words"),
    [
        (restore_ct_rat, replace(body(), unit="Bq/ml"), "needs CT"),
        (restore_pet_rat, body(), "needs PET"),
        (restore_ct_rat, stain(), "colour"),
        (restore_pet_rat, stain(), "colour"),
        (restore_ct_rat, body().new_like(np.zeros((48, 40, 4))), "empty"),
        (restore_pet_rat, body().new_like(np.zeros((48, 40, 4)), unit="Bq/ml"), "empty"),
        (restore_pathology_rat, stain().new_like(np.zeros((40, 30, 1, 3), np.uint8)), "empty"),
        (restore_pathology_rat, Volume(np.repeat(stain().array, 2, axis=2), np.eye(4)), "one picture"),
        (restore_pathology_rat, body(shape=(48, 40, 1), unit=""), "8 bits"),
        (restore_ct_rat, Volume(body().array[:5], AFFINES["RAS"], unit="HU"), "at least 8"),
        (restore_pathology_rat, Volume(np.arange(9e6).reshape(3000, 3000, 1) % 255, np.eye(4)), "too large"),
    ],
)
def test_unfit_input_is_refused_in_words(module, image, words):
    with pytest.raises(InputError, match=words):
        call(module, Same(), image)


def test_cancel_ends_a_run_between_slices():
    net = Same()

    def stop(fraction, stage):
        if len(net.seen) == 2:
            raise CancelledError("Cancelled.")

    with pytest.raises(CancelledError):
        call(restore_ct_rat, net, body(), progress=stop)
    assert len(net.seen) == 2


def test_progress_never_runs_back_and_tells_the_time_left(monkeypatch):
    told = []
    call(restore_ct_rat, Same(), body(), progress=lambda f, s: told.append((f, s)))
    assert [f for f, _ in told] == sorted(f for f, _ in told)
    assert any("slice 3 of 4" in s for _, s in told)
    clock = SliceClock(lambda f, s: told.append((f, s)), 10)
    clock.begun -= 60
    clock.report(5, 0.0, "Restoring")
    assert told[-1] == (pytest.approx(0.525), "Restoring, slice 6 of 10, about 60 s left")


# ---- PET


def test_pet_has_a_scale_and_a_level_and_stays_positive():
    image = body(unit="Bq/ml")
    net = Same(lambda x: x - 0.01)
    result = call(restore_pet_rat, net, image, counts="1/4")
    x = torch.cat(net.seen)
    scale = np.percentile(image.array[image.array > 0], 99.5)
    assert float(x[:, 0].max()) == pytest.approx(float(image.array.max() / scale), rel=1e-4)
    assert float(x[:, 1].min()) == float(x[:, 1].max()) == pytest.approx(2 / 5)
    out = result.volumes["restored"]
    assert out.array.min() >= 0 and out.unit == "Bq/ml"
    np.testing.assert_allclose(out.array, np.maximum(image.array - 0.01 * scale, 0), rtol=1e-4, atol=1e-2)
    below = image.new_like(image.array - 50)
    assert call(restore_pet_rat, Same(), below).volumes["restored"].array.min() < 0


def test_pet_of_unknown_counts_has_level_0_and_of_known_counts_more_the_fewer_they_are():
    levels = [restore_pet_rat.encode_count_level(fraction) for fraction in (None, 1.0, 0.5, 0.1)]
    assert levels[:2] == [0, 0] and levels == sorted(levels) and levels[3] > levels[2] > 0
    net = Same()
    call(restore_pet_rat, net, body(unit="Bq/ml"), counts="auto")
    assert all((x[:, 1] == 0).all() for x in net.seen)


@pytest.mark.parametrize("affine", AFFINES.values(), ids=AFFINES)
def test_pet_sees_the_slices_around_or_itself_at_an_end(affine):
    net = Same()
    call(restore_pet_rat, net, body(affine, unit="Bq/ml"))
    seen = [x[0].numpy() for x in net.seen]
    assert len(seen) > 2
    for n, (x, _, *others) in enumerate(seen):
        assert x.std() > 0
        for m, other in zip((n - 1, n + 1, n - 2, n + 2), others, strict=True):
            np.testing.assert_array_equal(other, seen[m][0] if 0 <= m < len(seen) else x)


def test_pet_in_unknown_units_is_said():
    assert any("Bq/ml" in n for n in call(restore_pet_rat, Same(), body(unit="")).notes)
    assert not any("Bq/ml" in n for n in call(restore_pet_rat, Same(), body(unit="Bq/ml")).notes)


# ---- pathology


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
    result = call(restore_pathology_rat, Same(), image, scale=scale)
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
    assert not any("H&E" in n for n in call(restore_pathology_rat, Same(), stain()).notes)
    green = stain().new_like(stain().array[..., [1, 0, 2]] // 2 + np.array([0, 100, 0], np.uint8))
    assert any("not those of H&E" in n for n in call(restore_pathology_rat, Same(), green).notes)
    grey = call(restore_pathology_rat, Same(), stain().new_like(stain().array[..., 0]))
    assert any("grey" in n for n in grey.notes) and grey.volumes["restored"].is_colour


# ---- degraded on purpose


@pytest.mark.parametrize(
    ("module", "image", "options"),
    [
        (restore_ct_rat, body(shape=(48, 40, 2)), {"degrade": "tenth dose"}),
        (restore_pet_rat, body(shape=(48, 40, 2), unit="Bq/ml"), {"degrade": "1/10"}),
        (restore_pathology_rat, stain((41, 30, 1)), {"degrade": "yes", "scale": "2"}),
    ],
)
def test_degraded_on_purpose_has_its_clean_reference(module, image, options):
    result = call(module, Same(), image, **options)
    truth = result.volumes["reference"]
    assert truth.grid.is_same(result.volumes["restored"].grid)
    np.testing.assert_array_equal(truth.array[:40, :30], image.array[:40, :30])
    assert result.volumes["image"].grid.is_same(image.grid) == (module is not restore_pathology_rat)
    assert result.metrics["rmse_before"].value > 0 and result.metrics["psnr"].value > 5
    assert result.metrics["data_range"].value > 0 and "ssim" in result.metrics
    if module is not restore_pathology_rat:
        assert np.abs(result.volumes["image"].array - image.array).max() > 0
        assert result.metrics["rmse"].value == pytest.approx(result.metrics["rmse_before"].value, rel=1e-3)


# ---- own regions


def test_own_regions_are_taken_voxel_by_voxel_or_through_the_patient():
    image = body(shape=(48, 40, 2))
    own = np.zeros(image.shape, np.float64)
    own[:24], own[:, :20] = 7, 9
    result = call(restore_ct_rat, Same(), image, Volume(own, image.affine))
    got = result.volumes["regions"].array
    assert set(np.unique(got).tolist()) == {1, 2, 3} and result.settings["regions"] == "uploaded"
    assert all(len(np.unique(got[own == v])) == 1 for v in (0, 7, 9))
    flipped = Volume(own[::-1], image.affine @ np.array([[-1.0, 0, 0, 47], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]))
    np.testing.assert_array_equal(place_region_map(flipped, image.grid)[0], got)


def test_bad_regions_are_refused():
    image = body(shape=(48, 40, 1))
    for array, words in ((image.array + 0.5, "fractions"), (np.arange(4900).reshape(70, 70, 1), "at most")):
        with pytest.raises(InputError, match=words):
            place_region_map(Volume(array, image.affine), image.grid)
    far = image.affine.copy()
    far[0, 3] += 500
    with pytest.raises(InputError, match="covers only"):
        place_region_map(Volume(np.ones((20, 20, 1)), far), image.grid)


def test_coloured_regions_count_by_colour():
    picture = np.zeros((48, 40, 1, 3), np.uint8)
    picture[:10], picture[10:20] = (255, 0, 0), (0, 255, 0)
    image = body(shape=(48, 40, 1))
    assert len(np.unique(place_region_map(Volume(picture, np.eye(4)), image.grid)[0])) == 3


# ---- tiles


def blurred(x: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    assert labels.shape[1:] == x.shape[2:]
    return torch.nn.functional.avg_pool2d(x, 5, 1, 2, count_include_pad=False) + labels[:, None] * 0.01


@pytest.mark.parametrize("size", [(200, 90), (90, 131), (150, 150), (64, 60)])
def test_tiles_leave_no_seam(size):
    torch.manual_seed(0)
    x, labels = torch.rand(1, 3, *size), torch.randint(1, 9, (1, *size))
    called = []
    out = run_tiled(blurred, x, labels, called.append, whole=80, side=64, overlap=16)
    whole = blurred(x, labels)
    assert float((out - whole).abs().mean()) < 2e-3, "but for the two outermost pixels of a tile they agree"
    assert float((out - whole).abs().max()) < 0.05
    assert called == sorted(called) and called[0] == 0


def test_tiles_cover_everything_and_overlap():
    for length in (64, 65, 100, 1000):
        found = find_tile_starts(length, 64, 16)
        assert found[0] == 0 and found[-1] == max(0, length - 64)
        assert all(b - a <= 48 for a, b in pairwise(found))
    assert float(make_blend_weights(64, 16).min()) > 0 and float(make_blend_weights(64, 16).max()) == 1


def test_memory_is_not_spent_on_copies_of_the_image():
    image = body()
    result = call(restore_ct_rat, Same(), image)
    assert np.shares_memory(result.volumes["image"].array, image.array)


def test_every_card_says_what_it_needs():
    for module in (restore_ct_rat, restore_pet_rat, restore_pathology_rat):
        card = module.CARD
        assert set(card.networks) == {m for m in module.METHODS if m not in ("superpixels", "one")}
        assert next(o for o in card.options if o.name == "regions").upload == "region_map"
        assert [i.name for i in card.inputs] == ["image", "region_map"]
        assert isinstance(card.build, partial) and card.build().limit == 4096
