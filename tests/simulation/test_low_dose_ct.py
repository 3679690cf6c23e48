"""Lower dose adds the noise that is missing, and nothing else."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from medapp.simulation import low_dose_ct

PIXEL = 0.9


def body(level, seed=0, shape=(260, 300)):
    """An elliptic body with lungs and a spine, and noise of standard deviation `level` with grain."""
    y, x = np.meshgrid(*[(np.arange(n) - (n - 1) / 2) * PIXEL for n in shape], indexing="ij")
    hu = np.where((x / 120) ** 2 + (y / 95) ** 2 < 1, 40.0, -1000.0)
    hu[((np.abs(x) - 60) / 35) ** 2 + ((y + 10) / 50) ** 2 < 1] = -850
    hu[np.hypot(x, y - 55) < 16] = 400
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(shape), 0.8)
    return (ndimage.gaussian_filter(hu, 0.7) + level * noise / noise.std()).astype(np.float32)


def noise_in(hu: np.ndarray, where: np.ndarray) -> float:
    """Robust standard deviation of what is finer than about 2 mm."""
    detail = (hu - ndimage.gaussian_filter(hu, 2 / PIXEL))[where]
    return float(np.median(np.abs(detail - np.median(detail)))) * 1.4826


def test_a_quarter_of_the_dose_doubles_the_noise():
    hu = body(12.0)
    flat = low_dose_ct.find_soft_tissue(torch.from_numpy(hu), PIXEL).numpy()
    before = noise_in(hu, flat)
    for kernel in ("auto", "soft", "sharp"):
        low = low_dose_ct.lower_dose(hu, PIXEL, 0.25, kernel, seed=5)
        assert noise_in(low, flat) / before == pytest.approx(2.0, abs=0.2)
    tenth = low_dose_ct.lower_dose(hu, PIXEL, 0.1, seed=5)
    assert noise_in(tenth, flat) / before == pytest.approx(10**0.5, abs=0.5)


def test_full_dose_changes_nothing_and_hounsfield_units_stay():
    hu = body(10.0)
    np.testing.assert_array_equal(low_dose_ct.lower_dose(hu, PIXEL, 1.0), hu)
    inside = ndimage.binary_erosion(hu > -1000 + 300, iterations=5)
    added = np.mean([low_dose_ct.lower_dose(hu, PIXEL, 0.25, photons=2e5, seed=s) - hu for s in range(3)], 0)
    assert abs(added[inside].mean()) < 0.5


def test_seeds_repeat_and_differ():
    hu = body(10.0, shape=(120, 130))
    one, again, other = (low_dose_ct.lower_dose(hu, PIXEL, 0.25, "soft", seed=s) for s in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert np.corrcoef((one - hu).ravel(), (other - hu).ravel())[0, 1] < 0.05


def test_the_sharp_kernel_has_the_finer_grain():
    hu = body(10.0)
    fineness = []
    for kernel in ("soft", "sharp"):
        noise = low_dose_ct.lower_dose(hu, PIXEL / 2, 0.25, kernel) - hu  # pixels fine enough for the kernels to differ
        fineness.append((noise[:, 1:] - noise[:, :-1]).std() / noise.std())
    assert fineness[1] > 1.3 * fineness[0]


def test_noise_follows_attenuation_and_photons():
    hu = body(10.0)
    noise = low_dose_ct.lower_dose(hu, PIXEL, 0.25, "soft", photons=1e5) - hu
    assert noise[125:135, 60:240].std() > 1.3 * noise[:20, :20].std()  # across the body, and the corner in the air
    fewer = low_dose_ct.lower_dose(hu, PIXEL, 0.25, "soft", photons=2.5e4) - hu
    assert fewer[100:160].std() / noise[100:160].std() == pytest.approx(2, abs=0.15)


def test_bad_settings_say_so():
    hu = body(10.0, shape=(100, 100))
    with pytest.raises(ValueError, match="B99"):
        low_dose_ct.lower_dose(hu, PIXEL, kernel="B99")
    with pytest.raises(ValueError, match="dose"):
        low_dose_ct.lower_dose(hu, PIXEL, dose=1.5, kernel="soft")
