"""Pictures against phantoms whose right, front and head are known."""

import numpy as np
import pytest
from nibabel.affines import from_matvec
from nibabel.orientations import apply_orientation, axcodes2ornt, io_orientation, ornt_transform
from scipy.spatial.transform import Rotation

from medapp.imaging.geometry import reorient
from medapp.imaging.volume import Grid, Volume
from medapp.rendering import planes
from medapp.rendering.colour import Window
from medapp.rendering.layers import Layer
from medapp.rendering.slice_grids import find_plane

TILT = Rotation.from_euler("xyz", [17, -12, 25], degrees=True).as_matrix()
RAS = Grid((40, 50, 30), from_matvec(np.diag([2.0, 1.5, 3.0]), (-40, -37, -45)))
OBLIQUE = Grid((60, 60, 60), from_matvec(TILT @ np.diag([2.0, 2.0, 2.0]), TILT @ [-59, -59, -59]))
GRIDS = {
    "RAS": RAS,
    "LPS": reorient(RAS, "LPS"),
    "permuted": reorient(RAS, "SLA"),
    "oblique": OBLIQUE,
    "oblique, permuted": reorient(OBLIQUE, "PIR"),
}
WHITE = Window(0, 1)


def bright(grid: Grid, mm: tuple[float, float, float]) -> Volume:
    """A black volume with one bright voxel at the point, and where that voxel's centre is."""
    array = np.zeros(grid.shape, np.float32)
    array[tuple(np.rint(grid.to_index(np.array(mm))).astype(int))] = 1
    return Volume(array, grid.affine)


def stored(volume: Volume, codes: str) -> Volume:
    """The same voxels in the same places with the array's axes swapped and turned round."""
    turn = ornt_transform(io_orientation(volume.affine), axcodes2ornt(codes))
    return volume.new_like(apply_orientation(volume.array, turn), affine=reorient(volume.grid, codes).affine)


def where(picture: np.ndarray) -> tuple[float, float]:
    """Row and column of the brightness' middle, as shares of the picture's height and width."""
    grey = picture[..., 0].astype(float)
    rows, columns = np.indices(grey.shape)
    assert grey.sum() > 0
    return tuple(
        (axis * grey).sum() / grey.sum() / (n - 1) for axis, n in zip((rows, columns), grey.shape, strict=True)
    )


@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize(
    ("plane", "right", "front", "head"),
    [  # which way the picture moves for a point at the patient's right, front and head: "" is not at all
        ("axial", "left", "up", ""),
        ("coronal", "left", "", "up"),
        ("sagittal", "", "left", "up"),
    ],
)
def test_each_side_of_the_patient_is_where_a_radiologist_expects_it(name, plane, right, front, head):
    for way, axis in ((right, 0), (front, 1), (head, 2)):
        if not way:
            continue
        mm = np.zeros(3)
        mm[axis] = 20
        volume = bright(GRIDS[name], mm)
        centre = volume.grid.to_mm(np.argwhere(volume.array)[0])
        row, column = where(planes.draw_plane([Layer(volume, window=WHITE)], plane, centre, pixel=1.0))
        assert (row < 0.45) == (way == "up"), (way, row)
        assert (column < 0.45) == (way == "left"), (way, column)


def test_neurological_pictures_have_the_patients_right_on_the_right_but_sagittal_ones_keep_the_front_on_the_left():
    volume = bright(RAS, (20, 20, 0))
    layers = [Layer(volume, window=WHITE)]
    centre = volume.grid.to_mm(np.argwhere(volume.array)[0])
    assert where(planes.draw_plane(layers, "axial", centre, radiological=False))[1] > 0.6
    assert where(planes.draw_plane(layers, "sagittal", centre, radiological=False))[1] < 0.4


@pytest.mark.parametrize("codes", ["LPS", "PIR", "SLA", "AIL"])
@pytest.mark.parametrize("plane", planes.PLANES)
def test_the_picture_does_not_depend_on_the_storage_order(codes, plane):
    rng = np.random.default_rng(1)
    for grid in (RAS, OBLIQUE):
        volume = Volume(rng.random(grid.shape, np.float32), grid.affine)
        mask = volume.new_like((volume.array > 0.9).astype(np.uint8), labels={1: "lesion"})
        turned = [stored(v, codes) for v in (volume, mask)]
        first, second = (
            planes.draw_plane([Layer(v, window=WHITE), Layer(m, "mask", opacity=0.5)], plane, (3.0, -2.0, 1.5))
            for v, m in ((volume, mask), turned)
        )
        assert np.abs(first.astype(int) - second).max() <= 1


