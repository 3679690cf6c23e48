"""CT is told from MR by header, unit or values, and an MR image far below zero is not taken for it."""

import numpy as np
import pydicom
import pytest

from medapp.algorithms.input_checks import refuse_modality
from medapp.errors import InputError
from medapp.imaging.modality import detect_modality, is_hounsfield
from medapp.imaging.volume import Volume


def ct() -> np.ndarray:
    """A body of soft tissue within fat, with a lung and bone, in air; HU with noise."""
    i, j, k = np.ogrid[:64, :64, :8]
    radius = np.hypot(i - 32, j - 32) + 0 * k
    hu = np.full((64, 64, 8), -1000.0)
    hu[radius < 26] = -100
    hu[radius < 22] = 40
    hu[np.hypot(i - 24, j - 32) + 0 * k < 6] = -850
    hu[np.hypot(i - 44, j - 32) + 0 * k < 4] = 700
    return (hu + 15 * np.random.default_rng(0).standard_normal(hu.shape)).astype(np.float32)


def mr() -> np.ndarray:
    """A head of three tissues in a dark background, from 0 to about 900."""
    i, j, k = np.ogrid[:64, :64, :8]
    radius = np.hypot(i - 32, j - 32) + 0 * k
    array = np.full((64, 64, 8), 5.0)
    array[radius < 26] = 250
    array[radius < 22] = 500
    array[radius < 12] = 800
    return np.abs(array + 30 * np.random.default_rng(0).standard_normal(array.shape)).astype(np.float32)


def test_values_of_a_ct_are_recognised():
    assert is_hounsfield(ct()) and is_hounsfield(np.maximum(ct(), -1000)) and is_hounsfield(ct().astype(np.int16))
    padded = ct()
    padded[:6] = -2000
    assert is_hounsfield(padded)


@pytest.mark.parametrize("array", [mr(), mr() - 1000, np.where(mr() > 100, mr(), -1000), mr() / 4 - 1000 * (mr() < 60)])
def test_an_mr_image_is_not_taken_for_ct(array):
    assert not is_hounsfield(array)


def test_headers_and_units_come_first():
    header = pydicom.Dataset()
    header.Modality = "MR"
    assert detect_modality(Volume(ct(), np.eye(4), headers=(header,))) == "MR"
    assert detect_modality(Volume(mr(), np.eye(4), unit="HU")) == "CT"
    assert detect_modality(Volume(mr(), np.eye(4), unit="Bq/ml")) == "PET"
    assert detect_modality(Volume(ct(), np.eye(4))) == "CT" and detect_modality(Volume(mr(), np.eye(4))) == ""


def test_the_wrong_kind_is_refused_in_words():
    with pytest.raises(InputError, match=r"looks like CT.*needs MRI"):
        refuse_modality(Volume(ct(), np.eye(4), name="FLAIR"), {"CT", "PET"}, "MRI")
    refuse_modality(Volume(mr(), np.eye(4)), {"CT", "PET"}, "MRI")
