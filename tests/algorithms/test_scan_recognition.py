"""Recognition of scans: sequences of synthetic heads, whatever the grid; bodies and blobs are no heads."""

import numpy as np
import pytest
from nibabel.affines import from_matvec
from scipy.spatial.transform import Rotation

from medapp import examples
from medapp.algorithms.scan_recognition import (
    KINDS,
    NO_HEAD,
    Evidence,
    Recognition,
    frame_head,
    name_kinds,
    recognize_scan,
    reduce_scan,
)
from medapp.imaging.geometry import reorient, resample
from medapp.imaging.scan_kinds import FLAIR, T1, T1_CONTRAST
from medapp.imaging.volume import Grid, Volume
from medapp.io import files
from medapp.serving.input_fit import load_classifier

CASES = {example.name: example for example in examples.every()}


def recognized(volume: Volume) -> Recognition:
    return recognize_scan(load_classifier(), volume)


@pytest.fixture(scope="module")
def flair() -> Volume:
    return files.read([CASES["flair_frontal"].images["flair"]])


def turned(volume: Volume) -> Volume:
    rotation = Rotation.from_euler("xyz", (15, -8, 10), degrees=True).as_matrix()
    middle = volume.grid.to_mm((np.array(volume.shape) - 1) / 2)
    grid = Grid(volume.shape, from_matvec(rotation, middle - rotation @ middle) @ volume.affine)
    return resample(volume, grid)


def test_probabilities_become_a_name_two_names_or_none():
    def name(oddness=1.0, **shares):
        probabilities = np.array([shares.get(kind.replace(" ", "_"), 0.0) for kind in KINDS])
        return name_kinds(Evidence(probabilities, oddness), 0.9).kinds

    assert name(FLAIR=0.95, T1=0.05) == (FLAIR,)
    assert name(T1=0.5, T1_with_contrast=0.45) == (T1, T1_CONTRAST)
    assert name(FLAIR=0.6, T1=0.4) == () == name(oddness=9.0, FLAIR=1.0)
    assert name(oddness=9.0, no_head=1.0) == (NO_HEAD,)


def test_a_scan_is_reduced_where_it_lies():
    """Whatever its axes: the middle of a ball stays in place."""
    mm = np.stack(np.meshgrid(*(np.arange(n) for n in (60, 80, 30)), indexing="ij"), -1) * (2.0, 1.0, 3.0)
    ball = np.exp(-(((mm - (50, 45, 40)) ** 2).sum(-1)) / 400).astype(np.float32)
    volume = Volume(ball, np.diag([2.0, 1.0, 3.0, 1.0]))
    for stored in (volume, resample(volume, reorient(volume.grid, "LSP"))):
        small = reduce_scan(stored)
        assert np.allclose(small.spacing, 4) and small.axis_codes == "RAS"
        indices = np.argwhere(small.array > 0.3)
        weights = small.array[small.array > 0.3]
        assert np.allclose(small.grid.to_mm(np.average(indices, axis=0, weights=weights)), (50, 45, 40), atol=0.5)


def test_the_frame_holds_the_top_of_the_head():
    array = np.zeros((60, 70, 80), np.float32)
    array[20:40, 20:50, 5:60] = 100
    frame, head = frame_head(array)
    assert head.sum() == (frame > 0.5).sum()
    assert frame.max() == 1 and np.flatnonzero(frame.any((0, 1)))[-1] == frame.shape[2] - 5
    assert np.allclose(np.argwhere(frame > 0.5)[:, 0].mean(), frame.shape[0] / 2, atol=1)


def test_a_grid_does_not_change_what_is_recognised(flair):
    assert recognized(flair).kinds == (FLAIR,)
    others = {
        "oblique": turned(flair),
        "other axes": resample(flair, reorient(flair.grid, "PIL")),
        "scaled": flair.new_like(flair.array * 7.5 + 3),
        "whole numbers": flair.new_like(np.rint(flair.array).astype(np.int16)),
    }
    assert {name: recognized(volume).kinds for name, volume in others.items()} == dict.fromkeys(others, (FLAIR,))


@pytest.mark.parametrize(("example", "role", "kinds"), [("raw_heads", "fixed", {T1, T1_CONTRAST})])
def test_synthetic_heads(example, role, kinds):
    assert set(recognized(files.read([CASES[example].images[role]])).kinds) & kinds


@pytest.mark.parametrize("seed", range(4))
def test_noise_and_blobs_are_no_mr_of_a_head(seed):
    noise = np.random.default_rng(seed).normal(size=(40, 40, 40)).astype(np.float32)
    ball = (np.linalg.norm(np.indices((40, 40, 40)) - 20, axis=0) < 12 + seed) * (5 + noise)
    for array in (noise, ball):
        assert not set(recognized(Volume(array, np.diag([4.0, 4.0, 4.0, 1.0]))).kinds) & {FLAIR, T1, T1_CONTRAST}


def test_nothing_is_said_of_a_few_slices_of_colour_and_of_what_is_immense():
    array = np.random.default_rng(0).uniform(size=(30, 30, 30)).astype(np.float32)
    for volume in (
        Volume(array[:, :, :3], np.eye(4)),
        Volume((array[..., None] * ([255] * 3)).astype(np.uint8), np.eye(4)),
        Volume(array, np.diag([90.0, 90.0, 90.0, 1.0])),
        Volume(np.ones((30, 30, 30)), np.eye(4)),
    ):
        assert recognized(volume).kinds == ()
