"""Regions of a slice and of an image: found, remembered, added at a point, handed back on the image's own grid."""

from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from medapp.algorithms import segment_anything, slice_regions
from medapp.errors import InputError, OptionError
from medapp.imaging.volume import Volume
from medapp.pipelines import find_regions_sam
from medapp.serving import network_loading, weight_files

CARD = find_regions_sam.CARD
AFFINE = np.array([[0, 0, 3.0, -9], [-0.9, 0, 0, 30], [0, -0.7, 0, 30], [0, 0, 0, 1]])


def quiet(fraction: float, stage: str) -> None:
    assert 0 <= fraction <= 1 and stage


def blocks(shape=(48, 40, 3)) -> np.ndarray:
    """A bright block in a dark field, in every slice of the last axis."""
    array = np.random.default_rng(0).normal(0, 2, shape).astype(np.float32)
    array[8:26, 8:30] += 100
    return array


def find(image, region_map=None, get_network=None, **options):
    settings = CARD.parse_settings({"regions": "superpixels"} | options)
    return CARD.run(None, image, region_map, progress=quiet, get_network=get_network, **settings)


def test_pictures_are_stretched_and_colour_is_left_alone():
    array = np.linspace(-1000, 3000, 10_000).reshape(100, 100)
    seen = slice_regions.to_rgb(array)
    assert seen.shape == (100, 100, 3) and seen.dtype == np.uint8 and seen.min() == 0 and seen.max() == 255
    assert np.mean(seen == 0) == pytest.approx(0.01, abs=0.003) and np.mean(seen == 255) == pytest.approx(
        0.006, abs=0.004
    )
    colour = np.random.default_rng(0).integers(0, 256, (9, 8, 3), np.uint8)
    assert np.array_equal(slice_regions.to_rgb(colour), colour)


def test_found_once_for_the_same_picture_and_settings(monkeypatch):
    asked = []

    def fake(net, picture, points, progress=None):
        asked.append((net, points))
        return np.ones(picture.shape[:2], np.int32)

    monkeypatch.setattr(segment_anything, "segment_everything", fake)
    pictures = np.random.default_rng(7).normal(size=(3, 48, 40))  # of no other test, so that none is in the cache
    find = partial(slice_regions.find_slice_regions, "mobilesam")
    for points in (8, 8, 16):
        labels = find(pictures[0], lambda name: name, points)
        labels[:] = 7  # a caller's change to its map is not remembered
    assert asked == [("mobilesam", 8), ("mobilesam", 16)]
    assert (find(pictures[0], None, 8) == 1).all()
    monkeypatch.setattr(slice_regions, "CACHE_SIZE", 2)
    for picture in (*pictures, pictures[2], pictures[0]):  # the last of them was given up for others
        find(picture, lambda name: name, 32)
    assert asked[2:] == [("mobilesam", 32)] * 4


@pytest.mark.parametrize("array", [blocks()[..., 0], np.zeros((20, 20)), blocks()[:5, :5, 0]])
def test_one_region_where_that_is_asked_or_all_there_is(array):
    assert (slice_regions.find_slice_regions("one", array, None) == 1).all()
    if array.shape != (48, 40):
        assert (slice_regions.find_slice_regions("superpixels", array, None) == 1).all()


@pytest.mark.parametrize("colour", [False, True])
def test_a_map_on_the_grid_of_the_image(colour):
    array = blocks()
    if colour:
        array = np.repeat(array.clip(0, 255).astype(np.uint8)[..., None], 3, -1)
    image = Volume(array, AFFINE, unit="" if colour else "HU", name="scan")
    before = array.copy()
    result = find(image)
    labels = result.volumes["regions"]
    assert labels.grid.is_same(image.grid) and np.array_equal(array, before)
    assert set(labels.labels) == set(np.unique(labels.array)) and len(labels.labels) == result.metrics["regions"].value
    inside, outside = labels.array[11:23, 11:27], labels.array[30:]
    assert not set(inside.ravel()) & set(outside.ravel())
    table = result.tables["regions"]
    assert len(table.rows) == len(labels.labels)
    assert sum(row[1] for row in table.rows) == pytest.approx(np.prod(image.shape) * image.grid.voxel_ml, rel=0.05)
    flat = find(Volume(array[:, :, :1], AFFINE)).tables["regions"]
    assert flat.columns[1] == "area (mm²)" and sum(row[1] for row in flat.rows) == pytest.approx(48 * 40 * 0.63)


