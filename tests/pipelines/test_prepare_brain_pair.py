"""Preprocessing of a brain pair: skull-stripped, aligned, on one grid, with a known motion between the two."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from medapp.algorithms import conformed_space, pair_preparation
from medapp.algorithms.head_orientation import OrientedRegions, rotate_affine
from medapp.algorithms.parcellation import Parcellation
from medapp.errors import InputError
from medapp.imaging.volume import Volume
from medapp.pipelines.prepare_brain_pair import CARD
from tests.helpers.brain_phantoms import CORTEX, OTHER, WHITE, brain, turned

SHIFT = 9.0  # mm to the right, of the moving brain
NUCLEI = {n: (sign * x, y, z) for n, (sign, x, y, z) in {
    8: (-1, 12, -18, 6), 9: (-1, 14, 20, 8), 10: (-1, 34, 2, 0), 14: (-1, 26, -22, -14), 15: (-1, 22, 30, -12),
    26: (1, 12, -18, 6), 27: (1, 14, 20, 8), 28: (1, 34, 2, 0), 30: (1, 26, -22, -14), 31: (1, 22, 30, -12),
}.items()}  # fmt: skip
STILL = turned((0, 0, 0), (2, 2, 2), (80, 96, 72))
OBLIQUE = turned((8, -5, 15), (1.8, 2.2, 2.5), (90, 90, 64))


def with_nuclei(image: Volume, labels: Volume, shift: float = 0.0) -> tuple[Volume, Volume]:
    """The brain with ten small regions, enough for the registration to start from the regions."""
    mm = labels.grid.to_mm(np.moveaxis(np.indices(labels.shape), 0, -1))
    array = labels.array.copy()
    for number, centre in NUCLEI.items():
        array[np.linalg.norm(mm - centre - (shift, 0, 0), axis=-1) < 6] = number
    return image, labels.new_like(array)


FIXED, FIXED_LABELS = with_nuclei(*brain(STILL, (80, 96, 72)))
MOVING, MOVING_LABELS = with_nuclei(*brain(OBLIQUE, (90, 90, 64), shift=SHIFT), SHIFT)
FIXED, MOVING = replace(FIXED, name="Fixed image"), replace(MOVING, name="Moving image")


def refuse_network(name: str):
    raise AssertionError(f"{name} is not needed where both label maps are given")


def prepare(fixed=FIXED, moving=MOVING, fixed_labels=FIXED_LABELS, moving_labels=MOVING_LABELS, **more):
    options = {"get_network": refuse_network, "progress": lambda *_: None} | more
    return CARD.run(None, fixed, moving, fixed_labels, moving_labels, **options)


@pytest.fixture(scope="module", autouse=True)
def small_box():
    """A box that just holds the phantom, so that the tests are quick."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(conformed_space, "CONFORMED_SHAPE", (128, 116, 156))
        yield


@pytest.fixture(scope="module")
def result(small_box):
    return prepare()


def test_both_brains_lie_on_one_grid_of_1_mm_from_0_to_1(result):
    fixed, moving = result.volumes["fixed_prepared"], result.volumes["moving_prepared"]
    assert fixed.grid.is_same(moving.grid)
    np.testing.assert_allclose(fixed.spacing, 1)
    for image in (fixed, moving):
        assert image.array.dtype == np.float32 and image.array.min() == 0 and image.array.max() == 1
        assert 0.1 < (image.array > 0).mean() < 0.6, "a brain with nothing around it"
    overlap = (fixed.array > 0) & (moving.array > 0)
    assert 2 * overlap.sum() > 0.95 * ((fixed.array > 0).sum() + (moving.array > 0).sum())


def test_the_known_motion_is_found(result):
    points = np.array([[-40, 30, 10], [30, -50, 20], [0, 20, -35], [45, 0, 0]])
    found = points @ result.affine[:3, :3].T + result.affine[:3, 3]
    assert np.linalg.norm(found - points - (SHIFT, 0, 0), axis=1).max() < 2
    value = {name: metric.value for name, metric in result.metrics.items()}
    assert value["shift"] == pytest.approx(SHIFT, abs=1) and value["turn"] < 2 and abs(value["growth"]) < 4
    assert value["dice_before"] > 0.85 and value["ncc_before"] > 0.9
    assert not any("stretch" in warning or "overlap" in warning for warning in result.warnings)


def test_label_maps_stay_on_their_own_grids_and_are_said_to_be_uploaded(result):
    fixed_map, moving_map = (result.volumes[role] for role in ("labels", "moving_labels"))
    assert fixed_map.grid.is_same(FIXED.grid) and moving_map.grid.is_same(MOVING.grid)
    assert set(np.unique(fixed_map.array)) == {0, *WHITE, *CORTEX, OTHER, *NUCLEI}
    assert sum("uploaded label map" in note for note in result.notes) == 2


def test_regions_are_predicted_where_there_is_no_label_map(monkeypatch):
    asked = []

    def find_regions(net, head, *, brain_net, progress):
        asked.append((net, brain_net, head.name))
        labels = FIXED_LABELS if head.name == FIXED.name else MOVING_LABELS
        classes = labels.new_like(labels.array.astype(np.uint8), labels={1: "region"})
        mask = labels.new_like((labels.array > 0).astype(np.uint8), labels={1: "brain"})
        return OrientedRegions(Parcellation(classes, mask), head.affine, 31)

    monkeypatch.setattr(pair_preparation, "find_regions", find_regions)
    result = prepare(fixed_labels=None, moving_labels=None, get_network=lambda name: name)
    assert asked == [("anatomy", "brain", FIXED.name), ("anatomy", "brain", MOVING.name)]
    assert not any("uploaded" in note for note in result.notes)
    assert result.metrics["shift"].value == pytest.approx(SHIFT, abs=1)


