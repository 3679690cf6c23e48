"""Low-count PET: scale, count level and neighbouring slices as the network sees them; the result in its own unit."""

from functools import partial

import numpy as np
import pytest
import torch

from medapp.errors import InputError
from medapp.pipelines import restore_pet_rat
from tests.helpers.restoration_scans import AFFINES, PassThrough, body, run, stain


def test_pet_has_a_scale_and_a_level_and_stays_positive():
    image = body(unit="Bq/ml")
    net = PassThrough(lambda x: x - 0.01)
    result = run(restore_pet_rat, net, image, counts="1/4")
    x = torch.cat(net.inputs)
    scale = np.percentile(image.array[image.array > 0], 99.5)
    assert float(x[:, 0].max()) == pytest.approx(float(image.array.max() / scale), rel=1e-4)
    assert float(x[:, 1].min()) == float(x[:, 1].max()) == pytest.approx(2 / 5)
    out = result.volumes["restored"]
    assert out.array.min() >= 0 and out.unit == "Bq/ml"
    np.testing.assert_allclose(out.array, np.maximum(image.array - 0.01 * scale, 0), rtol=1e-4, atol=1e-2)
    below = image.new_like(image.array - 50)
    assert run(restore_pet_rat, PassThrough(), below).volumes["restored"].array.min() < 0


def test_pet_of_unknown_counts_has_level_0_and_of_known_counts_more_the_fewer_they_are():
    levels = [restore_pet_rat.encode_count_level(fraction) for fraction in (None, 1.0, 0.5, 0.1)]
    assert levels[:2] == [0, 0] and levels == sorted(levels) and levels[3] > levels[2] > 0
    net = PassThrough()
    run(restore_pet_rat, net, body(unit="Bq/ml"), counts="auto")
    assert all((x[:, 1] == 0).all() for x in net.inputs)


@pytest.mark.parametrize("affine", AFFINES.values(), ids=AFFINES)
def test_pet_sees_the_slices_around_or_itself_at_an_end(affine):
    net = PassThrough()
    run(restore_pet_rat, net, body(affine, unit="Bq/ml"))
    seen = [x[0].numpy() for x in net.inputs]
    assert len(seen) > 2
    for n, (x, _, *others) in enumerate(seen):
        assert x.std() > 0
        for m, other in zip((n - 1, n + 1, n - 2, n + 2), others, strict=True):
            np.testing.assert_array_equal(other, seen[m][0] if 0 <= m < len(seen) else x)


def test_pet_in_unknown_units_is_said():
    assert any("Bq/ml" in n for n in run(restore_pet_rat, PassThrough(), body(unit="")).notes)
    assert not any("Bq/ml" in n for n in run(restore_pet_rat, PassThrough(), body(unit="Bq/ml")).notes)


@pytest.mark.parametrize(
    ("image", "word"),
    [(body(), "PET"), (stain(), "colour"), (body().new_like(np.zeros((48, 40, 4)), unit="Bq/ml"), "empty")],
)
def test_unfit_input_is_refused(image, word):
    with pytest.raises(InputError, match=word):
        run(restore_pet_rat, PassThrough(), image)


def test_simulated_degradation_has_its_clean_reference():
    image = body(shape=(48, 40, 2), unit="Bq/ml")
    result = run(restore_pet_rat, PassThrough(), image, degrade="1/10")
    np.testing.assert_array_equal(result.volumes["reference"].array, image.array)
    assert all(result.volumes[role].grid.is_same(image.grid) for role in ("image", "restored", "reference"))
    assert np.abs(result.volumes["image"].array - image.array).max() > 0
    value = {name: metric.value for name, metric in result.metrics.items()}
    assert value["rmse"] == pytest.approx(value["rmse_before"], rel=1e-3) and value["rmse"] > 0


def test_the_card_says_what_it_needs():
    card = restore_pet_rat.CARD
    methods = next(o for o in card.options if o.name == "regions")
    assert set(card.networks) == {m for m in methods.values if m not in ("superpixels", "one")}
    assert [i.name for i in card.inputs] == ["image", "region_map"]
    assert isinstance(card.build, partial) and card.build().limit == 4096
