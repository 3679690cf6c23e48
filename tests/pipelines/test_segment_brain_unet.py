"""The brain of a head: mask, stripped image and volume on the grid of the input, and reasons to doubt them."""

import numpy as np
import pytest
import torch
from bright_brain import Bright, Nothing, draw_ellipsoid
from phantoms import ct_body

from medapp.analysis.mask_metrics import compute_dice
from medapp.errors import InputError
from medapp.imaging.background import strip_skull
from medapp.imaging.volume import Volume
from medapp.networks.coarse_to_fine import CoarseToFine
from medapp.pipelines.segment_brain_unet import CARD, segment
from medapp.serving.inference_engine import Engine

HALF = (56, 72, 60)  # mm
ML = 4 / 3 * np.pi * np.prod(HALF) / 1000
GRIDS = {
    "LPI": ((64, 80, 68), np.diag([-2.0, -2, -2])),
    "oblique": ((76, 88, 80), np.array([[-1.8, 0.5, 0.2], [0.5, 1.8, -0.4], [-0.2, 0.4, 1.9]])),
    "8 mm slices": ((128, 160, 18), np.array([[-1.0, 0, 0.8], [0, -1.0, 0], [0.1, 0, 7.96]])),
}


def quiet(fraction: float, stage: str) -> None:
    assert 0 <= fraction <= 1 and stage


def head(name: str = "LPI", scale: float = 1.0) -> tuple[Volume, np.ndarray]:
    shape, turn = GRIDS[name]
    return draw_ellipsoid(shape, scale * turn, tuple(scale * h for h in HALF))


def run(net, image: Volume):
    return segment(net, image, progress=quiet)


@pytest.mark.parametrize("name", GRIDS)
def test_mask_and_stripped_image_lie_on_the_input(name):
    image, truth = head(name)
    image = image.new_like(np.rint(image.array).astype(np.int16), unit="")
    result = run(Bright(), image)
    brain, stripped = result.volumes["brain"], result.volumes["stripped"]
    assert brain.grid.is_same(image.grid) and stripped.grid.is_same(image.grid)
    assert compute_dice(brain.array > 0, truth) > (0.98 if name != "8 mm slices" else 0.95)
    assert stripped.array.dtype == np.int16
    np.testing.assert_array_equal(stripped.array, np.where(brain.array, image.array, 0))
    assert result.metrics["brain"].value == pytest.approx(ML, rel=0.03)
    assert not result.warnings and not result.doubt
    assert any("8.0 mm long" in note for note in result.notes) == (name == "8 mm slices")


def test_outside_is_never_brighter_than_the_head():
    image, truth = head()
    dark = image.new_like(image.array - 500)
    mask = image.new_like(truth.astype(np.uint8), labels={1: "brain"})
    assert strip_skull(image, mask).array[~truth].max() == 0
    assert strip_skull(dark, mask).array[~truth].max() == dark.array.min()


def test_a_background_of_any_value_changes_nothing():
    image, _ = head()
    array = np.where(image.array > 60, image.array, 0)
    plain = run(Bright(), image.new_like(array))
    odd = run(Bright(), image.new_like(np.where(array > 0, array - 120, 0)))  # dark tissue below a background of 0
    assert compute_dice(plain.volumes["brain"].array > 0, odd.volumes["brain"].array > 0) > 0.98


def test_a_cut_field_of_view_is_said():
    image, _ = head("oblique")
    low = Volume(image.array[:, :, :44], image.affine)
    result = run(Bright(), low)
    assert "ends within the brain, at the top" in result.warnings[0]
    assert len(result.warnings) == 1 and not result.doubt
    small = run(Bright(), Volume(image.array[:, :, :28], image.affine))
    assert small.metrics["brain"].value < 700 and not small.doubt, "small, since it is cut"


@pytest.mark.parametrize("scale", [0.5, 1.4])
def test_an_implausible_volume_is_doubted(scale):
    result = run(Bright(), head(scale=scale)[0])
    assert result.doubt == "Not a whole head?"
    assert f"measures {result.metrics['brain'].value:.0f} ml" in result.warnings[0]


def test_what_looks_like_brain_besides_is_said():
    image, _ = draw_ellipsoid((64, 80, 104), GRIDS["LPI"][1], HALF, hole=36)
    (warning,) = run(Bright(), image).warnings
    left_out = float(warning.split("Another ")[1].split(" ml")[0])
    assert left_out == pytest.approx(4 / 3 * np.pi * 1.8**3, rel=0.2), "the bright ball"


def test_where_there_is_no_brain_it_is_said():
    result = run(Nothing(), head()[0])
    assert not result.volumes["brain"].array.any() and result.metrics["brain"].value == 0
    assert "No brain was found" in result.warnings[0] and "head" in result.doubt


def test_ct_and_a_few_slices_are_refused():
    image, _ = head()
    with pytest.raises(InputError, match=r"is CT .* needs MRI"):
        run(Bright(), image.new_like(image.array, unit="HU"))
    with pytest.raises(InputError, match=r"looks like CT.*needs MRI"):
        run(Bright(), Volume(ct_body(), np.eye(4)))
    with pytest.raises(InputError, match=r"6 slice.*whole head"):
        run(Bright(), Volume(image.array[:, :, 20:26], image.affine))


def test_the_untrained_network_of_the_card_is_served():
    torch.manual_seed(0)
    net = CARD.build(coarse=4, fine=4).eval()
    image, _ = head("8 mm slices")
    assert isinstance(net, CoarseToFine)
    for each in (net, Engine(net)):
        assert set(run(each, image).volumes) == {"image", "brain", "stripped"}
