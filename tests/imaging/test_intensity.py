"""Standardising brings any scanner's numbers to one range and never invents contrast."""

import numpy as np

from medapp.imaging.intensity import STANDARD_RANGE, clip_bright, correct_bias_field, normalize_to_tissue, standardize


def head() -> np.ndarray:
    array = np.zeros((30, 40, 20), np.float32)
    array[5:25, 5:35, 3:17] = np.random.default_rng(0).normal(500, 60, (20, 30, 14))
    return array


def test_median_of_the_head_is_zero_and_the_middle_80_percent_span_one():
    z = standardize(head())
    inside = z[5:25, 5:35, 3:17]
    assert z.dtype == np.float32
    assert abs(np.median(inside)) < 0.02
    assert abs(np.percentile(inside, 90) - np.percentile(inside, 10) - 1) < 0.05


def test_scale_and_integer_type_do_not_matter():
    a = head()
    np.testing.assert_allclose(standardize(a * 1000), standardize(a), atol=1e-3)
    np.testing.assert_allclose(standardize(np.round(a).astype(np.uint16)), standardize(np.round(a)), atol=1e-4)


def test_one_slice_of_a_volume_is_not_stretched_by_itself():
    a = head()
    a[:, :, 10] *= 0.2
    assert standardize(a)[:, :, 10].max() < -1


def test_constant_and_outlying_values():
    assert not standardize(np.full((4, 4, 4), 7)).any()
    a = head()
    a[6, 6, 6] = 1e9
    z = standardize(a)
    assert np.isfinite(z).all() and z.max() == STANDARD_RANGE[1] and z.min() >= STANDARD_RANGE[0]


def test_a_bright_scalp_does_not_set_the_scale():
    plain = head()
    scalp = plain.copy()
    scalp[5:7] = 5000
    inside = (slice(7, 25), slice(5, 35), slice(3, 17))
    assert clip_bright(scalp).max() < 2 * 500
    np.testing.assert_array_equal(clip_bright(scalp)[inside], scalp[inside])
    calm, glaring = (standardize(a)[inside].std() for a in (clip_bright(scalp), scalp))
    assert calm > 8 * glaring


def test_an_ordinary_head_is_not_clipped_and_a_constant_one_survives():
    np.testing.assert_array_equal(clip_bright(head()), head())
    np.testing.assert_array_equal(clip_bright(np.full((3, 3, 3), 7)), np.full((3, 3, 3), 7))


def shaded(strength: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """White matter at 100 with lesions at 180 in it, all shaded; the white matter as it was found, and the lesions."""
    random, shape = np.random.default_rng(1), (40, 50, 30)
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    array = np.where(x**2 + y**2 + z**2 < 0.8, random.normal(100, 4, shape), 0)
    lesion = np.zeros(shape, bool)
    lesion[10:16, 20:30, 10:20] = True
    array[lesion] = 180
    return array * np.exp(strength * (0.7 * x - 0.4 * y * z + 0.5 * z * z)), array > 0, lesion


def test_the_bias_field_is_removed_and_lesions_keep_their_contrast():
    array, white, lesion = shaded(0.6)
    even = correct_bias_field(array, white)
    own = even[white & ~lesion]
    assert array[white & ~lesion].std() / array[white & ~lesion].mean() > 0.15
    assert own.std() / own.mean() < 0.05 and even.dtype == np.float32 and not even[~white].any()
    assert abs(even[lesion].mean() / own.mean() - 1.8) < 0.05 and even[lesion].std() / even[lesion].mean() < 0.05
    assert abs(normalize_to_tissue(even, white)[lesion].mean() - 3 * 0.8) < 0.15


def test_without_bias_field_or_tissue_an_image_is_unchanged():
    array, white, _ = shaded(0.0)
    np.testing.assert_allclose(correct_bias_field(array, white)[white], array[white], rtol=0.02)
    np.testing.assert_array_equal(correct_bias_field(array, white & False), array.astype(np.float32))
    even = np.full((20, 20, 20), 7.0)
    np.testing.assert_allclose(correct_bias_field(even, even > 0), even, rtol=1e-3)
