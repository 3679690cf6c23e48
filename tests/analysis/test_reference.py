"""A reference that has lost its header is warning from one that has another grid, and can be taken voxel by voxel."""

import numpy as np
import pytest
from nibabel.affines import from_matvec
from scipy import ndimage
from scipy.spatial.transform import Rotation

from medapp.analysis.reference import (
    BY_VOXELS_REMARK,
    SOFT_MASK_REMARK,
    align_by_voxels,
    binarize_soft_mask,
    describe_misfit,
    has_lost_header,
    require_header,
)
from medapp.errors import InputError
from medapp.imaging.geometry import resample
from medapp.imaging.volume import Volume
from medapp.io.raster import NO_PIXEL_SIZE_REMARK
from medapp.presenters.comparison import prepare_comparison
from medapp.presenters.mask_reference import check_mask_reference
from medapp.serving import runtime

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
    assert has_lost_header(reference, IMAGE)
    with pytest.raises(InputError, match=r"header lost.*--reference-by-voxels"):
        require_header(reference, IMAGE)
    taken = align_by_voxels(reference, IMAGE)
    assert taken.grid.is_same(IMAGE.grid) and taken.array.sum() == reference.array.sum() and taken.labels


def test_other_grids_are_left_to_their_headers():
    flipped = IMAGE.affine @ from_matvec(np.diag([-1.0, 1, 1]), [63, 0, 0])
    for affine in (IMAGE.affine, flipped, from_matvec(TURN, [100, 95, -40])):
        assert not has_lost_header(lying(affine), IMAGE)
    smaller = Volume(np.zeros((30, 30, 30), np.uint8), np.eye(4))
    assert not has_lost_header(smaller, IMAGE)
    with pytest.raises(InputError, match="30 × 30 × 30"):
        align_by_voxels(smaller, IMAGE)


@pytest.mark.parametrize("name", ["segment_glioma_ar2unet", "restore_pet_rat"])
def test_a_reference_without_its_header_costs_the_comparison_and_the_switch_brings_it_back(name):
    card = runtime.find_card(name)
    volumes = {card.inputs[1 if card.inputs[0].optional else 0].name: IMAGE}
    reference = lying(np.eye(4))
    refused = prepare_comparison(card, volumes, lambda: reference)
    assert refused.reference is None and refused.lost_header and "header lost" in refused.note
    taken = prepare_comparison(card, volumes, lambda: reference, by_voxels=True)
    assert taken.reference is not None and taken.reference.grid.is_same(IMAGE.grid) and not taken.note
    assert BY_VOXELS_REMARK in taken.reference.remarks
    fitting = prepare_comparison(card, volumes, lambda: lying(IMAGE.affine))
    assert fitting.reference is not None and not fitting.lost_header


def test_a_header_that_puts_the_reference_beside_what_was_found_is_doubted():
    mask = lying(IMAGE.affine)
    flipped, doubled = (lying(by @ IMAGE.affine) for by in (np.diag([-1.0, -1, 1, 1]), np.diag([2.0, 2, 1, 1])))
    for reference in (flipped, doubled):
        warning = describe_misfit(reference, resample(reference, mask.grid), mask)
        assert "better voxel by voxel (Dice 1.00)" in warning and "--reference-by-voxels" in warning
    again = mask.new_like(mask.array[::-1], affine=IMAGE.affine @ from_matvec(np.diag([-1.0, 1, 1]), [63, 0, 0]))
    for reference in (mask, again):  # right, and right but stored the other way round
        assert not describe_misfit(reference, resample(reference, mask.grid), mask)


def test_a_soft_reference_counts_from_a_half():
    mask = lying(IMAGE.affine)
    soft = Volume(ndimage.gaussian_filter(mask.array.astype(np.float32), 1.0), IMAGE.affine, name="reference")
    hard = binarize_soft_mask(soft)
    assert SOFT_MASK_REMARK in hard.remarks and np.array_equal(hard.array > 0, soft.array >= 0.5)
    assert (
        binarize_soft_mask(mask) is mask
        and binarize_soft_mask(soft.new_like(mask.array.astype(np.float32))).array.dtype == np.float32
    )


def test_an_image_or_a_picture_is_no_reference_for_a_mask():
    volumes = {"flair": IMAGE}
    grey = np.random.default_rng(0).integers(0, 200, IMAGE.shape).astype(np.uint8)
    with pytest.raises(InputError, match="an image, not a mask"):
        check_mask_reference(Volume(grey, IMAGE.affine), volumes)
    check_mask_reference(Volume(np.repeat(np.repeat(grey[::4], 2, 0)[:16], 4, 0), IMAGE.affine), volumes)  # many labels
    with pytest.raises(InputError, match="picture of one slice"):
        check_mask_reference(
            Volume(np.ones((64, 60, 1), np.uint8), np.diag([-1.0, -1, 1, 1]), remarks=(NO_PIXEL_SIZE_REMARK,)), volumes
        )
