"""CT is told from MR by header, unit or values, and an MR image far below zero is not taken for it."""

import numpy as np
import pydicom
import pytest
from phantoms import ct_body, mr_head

from medapp.algorithms.input_checks import refuse_modality
from medapp.errors import InputError
from medapp.imaging.modality import detect_modality
from medapp.imaging.volume import Volume


def test_headers_and_units_come_first():
    header = pydicom.Dataset()
    header.Modality = "MR"
    assert detect_modality(Volume(ct_body(), np.eye(4), headers=(header,))) == "MR"
    assert detect_modality(Volume(mr_head(), np.eye(4), unit="HU")) == "CT"
    assert detect_modality(Volume(mr_head(), np.eye(4), unit="Bq/ml")) == "PET"
    assert detect_modality(Volume(ct_body(), np.eye(4))) == "CT" and detect_modality(Volume(mr_head(), np.eye(4))) == ""


def test_the_wrong_modality_is_refused():
    with pytest.raises(InputError, match=r"looks like CT.*needs MRI"):
        refuse_modality(Volume(ct_body(), np.eye(4), name="FLAIR"), {"CT", "PET"}, "MRI")
    refuse_modality(Volume(mr_head(), np.eye(4)), {"CT", "PET"}, "MRI")
