"""Preprocessing of a brain pair: skull-stripped, aligned, on one grid, with a known motion between the two."""

from dataclasses import replace

import numpy as np
import pytest

from medapp.algorithms import conformed_space, pair_preparation
from medapp.algorithms.head_orientation import OrientedRegions
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

    def find_regions(net, head, *, progress):
        asked.append((net, head.name))
        labels = FIXED_LABELS if head.name == FIXED.name else MOVING_LABELS
        classes = labels.new_like(labels.array.astype(np.uint8), labels={1: "region"})
        mask = labels.new_like((labels.array > 0).astype(np.uint8), labels={1: "brain"})
        return OrientedRegions(Parcellation(classes, mask), head.affine, 31)

    monkeypatch.setattr(pair_preparation, "find_regions", find_regions)
    result = prepare(fixed_labels=None, moving_labels=None, get_network=lambda name: name)
    assert asked == [("anatomy", FIXED.name), ("anatomy", MOVING.name)]
    assert not any("uploaded" in note for note in result.notes)
    assert result.metrics["shift"].value == pytest.approx(SHIFT, abs=1)


def test_a_brain_that_had_to_be_stretched_is_warned_of():
    small = np.diag([0.64, 0.64, 0.64, 1])
    moving = MOVING.new_like(MOVING.array, affine=small @ MOVING.affine)
    labels = MOVING_LABELS.new_like(MOVING_LABELS.array, affine=small @ MOVING_LABELS.affine)
    assert any("stretch" in warning for warning in prepare(moving=moving, moving_labels=labels).warnings)


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


def test_the_card_needs_the_parcellation_network_alone():
    assert CARD.build is None and set(CARD.networks) == {"anatomy"}
    assert CARD.weights == CARD.networks["anatomy"].weights
    assert [source.name for source in CARD.inputs if not source.optional] == ["fixed", "moving"]
