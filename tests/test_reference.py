"""A reference that has lost its header is told from one that has another grid, and can be taken voxel by voxel."""

import numpy as np
import pytest
from nibabel.affines import from_matvec
from scipy.spatial.transform import Rotation

from medapp import runtime, tasks
from medapp.errors import InputError
from medapp.imaging.volume import Volume
from medapp.reference import TAKEN, lost_header, require_header, take_by_voxels
from medapp.tasks.comparison import prepared

TURN = Rotation.from_euler("xyz", (4, -3, 6), degrees=True).as_matrix() @ np.diag([-1.0, -1, 5])
IMAGE = Volume(np.zeros((64, 60, 20), np.float32), from_matvec(TURN, [110, 95, -40]), name="FLAIR")


def lying(affine) -> Volume:
    array = np.zeros(IMAGE.shape, np.uint8)
    array[20:30, 20:30, 8:12] = 1
    return Volume(array, affine, labels={1: "lesion"}, name="reference")


@pytest.mark.parametrize(
    "affine",
    [
        np.eye(4),
        np.diag([1.0, 1, 5, 1]),
        np.diag([-1.0, -1, 5, 1]),
        from_matvec(np.diag([-1.0, 1, 5]), [31.5, -29.5, -47.5]),
        from_matvec(np.eye(3), [12, 5, 9]),
    ],
    ids=["identity", "spacing alone", "LPS at 0", "its middle at 0", "voxels of 1 mm"],
)
def test_a_lost_header_is_noticed_and_the_way_out_told(affine):
    reference = lying(affine)
    assert lost_header(reference, IMAGE)
    with pytest.raises(InputError, match=r"mm away.*same shape: is its header lost\?.*--reference-by-voxels"):
        require_header(reference, IMAGE)
    taken = take_by_voxels(reference, IMAGE)
    assert taken.grid.same(IMAGE.grid) and taken.array.sum() == reference.array.sum() and taken.labels


def test_other_grids_are_left_to_their_headers():
    flipped = IMAGE.affine @ from_matvec(np.diag([-1.0, 1, 1]), [63, 0, 0])
    for affine in (IMAGE.affine, flipped, from_matvec(TURN, [100, 95, -40])):
        assert not lost_header(lying(affine), IMAGE)
    smaller = Volume(np.zeros((30, 30, 30), np.uint8), np.eye(4))
    assert not lost_header(smaller, IMAGE)
    with pytest.raises(InputError, match="30 × 30 × 30 voxels, the image 64 × 60 × 20"):
        take_by_voxels(smaller, IMAGE)


@pytest.mark.parametrize("name", ["segment_glioma_ar2unet", "restore_pet_rat"])
def test_a_reference_without_its_header_costs_the_comparison_and_the_switch_brings_it_back(name):
    card = runtime.card(name)
    task = tasks.of(card.task)
    volumes = {card.inputs[1 if card.inputs[0].optional else 0].name: IMAGE}
    reference = lying(np.eye(4))
    refused = prepared(task, card, volumes, lambda: reference)
    assert refused.reference is None and refused.lost_header and "is its header lost?" in refused.note
    taken = prepared(task, card, volumes, lambda: reference, by_voxels=True)
    assert taken.reference is not None and taken.reference.grid.same(IMAGE.grid) and not taken.note
    assert TAKEN in taken.reference.remarks
    fitting = prepared(task, card, volumes, lambda: lying(IMAGE.affine))
    assert fitting.reference is not None and not fitting.lost_header