def test_layers_on_different_grids_lie_on_each_other():
    volume, other = bright(RAS, (11, 9, -6)), OBLIQUE
    centre = volume.grid.to_mm(np.argwhere(volume.array)[0])
    distance = np.linalg.norm(other.to_mm(np.indices(other.shape).transpose(1, 2, 3, 0)) - centre, axis=-1)
    ball = Volume((distance < 6).astype(np.uint8), other.affine, labels={1: "lesion"})
    for plane in planes.PLANES:
        image = where(planes.draw_plane([Layer(volume, window=WHITE)], plane, centre, pixel=0.5))
        mask = where(planes.draw_plane([Layer(bright(RAS, centre)), Layer(ball, "mask")], plane, centre, pixel=0.5))
        assert np.allclose(image, mask, atol=0.02)


def test_nothing_is_drawn_outside_the_scan_and_edge_voxels_are_whole():
    volume = Volume(np.ones((4, 4, 4), np.float32), np.diag([2.0, 2.0, 2.0, 1.0]))
    picture = planes.draw_plane(
        [Layer(volume, window=WHITE)], "axial", (3, 3, 3), pixel=1.0, extent=[[-11, -11, -11], [17, 17, 17]]
    )
    assert picture.shape == (28, 28, 3)
    assert np.count_nonzero(picture[..., 0] == 255) == 64  # 8 × 8 mm, as large as the voxels are
    assert not planes.draw_plane([Layer(volume, window=WHITE)], "axial", (3, 3, 7.5)).any()


@pytest.mark.parametrize("codes", ["RAS", "LPS", "SLA", "IPR"])
def test_a_flat_image_is_drawn_as_itself_in_its_own_plane(codes):
    array = np.zeros((20, 1, 30), np.float32)
    array[18, 0, 28] = 1  # right and head
    coronal = Volume(array, from_matvec(TILT @ np.diag([1.0, 5.0, 1.0]), (0, 0, 0)))
    turned = stored(coronal, codes)
    assert find_plane(turned.grid) == "coronal"
    picture = planes.draw_plane([Layer(turned, window=WHITE)], "axial", (900, 900, 900))
    assert picture.shape == (30, 20, 3)
    assert tuple(np.argwhere(picture[..., 0] > 200)[0]) == (1, 1)
    assert planes.draw_three_planes([Layer(turned, window=WHITE)], (0, 0, 0), height=60).shape == (60, 40, 3)


def test_an_empty_mask_and_a_constant_image_draw():
    volume = Volume(np.zeros(RAS.shape, np.int16), RAS.affine)
    mask = volume.new_like(np.zeros(RAS.shape, np.uint8), labels={1: "lesion"})
    layers = [Layer(volume), Layer(mask, "mask", contour=2), Layer(mask, "heat")]
    mm = planes.find_best_position(mask)
    assert np.allclose(mm, RAS.to_mm((np.array(RAS.shape) - 1) / 2))
    assert planes.draw_three_planes(layers, mm).dtype == np.uint8
    assert planes.draw_montage(layers, 4).ndim == 3


def test_the_first_look_is_at_the_widest_slice_of_the_largest_lesion():
    lesion = np.zeros(RAS.shape, np.uint8)
    lesion[5:9, 5:9, 3] = 1
    lesion[20:23, 20:23, 10:20] = 1
    lesion[20:29, 20:29, 15] = 1
    mask = Volume(lesion, RAS.affine, labels={1: "lesion"})
    assert np.allclose(planes.find_best_position(mask), RAS.to_mm(np.array([24, 24, 15])))


@pytest.mark.parametrize("name", GRIDS)
def test_a_click_on_the_picture_finds_its_point_again(name):
    volume = bright(GRIDS[name], (10, -8, 6))
    centre = volume.grid.to_mm(np.argwhere(volume.array)[0])
    layers = [Layer(volume, window=WHITE)]
    panels = planes.lay_out_planes(layers, centre)
    picture = planes.draw_three_planes(layers, centre, crosshair=False, letters=False)
    assert len(panels) == 3
    for panel in panels:
        part = picture[panel.top :, panel.left : panel.left + panel.grid.shape[1], 0]
        row, column = np.unravel_index(np.argmax(part), part.shape)
        point = panel.grid.to_mm(np.array([row, column, 0.0]))
        assert np.linalg.norm(point - centre) < 2


def test_a_false_alarm_in_the_air_is_not_cut_away():
    image, mask = np.zeros((60, 60, 60), np.float32), np.zeros((60, 60, 60), np.uint8)
    image[20:40, 20:40, 20:40] = 1
    mask[2, 2, 2] = 1
    layers = [Layer(Volume(image, np.diag([3.0, 3.0, 3.0, 1.0])))]
    assert planes.find_field_of_view(layers)[0].min() > 40
    layers.append(Layer(layers[0].volume.new_like(mask, labels={1: "lesion"}), "mask"))
    assert planes.find_field_of_view(layers)[0].max() < 6