def test_a_brain_that_had_to_be_stretched_is_warned_of():
    small = np.diag([0.64, 0.64, 0.64, 1])
    moving = MOVING.new_like(MOVING.array, affine=small @ MOVING.affine)
    labels = MOVING_LABELS.new_like(MOVING_LABELS.array, affine=small @ MOVING_LABELS.affine)
    assert any("stretch" in warning for warning in prepare(moving=moving, moving_labels=labels).warnings)


def as_found(labels: Volume, array: np.ndarray) -> OrientedRegions:
    """What the parcellation network would return on the grid of `labels`."""
    classes = labels.new_like(array.astype(np.uint8), labels={1: "region"})
    return OrientedRegions(Parcellation(classes, classes), labels.affine, 20)


def test_a_head_upside_down_whose_regions_were_taken_for_others_is_found(monkeypatch):
    half_turn = np.diag([1.0, -1, -1])
    mm = FIXED.grid.to_mm(np.moveaxis(np.indices(FIXED.shape), 0, -1))
    fixed = replace(FIXED, array=FIXED.array * np.exp((mm[..., 1] + mm[..., 2]) / 150).astype(np.float32))
    affine = rotate_affine(FIXED.grid, half_turn)
    upside_down, labels = replace(fixed, affine=affine, name="Moving image"), replace(FIXED_LABELS, affine=affine)
    monkeypatch.setattr(pair_preparation, "find_regions", lambda *_, **__: as_found(labels, labels.array[::-1]))

    def find_rotated_regions(net, head, rotation, *, brain_net, progress):
        np.testing.assert_allclose(rotation, half_turn)
        return as_found(labels, labels.array)

    monkeypatch.setattr(pair_preparation, "find_rotated_regions", find_rotated_regions)
    result = prepare(fixed, upside_down, moving_labels=None, get_network=lambda name: name)
    assert result.metrics["dice_before"].value > 0.9 and result.metrics["turn"].value == pytest.approx(180, abs=1)
    assert any("its top is the foot" in warning for warning in result.warnings)
    assert not any("overlap" in warning for warning in result.warnings)


def test_brains_that_do_not_fit_are_doubted():
    mirrored = MOVING_LABELS.new_like(MOVING_LABELS.array[::-1].copy())
    result = prepare(moving_labels=mirrored)
    assert result.doubt and any("hardly overlap" in warning for warning in result.warnings)


LEVELS = {"T1": (1000, 650, 700, 200), "T2": (400, 600, 570, 1000)}  # white matter, cortex, nuclei, fluid


def paint(labels: Volume, shift: float, contrast: str) -> tuple[Volume, Volume]:
    """A scan of the labelled brain with two ventricles and fluid round it, and its labels."""
    mm = labels.grid.to_mm(np.moveaxis(np.indices(labels.shape), 0, -1)) - (shift, 0, 0)
    array = labels.array.copy()
    for number, x in ((3, -8), (22, 8)):
        array[np.linalg.norm((mm - (x, -5, 18)) / (1, 2, 1), axis=-1) < 8] = number
    table = np.zeros(36, np.float32)
    table[[*WHITE, *CORTEX]], table[[OTHER, *NUCLEI]], table[[3, 22]] = (
        np.repeat(LEVELS[contrast][:2], 2),
        LEVELS[contrast][2],
        LEVELS[contrast][3],
    )
    around = ndimage.binary_dilation(array > 0, iterations=2) & (array == 0)
    drawn = np.where(around, LEVELS[contrast][3], table[array])
    return labels.new_like(ndimage.gaussian_filter(drawn, 0.5), labels={}), labels.new_like(array)


def test_another_contrast_is_aligned_and_made_alike_for_the_matching():
    fixed, fixed_labels = paint(FIXED_LABELS, 0, "T1")
    moving, moving_labels = paint(MOVING_LABELS, SHIFT, "T2")
    names = {"fixed": replace(fixed, name="Fixed image"), "moving": replace(moving, name="Moving image")}
    for swapped in (False, True):
        roles = dict(zip(names, reversed(names.values()), strict=True)) if swapped else names
        maps = (moving_labels, fixed_labels) if swapped else (fixed_labels, moving_labels)
        result = prepare(**roles, fixed_labels=maps[0], moving_labels=maps[1])
        assert result.metrics["shift"].value == pytest.approx(SHIFT, abs=1) and result.metrics["turn"].value < 2
        assert result.metrics["ncc_before"].value > 0.85, "of two T1 images, one of them made"
        assert any(note.startswith("Moving image: its contrast") for note in result.notes)
        assert not any("needs T1" in warning for warning in result.warnings)


AWAY = turned((0, 0, 0), (2, 2, 2), (9, 9, 900))


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"fixed": Volume(np.zeros((20, 20, 20, 3), np.uint8), STILL, name="Fixed image")}, "colour"),
        ({"moving": replace(MOVING, unit="HU")}, "MRI"),
        ({"fixed_labels": FIXED_LABELS.new_like(FIXED_LABELS.array * 0)}, "No brain|numbering|label"),
        ({"moving_labels": MOVING_LABELS.new_like(MOVING_LABELS.array + 0.5)}, "label map"),
        ({"moving_labels": MOVING_LABELS.new_like(MOVING_LABELS.array, affine=AWAY)}, "covers only"),
    ],
)
def test_unfit_input_is_refused(change, word):
    with pytest.raises(InputError, match=word):
        prepare(**change)


def test_the_card_needs_the_networks_that_find_the_brain_and_its_regions():
    assert CARD.build is None and set(CARD.networks) == {"anatomy", "brain"}
    assert CARD.weights == CARD.networks["anatomy"].weights
    assert [source.name for source in CARD.inputs if not source.optional] == ["fixed", "moving"]
