"""The parcellation shows the network a head at 1 mm along RAS, and puts its regions back where they were."""

import numpy as np
import pytest
import torch

from medapp.algorithms import parcellation
from medapp.analysis.mask_metrics import fill_holes
from medapp.errors import InputError
from medapp.imaging.brain_labels import CLASS_NAMES
from medapp.imaging.volume import Volume
from medapp.networks.unet3d import UNet3D
from medapp.pipelines.segment_anatomy_unet import CARD, segment
from medapp.serving.inference_engine import Engine

LEFT, RIGHT, STEM = (CLASS_NAMES.index(name) for name in ("Left-Hippocampus", "Right-Hippocampus", "Brain-Stem"))


class Bands:
    """Stands in for the network: tells the regions of the phantom by their brightness; remembers the image."""

    def predict_labels(self, x: torch.Tensor) -> torch.Tensor:
        self.seen = x[0, 0]
        low, high = self.seen[self.seen > -1.3].quantile(torch.tensor([0.15, 0.8]))
        self.head, self.ball = self.seen > low - 1.2 * (high - low), self.seen > high + 0.9 * (high - low)
        brain = torch.where(self.seen > (low + high) / 2, RIGHT, LEFT)
        return torch.where(self.head, torch.where(self.ball, STEM, brain), 0).byte()[None]


def quiet(fraction: float, stage: str) -> None:
    assert 0 <= fraction <= 1 and stage


def affine(spacing, turn=(0, 0, 0), flip=(1, 1, 1), order=(0, 1, 2), shape=(0, 0, 0)) -> np.ndarray:
    """A grid of that many voxels with its middle at 3, -4, 5 mm."""
    x, _, z = np.deg2rad(turn)
    about_x = np.array([[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]])
    about_z = np.array([[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]])
    out = np.eye(4)
    out[:3, :3] = (about_z @ about_x @ np.diag(flip))[:, list(order)] @ np.diag(spacing)
    out[:3, 3] = np.array([3.0, -4, 5]) - out[:3, :3] @ (np.array(shape) - 1) / 2
    return out


def phantom(shape, **how) -> tuple[Volume, np.ndarray]:
    """A head of 60 × 76 × 56 mm, brighter on its right and in a ball there, front and top; and its regions."""
    place = affine(shape=shape, **how)
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    mm = index @ place[:3, :3].T + place[:3, 3] - [3, -4, 5]
    head = ((mm / (30, 38, 28)) ** 2).sum(-1) < 1
    ball = np.linalg.norm(mm - (12, 14, 8), axis=-1) < 9
    noise = np.random.default_rng(0).normal(0, 1, shape)
    truth = np.where(ball, STEM, np.where(mm[..., 0] > 0, RIGHT, LEFT)) * head
    bright = 100 + 15 * (mm[..., 0] > 0) + 30 * ball + noise
    return Volume((bright * head).astype(np.float32), place), truth


GRIDS = {
    "RAS": {"shape": (80, 96, 76), "spacing": (1, 1, 1)},
    "LPI": {"shape": (80, 96, 76), "spacing": (1, 1, 1), "flip": (-1, -1, -1)},
    "sagittal": {"shape": (80, 64, 60), "spacing": (1.2, 1.25, 1.3), "order": (1, 2, 0), "flip": (1, -1, 1)},
    "oblique": {"shape": (76, 90, 70), "spacing": (1.1, 1.1, 1.1), "turn": (20, 0, -15), "flip": (-1, 1, 1)},
    "thick": {"shape": (88, 96, 20), "spacing": (0.9, 0.9, 4), "turn": (8, 0, 5), "flip": (-1, -1, 1)},
}


@pytest.mark.parametrize("name", GRIDS)
def test_regions_land_where_they_are_and_left_stays_left(name):
    head, truth = phantom(**GRIDS[name])
    found = parcellation.parcellate(Bands(), head, progress=quiet)
    assert found.labels.grid.is_same(head.grid) and found.labels.array.dtype == np.uint8
    for number in (LEFT, RIGHT, STEM):
        ours, right = found.labels.array == number, truth == number
        assert 2 * (ours & right).sum() / (ours.sum() + right.sum()) > (0.9 if name != "thick" else 0.8), number
        centres = [head.grid.to_mm(np.argwhere(m)).mean(0) for m in (ours, right)]
        assert np.linalg.norm(centres[0] - centres[1]) < max(head.spacing), "to a voxel"
    assert not parcellation.find_swapped_sides(found.labels)


def test_the_network_sees_ras_at_one_millimetre_in_multiples_of_sixteen():
    for name in ("LPI", "sagittal"):
        net = Bands()
        parcellation.parcellate(net, phantom(**GRIDS[name])[0], progress=quiet)
        assert not any(n % 16 for n in net.seen.shape)
        ball, middle = (where.nonzero().float().mean(0) for where in (net.ball, net.head))
        np.testing.assert_allclose(ball - middle, (12, 14, 8), atol=1.5)


