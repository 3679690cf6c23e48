"""Values of a CT in Hounsfield units are recognised, those of an MR image are not."""

import numpy as np
import pytest
from phantoms import ct_body, mr_head

from medapp.imaging.hounsfield import is_hounsfield


def test_a_ct_is_recognised():
    assert (
        is_hounsfield(ct_body())
        and is_hounsfield(np.maximum(ct_body(), -1000))
        and is_hounsfield(ct_body().astype(np.int16))
    )
    padded = ct_body()
    padded[:6] = -2000
    assert is_hounsfield(padded)


@pytest.mark.parametrize(
    "array",
    [mr_head(), mr_head() - 1000, np.where(mr_head() > 100, mr_head(), -1000), mr_head() / 4 - 1000 * (mr_head() < 60)],
)
def test_an_mr_image_is_not_taken_for_ct(array):
    assert not is_hounsfield(array)
