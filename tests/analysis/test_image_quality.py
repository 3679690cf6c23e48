"""Figures of a restored image: against a clean one by known errors, without one by known noise."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage
from skimage.metrics import peak_signal_noise_ratio

from medapp.analysis import image_quality
from medapp.errors import InputError
from medapp.imaging.geometry import with_spacing
from medapp.imaging.volume import Volume
from medapp.result import Metric, Result

TILT = np.array([[-0.78, 0.1, 0.4, 20], [-0.1, -0.75, 0.5, 30], [0.05, 0.15, 2.9, -60], [0, 0, 0, 1]])


def soft(sigma: float, unit: str = "HU", shape=(80, 70, 3)) -> Volume:
    """Soft tissue with blocks of unlike brightness in air, with noise."""
    random = np.random.default_rng(0)
    blocks = np.kron(random.uniform(0, 80, (4, 5)), np.ones((20, 14)))[..., None]
    array = np.repeat(blocks, shape[2], axis=2)
    array[:8] = -1000
    return Volume((array + random.normal(0, sigma, shape)).astype(np.float32), TILT, unit=unit, name="CT")


def made(image: Volume, restored: np.ndarray, **settings) -> Result:
    volumes = {"image": image, "restored": image.new_like(restored, name="restored")}
    return Result(volumes, metrics={"regions": Metric(3)}, settings=settings)


def test_the_figures_are_those_of_known_errors():
    clean, noisy = soft(0), soft(25)
    result = image_quality.compare_images(made(noisy, clean.array + 5), clean)
    value = {name: metric.value for name, metric in result.metrics.items()}
    assert value["rmse"] == pytest.approx(5, rel=1e-4) and value["bias"] == pytest.approx(5, rel=1e-4)
    assert value["rmse_before"] == pytest.approx(25, rel=0.05)
    span = float(clean.array.max() - clean.array.min())
    assert value["data_range"] == pytest.approx(span, rel=1e-4)
    assert value["psnr"] == pytest.approx(20 * np.log10(span / 5), abs=0.01)
    wanted = peak_signal_noise_ratio(clean.array, noisy.array, data_range=span)
    assert value["psnr_before"] == pytest.approx(wanted, abs=0.01)
    assert value["ssim"] > value["ssim_before"] and result.metrics["rmse"].unit == "HU"
    assert value["regions"] == 3 and result.volumes["reference"].grid.is_same(clean.grid)
    away = image_quality.compare_images(result, None)
    assert "psnr" not in away.metrics and "reference" not in away.volumes and "noise" in away.metrics


def test_equal_images_have_no_psnr():
    clean = soft(0)
    assert image_quality.compute_quality(clean.array, clean.array, "HU")["psnr"] is None
    assert image_quality.compute_quality(clean.array, clean.array, "HU")["ssim"] == pytest.approx(1)


def test_metal_and_padding_do_not_widen_the_range_of_ct():
    array = soft(5).array.copy()
    array[0, 0], array[1, 1] = 30_000, -9000
    assert image_quality.find_data_range(array, "HU") == 3071 + 1024
    assert image_quality.find_data_range(np.array([[[0.0, 7.0]]]), "Bq/ml") == 7


@pytest.mark.parametrize("unit", ["HU", ""])
@pytest.mark.parametrize("sigma", [8.0, 30.0])
def test_noise_is_found_beside_edges(unit, sigma):
    volume = soft(sigma, unit)
    assert image_quality.estimate_noise(volume) == pytest.approx(sigma, rel=0.15)
    result = image_quality.compare_images(made(volume, soft(sigma / 4, unit).array))
    assert result.metrics["noise"].value == pytest.approx(sigma / 4, rel=0.2)
    assert result.metrics["noise"].unit == unit


def test_a_reference_on_another_grid_is_drawn_onto_this_one():
    clean = soft(0)
    smooth = clean.new_like(ndimage.gaussian_filter(clean.array, (4, 4, 0)))
    turned = Volume(smooth.array[::-1], TILT @ np.array([[-1.0, 0, 0, 79], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]))
    result = image_quality.compare_images(made(clean, smooth.array), turned)
    assert result.metrics["rmse"].value < 1
    moved = TILT.copy()
    moved[0, 3] += 400
    with pytest.raises(InputError, match="covers only"):
        image_quality.compare_images(made(clean, smooth.array), Volume(smooth.array, moved))


def test_pictures_compare_pixel_by_pixel_wherever_they_lie():
    flat = soft(10, "", (80, 70, 1))
    other = Volume(soft(0, "", (80, 70, 1)).array, np.diag([-1.0, -1, 1, 1]))
    assert image_quality.compare_images(made(flat, flat.array), other).metrics["rmse"].value == pytest.approx(
        10, rel=0.1
    )
    coloured = Volume(np.zeros((80, 70, 1, 3), np.uint8), np.eye(4))
    with pytest.raises(InputError, match="colour"):
        image_quality.compare_images(made(flat, flat.array), coloured)


def test_what_was_degraded_on_purpose_keeps_its_own_reference():
    clean, noisy = soft(0), soft(20)
    result = made(noisy, clean.array + 1, degrade="half dose")
    result = replace(result, volumes={**result.volumes, "reference": clean})
    for given in (None, soft(40)):
        assert image_quality.compare_images(result, given).metrics["rmse"].value == pytest.approx(1, rel=1e-3)


def test_an_enlarged_picture_is_held_against_bicubic():
    random = np.random.default_rng(0)
    fine = ndimage.zoom(random.uniform(0, 255, (20, 15, 1, 3)), (4, 4, 1, 1), order=3).clip(0, 255).astype(np.uint8)
    truth = Volume(fine, np.diag([-1.0, -1, 1, 1]))
    grid = with_spacing(truth.grid, (2, 2, 1))
    small = fine.reshape(40, 2, 30, 2, 1, 3).mean((1, 3)).round().astype(np.uint8)
    result = Result({"image": Volume(small, grid.affine), "restored": truth.new_like(fine)}, settings={})
    result = image_quality.compare_images(result, truth)
    assert result.metrics["psnr"].value is None and result.metrics["psnr_before"].value > 30
    assert result.metrics["data_range"] == Metric(255.0, "of 255")
    assert "noise" not in result.metrics