def test_one_more_region_at_every_voxel_pointed_at(monkeypatch):
    image = Volume(blocks(), AFFINE, name="scan")
    asked = []

    def square(net, picture, points):
        (column, row), = points  # fmt: skip
        asked.append(net)
        mask = np.zeros(picture.shape[:2], bool)
        mask[int(row) - 1 : int(row) + 2, int(column) - 1 : int(column) + 2] = True
        return [mask, mask | (np.arange(mask.shape[1]) == int(column))]

    monkeypatch.setattr(find_regions_sam, "segment_at_points", square)
    plain = find(image).volumes["regions"].array
    assert "candidates" not in find(image).volumes
    result = find(image, get_network=lambda name: name, prompt="30,30,1; 12,33,1; 16,14,0")
    labels = result.volumes["regions"].array
    assert asked == ["mobilesam"] * 3 and result.settings["prompt"] == "30,30,1; 12,33,1; 16,14,0"
    for i, j, k in ((30, 30, 1), (12, 33, 1), (16, 14, 0)):
        own = labels == labels[i, j, k]
        assert own[i - 1 : i + 2, j - 1 : j + 2, k].all() and own[..., k].sum() == 9
        candidates = result.volumes["candidates"].array[..., k]
        assert (candidates[own[..., k]] == 3).all() and (candidates == 2).any()
    assert result.volumes["candidates"].grid.is_same(image.grid)
    assert len(np.unique(labels[..., 1])) == len(np.unique(plain[..., 1])) + 2
    with pytest.raises(InputError, match="outside"):
        find(image, prompt="48,0,0")


def test_an_own_map_takes_the_place_of_a_search():
    array = np.zeros((48, 40, 3), np.uint8)
    array[:20] = 5
    result = find(Volume(blocks(), AFFINE), Volume(array, AFFINE))
    labels = result.volumes["regions"].array
    assert result.metrics["regions"].value == 2 and result.settings["regions"] == "uploaded"
    assert len(np.unique(labels[:20])) == len(np.unique(labels[20:])) == 1


def test_unfit_input_is_refused_in_words():
    with pytest.raises(InputError, match="empty"):
        find(Volume(np.zeros((20, 20, 2)), np.eye(4)))
    with pytest.raises(OptionError, match="one of"):
        CARD.parse_settings({"regions": "sam"})


def test_mobilesam_finds_a_disc_and_what_lies_at_a_point():
    """The committed weights, through the door's own loader: about five seconds of one processor."""
    net = network_loading.build_network(
        segment_anything.SAM_NETWORKS["mobilesam"].build,
        weight_files.locate_weights(segment_anything.SAM_NETWORKS["mobilesam"].weights),
        "mobilesam",
    )
    rows, columns = np.ogrid[:96, :128]
    disc = (rows - 40) ** 2 + (columns - 50) ** 2 < 20**2
    picture = slice_regions.to_rgb(disc * 100.0 + np.random.default_rng(0).normal(0, 2, disc.shape))
    told: list[float] = []
    with torch.inference_mode():
        labels = segment_anything.segment_everything(net, picture, 4, told.append)
        mask, *larger = segment_anything.segment_at_points(net, picture, [(50, 40)])
    found = labels == labels[40, 50]
    for answer in (found, mask):
        assert (answer & disc).sum() / (answer | disc).sum() > 0.9
    areas = [each.sum() for each in (mask, *larger)]
    assert areas == sorted(areas) and all((each & disc).sum() < 0.9 * each.sum() for each in larger)
    assert labels.dtype == np.int32 and labels.shape == disc.shape and labels.min() == 1
    assert told == sorted(told) and told[0] > 0 and told[-1] < 1


def test_the_smallest_mask_that_says_something_comes_first():
    rows, columns = np.indices((60, 80))
    part, other, more = rows + columns < 20, (rows < 30) & (columns < 30), columns < 50
    specks, all_ = part | (columns > 70), np.ones((60, 80), bool)
    assert np.array_equal(segment_anything.connected_parts(specks, [(2, 3)]), part)
    assert not segment_anything.connected_parts(part, [(79, 59)]).any()

    def chosen(*scored):
        masks, scores = zip(*scored, strict=True)
        return segment_anything.choose_masks(np.array(masks), np.array(scores))

    found = chosen((all_, 1.05), (more, 0.6), (part, 0.8), (other, 0.9))
    assert len(found) == 3 and all(map(np.array_equal, found, (part, other, more)))
    assert len(chosen((part, 0.5), (other, 0.9), (other | (rows == 0), 0.9))) == 1, "not trusted; nearly the same"
    assert len(chosen((all_, 0.9), (part & False, 0.99))) == 1, "there is nothing else"
    assert chosen((part & False, 0.9)) == []


def test_enlarged_in_one_step_only_where_that_is_the_same():
    segment_anything.torchvision_compat.import_torchvision()
    from segment_anything.modeling import Sam

    small = torch.randn(2, 256, 256)
    for height, width in ((511, 512), (700, 1024), (300, 400)):
        scale = 1024 / max(height, width)
        sam = SimpleNamespace(image_encoder=SimpleNamespace(img_size=1024))
        sam.postprocess_masks = lambda *args, sam=sam: Sam.postprocess_masks(sam, *args)
        input_size = (int(height * scale + 0.5), int(width * scale + 0.5))
        expected = Sam.postprocess_masks(sam, small[:, None], input_size, (height, width))[:, 0]
        actual = segment_anything.enlarge_logits(sam, small, input_size, (height, width))
        torch.testing.assert_close(actual, expected, atol=2e-5, rtol=0)
