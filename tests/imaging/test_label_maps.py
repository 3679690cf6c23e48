"""Masks and label maps are told from images by their values."""

import numpy as np
import pytest

from medapp.imaging.label_maps import is_label_map

INDEX = np.indices((40, 40, 40)).sum(0)
NOISE = np.random.default_rng(0)


@pytest.mark.parametrize(
    "labels", [INDEX > 60, (INDEX > 60).astype(np.float32), INDEX // 4 % 40, np.zeros((9, 9, 9), np.uint8)]
)
def test_labels(labels):
    assert is_label_map(labels)


@pytest.mark.parametrize(
    "image",
    [
        NOISE.integers(0, 255, (40, 40, 40)).astype(np.uint8),
        NOISE.uniform(0, 1, (40, 40, 40)).astype(np.float32),
        (INDEX * 10 + NOISE.normal(0, 20, INDEX.shape)).astype(np.int16),
    ],
)
def test_images(image):
    assert not is_label_map(image)
