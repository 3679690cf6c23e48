"""Borders and colours of a region map over a picture."""

import numpy as np

from medapp.rendering import region_overlay

LABELS = np.repeat(np.repeat(np.array([[1, 2], [1, 3]]), 5, axis=0), 5, axis=1)


def test_borders_lie_where_the_label_changes():
    borders = region_overlay.find_borders(LABELS)
    assert borders[:, 4].all() and borders[4, 5:].all() and not borders[4, :4].any()


def test_picked_regions_stand_out_and_the_map_may_be_coarser_than_the_picture():
    picture = np.full((20, 20, 3), 60, np.uint8)
    plain = region_overlay.draw_borders(picture, LABELS)
    picked = region_overlay.draw_borders(picture, LABELS, picked=(2,))
    changed = (plain != picked).any(axis=2)
    assert changed[2:7, 12:18].all() and not changed[:, :8].any()
