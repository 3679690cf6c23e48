"""Borders and colours of a region map over a picture."""

import numpy as np

from medapp.imaging.geometry import to_display_slices
from medapp.imaging.volume import Volume
from medapp.rendering import region_overlay

LABELS = np.repeat(np.repeat(np.array([[1, 2], [1, 3]]), 5, axis=0), 5, axis=1)


def test_borders_lie_where_the_label_changes():
    borders = region_overlay.find_borders(LABELS)
    assert borders[:, 4].all() and borders[4, 5:].all() and not borders[4, :4].any()
    regions = Volume(LABELS[..., None], np.eye(4))
    mask = region_overlay.make_border_mask(regions)
    upright = to_display_slices(regions.array, regions.grid)[0]
    np.testing.assert_array_equal(to_display_slices(mask.array, mask.grid)[0], region_overlay.find_borders(upright))
    assert len(mask.labels) == 1


def test_picked_regions_stand_out_and_the_map_may_be_coarser_than_the_picture():
    picture = np.full((20, 20, 3), 60, np.uint8)
    plain = region_overlay.draw_borders(picture, LABELS)
    picked = region_overlay.draw_borders(picture, LABELS, picked=(2,))
    changed = (plain != picked).any(axis=2)
    assert changed[2:7, 12:18].all() and not changed[:, :8].any()
    assert region_overlay.enlarge_with_borders(LABELS, picture[:10, :10], 3).shape == (30, 30, 3)
