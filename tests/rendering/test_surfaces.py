"""Surfaces of masks whose volumes and positions are known."""

import numpy as np
import pytest
from ball_masks import AFFINES, ball

from medapp.imaging.volume import Volume
from medapp.rendering.surfaces import make_surface, sample_values


def enclosed(surface) -> float:
    """The volume within the triangles in mm³; negative if they face inwards."""
    a, b, c = surface.vertices.astype(float)[surface.faces.T]
    return float(np.einsum("ij,ij->", a, np.cross(b, c)) / 6)


@pytest.mark.parametrize("name", AFFINES)
def test_the_surface_lies_on_the_mask_and_faces_outwards(name):
    mask, centre = ball(AFFINES[name])
    surface = make_surface(mask, "Lesions")
    distance = np.linalg.norm(surface.vertices - centre, axis=1)
    assert distance.min() > 10 and distance.max() < 14
    assert enclosed(surface) == pytest.approx(float(mask.array.sum()) * mask.grid.voxel_ml * 1000, rel=0.1)


def test_each_label_has_its_colour_and_a_single_voxel_is_not_lost():
    array = np.zeros((40, 40, 40), np.uint8)
    array[5, 5, 5], array[10:20, 10:20, 10:20], array[25:27, 25:27, 25:27] = 3, 1, 1
    surface = make_surface(Volume(array, np.eye(4), labels={1: "old", 3: "new"}), "Lesions", {3: (1, 2, 3)})
    new = (surface.colour == (1, 2, 3)).all(axis=1)
    np.testing.assert_allclose(surface.vertices[new].mean(axis=0), (5, 5, 5), atol=0.3)
    assert 0 < new.sum() < len(new) and surface.vertices[~new].max() > 24


def test_thick_slices_are_curved_between():
    i, j, k = np.ogrid[-20:20, -20:20, -6:6]
    mask = Volume((i**2 + j**2 + (5 * k) ** 2 < 15**2).astype(np.uint8), np.diag([1.0, 1, 5, 1]))
    surface = make_surface(mask, "Lesion")
    heights = np.unique(np.rint(2 * surface.vertices[:, 2]))
    assert len(heights) > 20, "not only those of the slices"
    assert enclosed(surface) == pytest.approx(float(mask.array.sum()) * 5, rel=0.2)


def test_a_large_mask_has_few_triangles_and_nothing_has_no_surface():
    i, j, k = np.ogrid[-90:90, -100:100, -80:80]
    brain = Volume(((i / 80) ** 2 + (j / 90) ** 2 + (k / 70) ** 2 < 1).astype(np.uint8), np.eye(4))
    surface = make_surface(brain, "Brain", max_triangles=20_000)
    assert 5_000 < len(surface.faces) < 25_000
    assert make_surface(brain.new_like(brain.array * 0), "Nothing") is None
    assert make_surface(Volume(np.ones((9, 9, 1), np.uint8), np.eye(4)), "Flat") is None


def test_values_are_read_at_the_vertices():
    mask, _ = ball(AFFINES["oblique"])
    across = mask.grid.to_mm(np.indices(mask.shape).transpose(1, 2, 3, 0))[..., 0]
    surface = make_surface(mask, "Ball")
    values = sample_values(mask.new_like(across.astype(np.float32)), surface.vertices)
    np.testing.assert_allclose(values, surface.vertices[:, 0], atol=1e-2)
