"""Input checks: each refuses what its method cannot use, in a sentence that names the image once."""

import numpy as np
import pytest

from medapp.algorithms.input_checks import (
    refuse_modality,
    require_contrast,
    require_grey,
    require_head,
    require_mr,
    require_overlap,
    require_pixels,
)
from medapp.errors import InputError
from medapp.imaging.volume import Volume


def scan(shape=(20, 20, 20), affine=None, **more) -> Volume:
    array = np.random.default_rng(0).uniform(0, 100, shape).astype(np.float32)
    return Volume(array, np.eye(4) if affine is None else affine, name=more.pop("name", "FLAIR"), **more)


def test_an_mr_scan_of_a_head_passes():
    head = scan()
    for check in (require_grey, require_mr, require_head, require_contrast, require_pixels):
        check(head)
    require_overlap(head, head)


@pytest.mark.parametrize(
    ("check", "image", "word"),
    [
        (require_grey, Volume(np.zeros((8, 8, 8, 3), np.uint8), np.eye(4)), "colour"),
        (require_mr, scan(unit="HU"), "CT"),
        (require_mr, scan(unit="Bq/ml"), "PET"),
        (require_mr, scan(affine=np.diag([1e-3, 1e-3, 1e-3, 1])), "unit of length"),
        (require_head, scan((20, 20, 3)), "at least 8"),
        (require_contrast, scan().new_like(np.ones((20, 20, 20))), "empty"),
        (require_pixels, scan((5, 20, 1)), "at least 8"),
    ],
)
def test_anything_else_is_refused(check, image, word):
    with pytest.raises(InputError, match=word):
        check(image)


def test_images_of_different_places_are_refused():
    away = scan(affine=np.array([[1.0, 0, 0, 500], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]), name="T1")
    with pytest.raises(InputError, match="T1 image covers only 0%"):
        require_overlap(away, scan())


@pytest.mark.parametrize("name", ["FLAIR", "Fixed image"])
def test_the_word_image_stands_once_beside_the_name(name):
    with pytest.raises(InputError) as caught:
        refuse_modality(scan(unit="HU", name=name), {"CT"}, "MRI")
    assert str(caught.value).lower().count("image") == 1 and "MRI" in str(caught.value)
