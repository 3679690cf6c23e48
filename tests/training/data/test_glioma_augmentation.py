"""Slices with gliomas as other scanners, other tools and other hospitals give them."""

import numpy as np
import pytest
import torch

from medapp.imaging.intensity import STANDARD_RANGE, standardize
from training.data.glioma_augmentation import KNOTS, Draws, apply_curve, mix_sequences, strip_skulls
from training.data.glioma_patients import SIDE, change_scanner, standardize_patient
from training.data.glioma_slices import SliceBank


@pytest.fixture
def head():
    """Four slices of a brain of 100 in a skull of 200, a lesion of 160 in two; pre-contrast repeats FLAIR."""
    rows, columns = np.indices((SIDE, SIDE)) - SIDE // 2
    radius = np.hypot(rows, columns)
    flair = np.where(radius < 50, 100, np.where((radius > 60) & (radius < 66), 200, 0)).astype(np.float32)
    flair = flair * np.random.default_rng(0).uniform(0.9, 1.1, (4, SIDE, SIDE)).astype(np.float32)
    mask = np.zeros((4, SIDE, SIDE), bool)
    mask[:2, 80:100, 70:95] = True
    flair[mask] *= 1.6
    image = np.stack([flair, flair, 300 - flair], 1)
    return standardize_patient("TCGA_AB_1", image, mask), image


def test_a_stripped_patient_is_standardised_without_the_skull(head):
    patient, image = head
    expected = standardize(image[:, 1] * patient.brain)
    np.testing.assert_allclose(patient.stripped[:, 1], expected, atol=0.02)


def test_skulls_come_off_and_lesions_that_are_cut_off_are_none(head):
    patient, _ = head
    bank = SliceBank([patient] * 4)
    given = (bank.whole.float(), bank.brain[:, None].float(), bank.mask[:, None].float())
    draws = Draws(16, torch.Generator().manual_seed(0), torch.device("cpu"))
    image, brain, target = strip_skulls(*given, bank.bare_scale, draws)
    is_bare = (image != given[0]).flatten(1).any(1)
    assert 0 < is_bare.sum() < 16
    air = bank.bare_scale[:, 1, 2]
    for k in torch.flatten(torch.nonzero(is_bare)).tolist():
        assert (image[k, 1][brain[k, 0] == 0] == air[k]).all() and not target[k][brain[k] == 0].any()


def test_a_repeated_sequence_stays_a_copy_and_labels_stay_on_the_lesion(head):
    patient, _ = head
    bank, random = SliceBank([patient] * 4), torch.Generator().manual_seed(1)
    x, y = bank.draw(torch.arange(16), random, 96)
    assert x.shape == (16, 3, 96, 96) and y.shape == (16, 1, 96, 96) and x.isfinite().all()
    assert x.min() >= STANDARD_RANGE[0] and x.max() <= STANDARD_RANGE[1]
    assert torch.equal(x[:, 0], x[:, 1]) or (x[:, 0] != x[:, 1]).flatten(1).any(1).sum() < 4  # but for swapped ones
    seen = [k for k in range(16) if y[k].sum() > 50]
    brighter = [x[k, 1][y[k, 0] > 0].median() > x[k, 1][(y[k, 0] == 0) & (x[k, 1] > -1)].median() for k in seen]
    assert len(seen) > 2 and np.mean(brighter) > 0.7


def test_a_curve_rises_and_keeps_the_median_and_the_scale_of_tissue():
    random = torch.Generator().manual_seed(2)
    slopes = torch.exp(torch.randn(2, 3, len(KNOTS) - 1, generator=random))
    x = torch.linspace(*STANDARD_RANGE, 201).expand(2, 3, 1, 201)
    out = apply_curve(x, slopes)
    assert (out.diff(dim=-1) > 0).all() and out[..., 80].abs().max() < 1e-5
    ends = apply_curve(torch.tensor([-0.75, 0.75]).expand(2, 3, 1, 2), slopes)
    torch.testing.assert_close(ends[..., 1] - ends[..., 0], torch.full((2, 3, 1), 1.5))


def test_flair_takes_the_place_of_what_is_missing():
    draws = Draws(400, torch.Generator().manual_seed(3), torch.device("cpu"))
    image = torch.tensor([1.0, 2.0, 3.0]).view(1, 3, 1, 1).expand(400, 3, 1, 1)
    mixed = mix_sequences(image, torch.zeros(400, 3, 1, 1, dtype=torch.bool), draws)[:, :, 0, 0]
    kinds = {tuple(row) for row in mixed.tolist()}
    assert {(1, 2, 3), (2, 2, 2), (2, 2, 3), (1, 2, 2), (3, 2, 1)} <= kinds and (mixed[:, 1] == 2).all()


def test_another_scanner_changes_the_contrast_and_leaves_the_order():
    image = np.full((32, 32, 2, 3), 60, np.uint8)
    image[8:20, 8:20] = 120
    changed = change_scanner(image, np.random.default_rng(4))
    for channel in range(3):
        bright, dark = changed[10:18, 10:18, :, channel].mean(), changed[22:28, 10:18, :, channel].mean()
        assert bright > dark and abs(bright / dark - 2) > 0.2
