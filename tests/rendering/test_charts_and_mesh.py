"""Charts and surfaces against masks whose volumes and places are known."""

import base64
import json

import numpy as np
import plotly.graph_objects as go
import pytest
from nibabel.affines import from_matvec
from scipy.spatial.transform import Rotation

from medapp.imaging.volume import Volume
from medapp.rendering import colour, lesion_charts, lesion_mesh

TILT = Rotation.from_euler("xyz", [20, 10, -30], degrees=True).as_matrix()
AFFINES = {
    "RAS": from_matvec(np.diag([1.0, 1.5, 2.0]), (-20, -30, -40)),
    "mirrored": from_matvec(np.diag([-1.0, 1.5, 2.0]), (20, -30, -40)),
    "oblique": from_matvec(TILT @ np.diag([1.0, 1.5, 2.0]), (5, 6, 7)),
    "oblique, permuted, mirrored": from_matvec((TILT @ np.diag([1.0, 1.5, 2.0]))[:, [1, 0, 2]], (5, 6, 7)),
}


def ball(affine: np.ndarray, radius: float = 12.0, shape=(48, 44, 40)) -> tuple[Volume, np.ndarray]:
    """A mask of all voxels within `radius` mm of a point that is not the middle, and that point."""
    grid = Volume(np.zeros(shape, np.uint8), affine).grid
    centre = grid.to_mm(np.array([20.0, 22.0, 18.0]))
    distance = np.linalg.norm(grid.to_mm(np.indices(shape).transpose(1, 2, 3, 0)) - centre, axis=-1)
    return Volume((distance < radius).astype(np.uint8), affine, labels={1: "lesion"}), centre


def points(trace: go.Mesh3d) -> np.ndarray:
    return np.stack([trace.x, trace.y, trace.z], axis=1).astype(float)


def enclosed(trace: go.Mesh3d) -> float:
    """The volume within the triangles in mm³; negative if they face inwards."""
    p = points(trace)
    a, b, c = p[trace.i], p[trace.j], p[trace.k]
    return float(np.einsum("ij,ij->", a, np.cross(b, c)) / 6)


@pytest.mark.parametrize("name", AFFINES)
def test_the_surface_lies_on_the_lesion_and_faces_outwards(name):
    mask, centre = ball(AFFINES[name])
    (trace,) = lesion_mesh.make_lesion_surfaces(mask)
    distance = np.linalg.norm(points(trace) - centre, axis=1)
    assert distance.min() > 10 and distance.max() < 14
    assert enclosed(trace) == pytest.approx(float(mask.array.sum()) * mask.grid.voxel_ml * 1000, rel=0.1)
    assert trace.name == f"lesion 1, {mask.array.sum() * mask.grid.voxel_ml:.3g} ml"


@pytest.mark.parametrize("name", AFFINES)
def test_the_hull_lies_around_the_head(name):
    head, centre = ball(AFFINES[name], radius=18.0)
    image = Volume(head.array * np.int16(700), head.affine)
    hull = lesion_mesh.make_head_surface(image, spacing=2.0)
    assert np.allclose(points(hull).mean(axis=0), centre, atol=1.5)
    assert enclosed(hull) > 0


def test_lesions_are_named_from_the_largest_and_single_voxels_are_not_lost():
    array = np.zeros((40, 40, 40), np.uint8)
    array[5, 5, 5] = 1
    array[10:20, 10:20, 10:20] = 1
    array[25:27, 25:27, 25:27] = 1
    names = [trace.name for trace in lesion_mesh.make_lesion_surfaces(Volume(array, np.eye(4), labels={1: "lesion"}))]
    assert names == ["lesion 1, 1 ml", "lesion 2, 0.008 ml", "lesion 3, 0.001 ml"]


def test_many_lesions_share_the_last_surface():
    array = np.zeros((60, 60, 60), np.uint8)
    array[::6, ::6, 3] = 1
    traces = lesion_mesh.make_lesion_surfaces(Volume(array, np.eye(4), labels={1: "lesion"}))
    assert len(traces) == lesion_mesh.MAX_SINGLE_LESIONS + 1
    assert traces[-1].name == "lesions 21 to 100, 0.08 ml together"


