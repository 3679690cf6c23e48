"""The glioma pipeline shows the network upright axial slices and puts its answer back where it was."""

import numpy as np
import pytest
import torch

from medapp.errors import InputError, WeightsError
from medapp.imaging.volume import Volume
from medapp.pipelines.segment_glioma_ar2unet import CARD, segment


class Bright:
    """Stands in for the network: calls every pixel abnormal whose FLAIR is well above the head's median."""

    def __init__(self):
        self.seen = []

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        self.seen.append(x)
        return (x[:, 1:2] - 4) * 20


def phantom(affine: np.ndarray, shape=(120, 140, 20)) -> tuple[Volume, np.ndarray]:
    """A grey ellipsoid with a bright ball at the patient's right, front, and above the middle, on any grid."""
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    mm = index @ affine[:3, :3].T + affine[:3, 3]
    head = ((mm / (55, 65, 60)) ** 2).sum(-1) < 1
    ball = np.linalg.norm(mm - (25, 30, 12), axis=-1) < 13
    array = np.random.default_rng(0).normal(0, 2, shape) + 100 * head + 60 * ball
    return Volume(np.where(head, array, 0).astype(np.float32), affine), ball


AFFINES = {
    "RAS": np.array([[1.0, 0, 0, -60], [0, 1, 0, -70], [0, 0, 5, -50], [0, 0, 0, 1]]),
    "LPS": np.array([[-1.0, 0, 0, 60], [0, -1, 0, 70], [0, 0, 5, -50], [0, 0, 0, 1]]),
    "LPI": np.array([[-1.0, 0, 0, 60], [0, -1, 0, 70], [0, 0, -5, 50], [0, 0, 0, 1]]),
    "oblique": np.array([[-0.97, 0.1, 0.9, 50], [-0.1, -0.96, 1.0, 60], [0.2, 0.15, 4.8, -60], [0, 0, 0, 1]]),
}


@pytest.mark.parametrize("name", AFFINES)
def test_finds_the_ball_where_it_is(name):
    flair, ball = phantom(AFFINES[name])
    result = segment(Bright(), None, flair, None, progress=lambda *_: None, threshold=0.5, min_lesion_ml=0.5)
    mask = result.volumes["mask"].array > 0
    assert 2 * (mask & ball).sum() / (mask.sum() + ball.sum()) > 0.9
    assert result.metrics["volume"].value == pytest.approx(ball.sum() * flair.grid.voxel_ml, rel=0.1)


@pytest.mark.parametrize("name", AFFINES)
def test_the_network_sees_front_on_top_and_the_patients_right_on_the_left(name):
    flair, _ = phantom(AFFINES[name])
    net = Bright()
    segment(net, None, flair, None, progress=lambda *_: None, threshold=0.5, min_lesion_ml=0)
    x = torch.cat(net.seen[::2])[:, 1]  # every second view is mirrored
    assert x.shape[1] % 16 == x.shape[2] % 16 == 0
    rows, columns = np.nonzero((x > 4).any(0).numpy())
    assert rows.mean() < x.shape[1] / 2 - 10, "front is up"
    assert columns.mean() < x.shape[2] / 2 - 10, "the patient's right (R in RAS+ is +x) is on the left"
    depth = np.nonzero((x > 4).any((1, 2)).numpy())[0].mean()
    assert depth > len(x) / 2, "slices run from the feet to the head"


def test_missing_sequences_repeat_flair_and_are_said():
    flair, _ = phantom(AFFINES["RAS"])
    net = Bright()
    result = segment(net, None, flair, None, progress=lambda *_: None, threshold=0.5, min_lesion_ml=0)
    assert torch.equal(net.seen[1][:, 0], net.seen[1][:, 1]) and torch.equal(net.seen[1][:, 2], net.seen[1][:, 1])
    assert any("No pre-contrast and no post-contrast" in note for note in result.notes)


def test_other_sequences_may_lie_on_another_grid():
    flair, _ = phantom(AFFINES["RAS"])
    pre, _ = phantom(AFFINES["oblique"])
    net = Bright()
    segment(net, pre, flair, flair, progress=lambda *_: None, threshold=0.5, min_lesion_ml=0)
    x = torch.cat(net.seen[::4])  # all sequences, mirrored, FLAIR alone, mirrored
    ball = x[:, 1] > 4
    assert ball.any() and x[:, 0][ball].mean() > 4 and x[:, 0][~ball].mean() < 0, "the ball lies where it lies in FLAIR"


def test_sequences_of_another_place_are_refused():
    flair, _ = phantom(AFFINES["RAS"])
    far = flair.affine.copy()
    far[0, 3] += 200
    with pytest.raises(InputError, match="covers only 0%"):
        segment(
            Bright(), Volume(flair.array, far), flair, None, progress=lambda *_: None, threshold=0.5, min_lesion_ml=0
        )


def test_ct_is_refused():
    flair, _ = phantom(AFFINES["RAS"])
    with pytest.raises(InputError, match="needs MRI"):
        segment(
            Bright(),
            None,
            flair.new_like(flair.array, unit="HU"),
            None,
            progress=lambda *_: None,
            threshold=0.5,
            min_lesion_ml=0,
        )


def test_units_of_the_scanner_do_not_matter():
    flair, _ = phantom(AFFINES["LPS"])
    scaled = flair.new_like(flair.array * 37.5)
    a, b = (
        segment(Bright(), None, v, None, progress=lambda *_: None, threshold=0.5, min_lesion_ml=0)
        for v in (flair, scaled)
    )
    np.testing.assert_allclose(a.volumes["probability"].array, b.volumes["probability"].array, atol=1e-3)


def test_card_takes_flair_alone_or_all_three_in_order():
    assert CARD.arrange_inputs(["f"]) == (None, "f", None)
    assert CARD.arrange_inputs(["a", "f", "b"]) == ("a", "f", "b")
    with pytest.raises(InputError):
        CARD.arrange_inputs(["a", "b"])


def test_an_answer_does_not_hang_on_the_check_of_the_scan():
    def missing(name):
        raise WeightsError(name)

    flair, _ = phantom(next(iter(AFFINES.values())))
    result = segment(
        Bright(), None, flair, None, progress=lambda *_: None, threshold=1.1, min_lesion_ml=0.5, get_network=missing
    )
    assert result.metrics["lesions"].value == 0 and any("not checked" in note for note in result.notes)
