"""Painted strokes lie in tissue, are dark, follow from their seed, and their brains and masks are kept apart."""

from itertools import combinations

import numpy as np
import pytest
import torch

from medapp.imaging.volume import Grid
from training.core.random_source import RandomSource
from training.data.brain_tissues import RIM
from training.data.stroke_lesions import (
    LesionShape,
    LesionShapes,
    paint_ageing,
    paint_infarct,
    place_lesion,
    reference_levels,
    split_masks,
)

SIDE = 56


@pytest.fixture
def brain():
    """A ball of white matter within cortex, fluid in its middle: image and tissue."""
    away = np.linalg.norm(np.indices((SIDE,) * 3) - (SIDE - 1) / 2, axis=0)
    tissue = np.select([away < 6, away < 20, away < 24, away < 26], [3, 1, 2, RIM], 0).astype(np.uint8)
    image = np.array([0, 0.9, 0.6, 0.2])[np.where(tissue == RIM, 3, tissue)].astype(np.float32)
    return torch.from_numpy(image), torch.from_numpy(tissue)


def ball(centre, radius):
    away = np.linalg.norm(np.indices((SIDE,) * 3).T - centre, axis=-1).T
    return away < radius


@pytest.mark.parametrize("seed", range(8))
def test_a_lesion_is_dark_and_lies_in_tissue(brain, seed):
    image, tissue = brain
    before, wanted = image.clone(), ball((28, 28, 46), 9)
    mask = paint_infarct(image, tissue, wanted, RandomSource(seed), reference_levels(image, tissue))
    assert mask.sum() > 500 and not (mask & ~wanted).any()
    assert not mask[np.isin(tissue, (0, 3))].any()
    was, now = before[mask].mean(), image[mask].mean()
    assert 0.1 < now < was - 0.15
    assert image.min() >= 0 and torch.equal(image[tissue == 0], before[tissue == 0])
    far = ~ball((28, 28, 46), 22)
    torch.testing.assert_close(image[far], before[far], rtol=0, atol=1e-3)


def test_nothing_is_painted_where_there_is_no_tissue(brain):
    image, tissue = brain
    before = image.clone()
    mask = paint_infarct(image, tissue, ball((28, 28, 28), 4), RandomSource(0), reference_levels(image, tissue))
    assert not mask.any() and torch.equal(image, before)


def test_ageing_changes_tissue_only_and_follows_from_the_seed(brain):
    pictures = []
    for seed in (1, 1, 2):
        image, tissue = brain[0].clone(), brain[1]
        paint_ageing(image, tissue, RandomSource(seed), reference_levels(*brain))
        assert torch.equal(image[tissue == 0], brain[0][tissue == 0])
        pictures.append(image)
    assert torch.equal(pictures[0], pictures[1]) and not torch.equal(pictures[1], pictures[2])


def test_a_shape_keeps_its_place_and_size():
    grid = Grid((80, 80, 80), np.diag([1.0, 1, 1, 1]))
    grid.affine[:3, 3] = -40
    shape = LesionShape(
        "one", np.ones((16, 12, 10), bool), np.array([[-1.0, 0, 0, -10], [0, 1, 0, 0], [0, 0, 1, 0], [0] * 3 + [1]])
    )
    for seed in range(6):
        box, mask = place_lesion(shape, grid, RandomSource(seed))
        assert 0.25 * 1920 < mask.sum() < 3 * 1920
        middle = np.argwhere(mask).mean(0) + [b.start for b in box] - 40
        np.testing.assert_allclose(np.abs(middle), (17.5, 5.5, 4.5), atol=14)
    assert place_lesion(shape._replace(affine=np.eye(4) + np.eye(4, k=3) * 500), grid, RandomSource(0)) is None


def test_the_parts_share_no_mask(tmp_path):
    parted = split_masks(1149)
    assert sorted(np.concatenate(list(parted.values()))) == list(range(1149))
    assert all(not set(a) & set(b) for a, b in combinations(parted.values(), 2))
    masks = [np.ones((n, 10, 10), bool) for n in range(2, 42)]
    bits = [np.packbits(m) for m in masks]
    content = {
        "names": np.array([f"s{n}" for n in range(40)]),
        "affine": np.eye(4),
        "bbox": np.array([[1, 2, 3, 1 + len(m), 12, 13] for m in masks], np.int16),
        "offset": np.cumsum([0, *map(len, bits)]),
        "bits": np.concatenate(bits),
        "volume_vox": np.array([m.sum() for m in masks]),
    }
    np.savez(tmp_path / "pack.npz", **content)
    drawn = {part: {LesionShapes(tmp_path, part).draw(RandomSource(n)).name for n in range(60)} for part in parted}
    assert all(drawn.values()) and all(not a & b for a, b in combinations(drawn.values(), 2))
    shape = LesionShapes(tmp_path, "train").draw(RandomSource(0))
    assert shape.mask.all() and shape.affine[:3, 3].tolist() == [1, 2, 3]