def test_a_large_head_with_a_large_lesion_makes_a_small_figure():
    i, j, k = np.ogrid[-90:90, -100:100, -80:80]
    distance = np.sqrt(i**2 + (j / 1.1) ** 2 + k**2)
    lesion = Volume((distance < 35).astype(np.uint8), np.eye(4), labels={1: "lesion"})
    head = Volume((distance < 75) * np.float32(3), np.eye(4))
    assert len(lesion_mesh.plot_lesion_surfaces(lesion, head).to_json()) < 700_000


def test_the_letters_stand_on_their_sides():
    mask, _ = ball(AFFINES["oblique"])
    letters = lesion_mesh.plot_lesion_surfaces(mask).data[-1]
    place = dict(zip(letters.text, points(letters), strict=True))
    assert place["R"][0] > place["L"][0] and place["A"][1] > place["P"][1] and place["S"][2] > place["I"][2]


def test_without_a_lesion_a_sentence_stands_in_each_figure():
    nothing = Volume(np.zeros((10, 10, 10), np.uint8), np.eye(4), labels={1: "lesion"})
    for figure in (
        lesion_mesh.plot_lesion_surfaces(nothing),
        lesion_charts.plot_volume_by_slice(nothing),
    ):
        assert [a.text for a in figure.layout.annotations] == [lesion_charts.NO_LESION]
        assert not figure.data
    assert (
        "single slice"
        in lesion_mesh.plot_lesion_surfaces(Volume(np.ones((9, 9, 1), np.uint8), np.eye(4))).layout.annotations[0].text
    )


@pytest.mark.parametrize("name", AFFINES)
def test_slice_volumes_add_up_and_stand_at_their_position(name):
    mask, centre = ball(AFFINES[name])
    mm, ml, title = lesion_charts.measure_slice_volumes(mask)
    assert ml.sum() == pytest.approx(mask.array.sum() * mask.grid.voxel_ml)
    assert (np.diff(mm) > 0).all()
    if "oblique" not in name:
        assert (mm * ml).sum() / ml.sum() == pytest.approx(centre[2], abs=0.5)
        assert title == "Slice position, foot to head (mm)"


def test_the_bars_carry_the_volumes_and_little_else():
    mask, _ = ball(AFFINES["RAS"])
    figure = lesion_charts.plot_volume_by_slice(mask, mask)
    assert np.sum(figure.data[0].y) == pytest.approx(mask.array.sum() * mask.grid.voxel_ml, rel=1e-5)
    assert [t.name for t in figure.data] == ["mask", "reference"]
    assert len(figure.to_json()) < 10_000


def test_the_histogram_counts_what_is_above_a_hundredth():
    array = np.zeros((10, 10, 10), np.float32)
    array[0] = 0.005
    array[1, 0, :5] = 0.015
    array[2, 0, :7] = 1.0
    figure = lesion_charts.plot_probability_histogram(Volume(array, np.eye(4)), 0.5)
    packed = json.loads(figure.to_json())["data"][0]["y"]
    counts = np.frombuffer(base64.b64decode(packed["bdata"]), packed["dtype"])
    assert counts[0] == 5 and counts[-1] == 7 and counts.sum() == 12
    assert figure.layout.shapes[0].x0 == 0.5


def test_the_automatic_window_leaves_out_air_and_bright_specks():
    rng = np.random.default_rng(0)
    array = np.zeros((60, 60, 60), np.float32)
    array[15:45, 15:45, 15:45] = rng.uniform(100, 200, (30, 30, 30))
    array[0, 0, :3] = 1e6
    low, high = colour.find_window(array)
    assert 99 < low < 110 and 190 < high < 201
    assert colour.find_window(array, "HU") == colour.CT_WINDOWS["soft tissue"]
    assert colour.to_grey(np.array([0, 150, 999]), colour.Window(100, 200)).tolist() == [0, 128, 255]


def test_label_colours_are_distinct_and_fixed():
    assert len(set(colour.LABEL_COLOURS)) == len(colour.LABEL_COLOURS)
    assert (
        colour.get_label_colour(1) == colour.get_label_colour(1 + len(colour.LABEL_COLOURS)) == colour.LABEL_COLOURS[0]
    )


def test_a_head_too_thin_for_a_surface_is_left_out():
    noise = np.random.default_rng(0).normal(100, 9, (40, 36, 3)).astype(np.float32)
    assert lesion_mesh.make_head_surface(Volume(noise, np.diag([-0.8, -0.8, 3, 1]))) is None