@pytest.mark.parametrize("name", GRIDS)
def test_where_the_brain_is_known_only_its_box_is_seen_and_nothing_beyond_has_a_region(name):
    head, truth = phantom(**GRIDS[name])
    mm = head.grid.to_mm(np.stack(np.indices(head.shape), -1).reshape(-1, 3)).reshape(*head.shape, 3)
    inwards = head.new_like((mm[..., 2] + 1).astype(np.float32))  # the brain lies above z = -1 mm
    net, whole = Bands(), Bands()
    found = parcellation.parcellate(net, head, inwards=inwards, progress=quiet)
    before = parcellation.parcellate(whole, head, progress=quiet).labels.array
    lowest = mm[..., 2][found.labels.array > 0].min()
    assert -1 - parcellation.REGION_MARGIN - max(head.spacing) < lowest < -1
    clear = mm[..., 2] > max(head.spacing)
    assert (found.labels.array == before)[clear & (truth > 0)].mean() > (0.97 if name != "thick" else 0.93)


def test_a_large_field_of_view_is_cut_to_the_head_and_the_neck_left_out():
    array = np.zeros((150, 150, 320), np.float32)
    array[40:110, 40:110, 20:310] = 100
    grid = parcellation.make_working_grid(Volume(array, np.eye(4)))
    assert grid.shape[0] < 110 and grid.shape[2] <= parcellation.MAX_HEAD_HEIGHT + 2 * parcellation.HEAD_MARGIN
    assert grid.to_mm(np.array(grid.shape) - 1)[2] >= 310, "the top of the head is kept"


def test_islands_join_their_neighbours_and_what_is_apart_goes():
    classes = np.zeros((40, 30, 30), np.uint8)
    classes[5:30, 5:25, 5:25] = 1
    classes[6:12, 6:12, 6:12] = 2
    clean = classes.copy()
    classes[20:22, 15, 15] = 2  # within
    classes[35:38, 10:12, 10:12] = 1  # apart
    np.testing.assert_array_equal(parcellation.remove_islands(classes), clean)
    assert not parcellation.remove_islands(np.zeros_like(classes)).any()
    shell = clean > 0
    shell[15:18, 10:12, 10:12] = False
    np.testing.assert_array_equal(fill_holes(shell), clean > 0)


def test_mixed_up_sides_are_noticed():
    head, truth = phantom(**GRIDS["oblique"])
    swapped = np.where(truth == LEFT, RIGHT, np.where(truth == RIGHT, LEFT, truth)).astype(np.uint8)
    assert parcellation.find_swapped_sides(head.new_like(truth.astype(np.uint8))) == ()
    assert parcellation.find_swapped_sides(head.new_like(swapped)) == ("Hippocampus",)


def test_the_result_holds_volumes_table_and_notes():
    head, truth = phantom(**GRIDS["oblique"])
    result = segment(Bands(), head, progress=quiet)
    assert set(result.volumes) == {"image", "labels", "brain"}
    ml = (truth > 0).sum() * head.grid.voxel_ml
    assert result.metrics["brain"].value == pytest.approx(ml, rel=0.05)
    assert result.metrics["regions"].value == 3 == len(result.tables["regions"].rows)
    assert "plausible size" in result.warnings[0] and result.doubt == "Not a scan of a whole head?"


def test_an_image_that_ends_within_the_brain_is_said_to():
    head, _ = phantom(**GRIDS["RAS"])
    short = Volume(head.array[:, :, :40], head.affine)
    assert any("ends within the brain, at the top" in note for note in segment(Bands(), short, progress=quiet).notes)
    thick = segment(Bands(), phantom(**GRIDS["thick"])[0], progress=quiet)
    assert any("4.0 mm long" in note for note in thick.notes)


def test_ct_is_refused():
    head, _ = phantom(**GRIDS["RAS"])
    with pytest.raises(InputError, match="needs MRI"):
        segment(Bands(), head.new_like(head.array, unit="HU"), progress=quiet)
    with pytest.raises(InputError, match="empty"):
        segment(Bands(), head.new_like(np.ones(head.shape)), progress=quiet)


def test_engine_and_bare_network_say_the_same():
    torch.manual_seed(0)
    net = UNet3D(36, 8).eval()
    x = np.random.default_rng(0).normal(size=(40, 33, 50)).astype(np.float32)
    bare, served = parcellation.classify_voxels(net, x), parcellation.classify_voxels(Engine(net), x)
    assert bare.shape == x.shape and bare.dtype == np.uint8
    assert (bare == served).mean() > 0.99


def test_the_card_builds_the_network_of_the_classes():
    assert CARD.build().classes == len(CLASS_NAMES) and CARD.name == "segment_anatomy_unet"
