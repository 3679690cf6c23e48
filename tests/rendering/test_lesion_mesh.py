"""Surfaces of masks whose volumes and positions are known."""

import numpy as np
import plotly.graph_objects as go
import pytest
from ball_masks import AFFINES, ball

from medapp.imaging.volume import Volume
from medapp.rendering import lesion_charts, lesion_mesh


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


def test_without_a_lesion_or_a_volume_a_message_stands_in_the_figure():
    nothing = Volume(np.zeros((10, 10, 10), np.uint8), np.eye(4), labels={1: "lesion"})
    figure = lesion_mesh.plot_lesion_surfaces(nothing)
    assert [a.text for a in figure.layout.annotations] == [lesion_charts.NO_LESION] and not figure.data
    flat = lesion_mesh.plot_lesion_surfaces(Volume(np.ones((9, 9, 1), np.uint8), np.eye(4)))
    assert "single slice" in flat.layout.annotations[0].text


def test_a_head_too_thin_for_a_surface_is_left_out():
    noise = np.random.default_rng(0).normal(100, 9, (40, 36, 3)).astype(np.float32)
    assert lesion_mesh.make_head_surface(Volume(noise, np.diag([-0.8, -0.8, 3, 1]))) is None
