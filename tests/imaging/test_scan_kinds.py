"""Names of series and files tell a sequence, where they tell one."""

import pytest

from medapp.imaging.scan_kinds import FLAIR, PD, T1, T1_CONTRAST, T2, find_sequence


@pytest.mark.parametrize(
    ("name", "sequence"),
    [
        ("sub-01_ses-2_FLAIR.nii.gz", FLAIR),
        ("t2_tirm_tra_dark-fluid_FLAIR", FLAIR),
        ("BraTS-GLI-00001-000-t2f.nii.gz", FLAIR),
        ("sub-01_T1w.nii.gz", T1),
        ("t1_mprage_sag_p2_iso", T1),
        ("BRAVO", T1),
        ("sub-01_ce-gadolinium_T1w.nii", T1_CONTRAST),
        ("t1ce", T1_CONTRAST),
        ("T1 pre contrast", T1),
        ("AX T1 POST GD", T1_CONTRAST),
        ("T2W_TSE", T2),
        ("pd_tse_tra", PD),
        ("T1 FLAIR", ""),  # a T1, whose name misleads
        ("pd+t2_tse", ""),
        ("patient2t1me.nii", ""),
        ("brain.nii.gz", ""),
    ],
)
def test_names(name, sequence):
    assert find_sequence(name) == sequence


def test_contrast_agent_in_the_header_makes_a_t1_enhanced():
    assert find_sequence("t1_vibe", enhanced=True) == T1_CONTRAST
    assert find_sequence("t2_tse", enhanced=True) == T2
