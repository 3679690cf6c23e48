"""Textures lie where the browser looks for them: axes towards R, A and S, x fastest, on any grid."""

import gzip

import nibabel as nib
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from medapp.ui.viewer.texture_files import find_ras_axes, turn_to_ras, write_texture

TURNED = {  # axes towards the back, the foot and the left, tilted; and with unequal voxels
    "RAS": np.diag([1.0, 1, 1, 1]),
    "tilted": np.array([[0.2, 0.1, -2.8, 30], [-1.9, 0.3, 0.1, 40], [0.3, -1.0, -0.9, -20], [0, 0, 0, 1.0]]),
}


def read(texture) -> np.ndarray:
    """(X, Y, Z, C), as the browser uploads it."""
    with gzip.open(texture.file.path) as file:
        content = np.frombuffer(file.read(), np.uint8)
    x, y, z = texture.shape
    return content.reshape(z, y, x, texture.channels).transpose(2, 1, 0, 3)


@pytest.mark.parametrize("affine", TURNED.values(), ids=TURNED)
def test_bytes_are_in_ras_order(affine, tmp_path):
    shape = (7, 6, 5)
    index = np.indices(shape).transpose(1, 2, 3, 0)
    texture = write_texture(index.astype(np.uint8), affine, tmp_path)
    places = read(texture).astype(float) @ affine[:3, :3].T  # of the voxels that the bytes came from
    for axis in range(3):
        assert (np.diff(places[..., axis], axis=axis) > 0).all()
    assert texture.scale == [1, 1, 1]


def test_axes_are_nibabels_unless_they_lie_near_45_degrees():
    random = np.random.default_rng(0)
    for number in range(200):
        turn = Rotation.random(random_state=number).as_matrix()
        if np.abs(turn).max(axis=0).min() < 0.85:
            continue
        affine = np.eye(4)
        affine[:3, :3] = turn * random.uniform(0.5, 3, 3)
        array = random.integers(0, 255, (3, 4, 5))
        expected = nib.as_closest_canonical(nib.Nifti1Image(array.astype(np.int16), affine)).dataobj
        np.testing.assert_array_equal(turn_to_ras(array, affine), expected)


def test_oblique_axes_are_chosen_one_after_the_other():
    """Where both of the last axes extend most along the same direction, the earlier one has it."""
    affine = np.eye(4)
    affine[:3, :3] = [[0.7, 0.6, 0.4], [-0.5, 0.7, -0.1], [-0.3, 0.2, 0.9]]
    assert find_ras_axes(affine) == ((0, 1, 2), (False, False, False))
    affine[:3, :3] = [[0.5, 0.8, 0.3], [-0.6, 0.6, -0.5], [-0.6, 0.1, 0.8]]
    assert find_ras_axes(affine) == ((1, 0, 2), (False, True, False))


@pytest.mark.parametrize("shape", [(8, 6, 4), (7, 6, 5), (1, 9, 3)])
def test_a_halved_texture_says_how_much_of_its_box_the_image_fills(shape, tmp_path):
    ramp = np.indices(shape).transpose(1, 2, 3, 0) * 10
    affine = np.diag([-1.0, 1, 1, 1])
    texture = write_texture(ramp.astype(np.uint8), affine, tmp_path, halve=True)
    blocks = read(texture)
    assert texture.shape == [-(-n // 2) for n in shape]
    for axis, (n, share) in enumerate(zip(shape, texture.scale, strict=True)):
        assert share == n / (2 * -(-n // 2))
        line = np.moveaxis(blocks[..., axis], axis, 0)[:, 0, 0].astype(float)
        centres = (np.arange(len(line)) + 0.5) / len(line) / share * n - 0.5  # in voxels of the image, towards R
        expected = 10 * (n - 1 - centres if axis == 0 else centres)
        np.testing.assert_allclose(line[: n // 2], expected[: n // 2], atol=1)


def test_equal_bytes_of_another_shape_are_another_file(tmp_path):
    flat, tall = np.zeros((4, 2, 3), np.uint8), np.zeros((2, 4, 3), np.uint8)
    files = {write_texture(array, np.eye(4), tmp_path).file.path for array in (flat, tall, flat)}
    assert len(files) == 2
