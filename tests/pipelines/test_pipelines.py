"""Every pipeline: its card is complete. Every segmentation: even untrained it answers on the grid of its input."""

import hashlib
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from medapp.errors import InputError, OptionError
from medapp.imaging.volume import Volume
from medapp.serving import runtime, weight_files

TILT = np.array([[-0.9, 0.1, 1.2, 80], [0.12, 0.88, -0.6, -100], [-0.05, 0.15, 4.8, -40], [0, 0, 0, 1]])
CARDS = runtime.import_cards()
SEGMENTATIONS = [card for card in CARDS if card.task == "segmentation"]  # for the others: test_restore.py
WHOLE = ("segment_brain_unet", "segment_ms_rsanet", "segment_stroke_raxnet")  # refuse a single slice
SMALL = {name: {"widths": (8, 16, 32, 64)} for name in WHOLE}  # what would take long untrained at its full size
SMALL["segment_brain_unet"] = {"coarse": 4, "fine": 4}


def quiet(fraction: float, stage: str) -> None:
    assert 0 <= fraction <= 1 and stage


def run(card, *volumes, **options):
    torch.manual_seed(0)
    with torch.inference_mode():
        net = card.build(**SMALL.get(card.name, {})).eval()
        more = {"get_network": partial(runtime.load_network, card, "cpu", {})} if card.networks else {}
        return card.run(net, *card.arrange_inputs(volumes), progress=quiet, **more, **card.parse_settings(options))


def head(affine=TILT, shape=(64, 72, 12), name="image") -> Volume:
    noise = np.random.default_rng(1).normal(100, 10, shape)
    size = np.array(shape).reshape(3, 1, 1, 1)
    ball = np.linalg.norm((np.indices(shape) - (size - 1) / 2) / size, axis=0) < 0.4
    return Volume((noise * ball).astype(np.int16), affine, name=name)


@pytest.mark.parametrize("card", CARDS, ids=lambda c: c.name)
def test_card_is_complete(card):
    for field in ("title", "about", "licence", "cite", "trained_on", "scores", "limits"):
        assert getattr(card, field).strip(), field
    assert card.build is None or card.weights.file == f"{card.name}.safetensors"
    assert len(card.weights.sha256) == 64 and set(card.weights.sha256) <= set("0123456789abcdef")
    assert card.name.split("_")[0] in ("restore", "register", "segment", "find", "prepare")


@pytest.mark.parametrize("card", runtime.load_cards().values(), ids=lambda c: c.name)
def test_weights_beside_the_app_are_those_of_the_card(card):
    file = Path(weight_files.__file__).parents[2] / "weights" / card.weights.file
    assert hashlib.sha256(file.read_bytes()).hexdigest() == card.weights.sha256


@pytest.mark.parametrize("card", SEGMENTATIONS, ids=lambda c: c.name)
@pytest.mark.parametrize("turn", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_answers_on_the_grid_of_the_input(card, turn):
    volume = head()
    volume = Volume(volume.array.transpose(turn), volume.affine[:, [*turn, 3]])
    result = run(card, volume)
    for role, answer in result.volumes.items():
        assert answer.grid.is_same(volume.grid), role


@pytest.mark.parametrize("card", [c for c in SEGMENTATIONS if c.name not in WHOLE], ids=lambda c: c.name)
def test_a_picture_of_one_slice_is_taken(card):
    volume = head(np.diag([-0.9, -0.9, 1, 1]), (100, 90, 1))
    assert all(v.grid.is_same(volume.grid) for v in run(card, volume).volumes.values())


@pytest.mark.parametrize("card", SEGMENTATIONS, ids=lambda c: c.name)
def test_unfit_input_is_refused_in_words(card):
    volume = head()
    for value in (0.0, 7.0):
        with pytest.raises(InputError, match="empty"):
            run(card, volume.new_like(np.full(volume.shape, value, np.float32)))
    with pytest.raises(InputError, match="unit of length"):
        run(card, volume.new_like(volume.array, affine=np.diag([1e-3, 1e-3, 1e-3, 1])))
    with pytest.raises(InputError, match="colour"):
        run(card, Volume(np.zeros((8, 8, 1, 3), np.uint8), np.eye(4)))
    with pytest.raises(OptionError, match="no option"):
        card.parse_settings({"nonsense": 1})


@pytest.mark.parametrize("card", SEGMENTATIONS, ids=lambda c: c.name)
def test_the_input_is_not_changed(card):
    volume = head()
    before = volume.array.copy()
    run(card, volume)
    np.testing.assert_array_equal(volume.array, before)
