"""The scene: files that say what the volumes say, and one label map for all masks."""

import nibabel as nib
import numpy as np
import pytest
from nibabel.affines import apply_affine

from medapp.imaging.volume import Grid, Volume
from medapp.rendering.layers import Layer
from medapp.ui.viewer import volume_files
from medapp.ui.viewer.scene import build_scene

OBLIQUE = np.array([[-1.9, 0.3, 0.1, 40], [0.2, 2.0, -0.9, -50], [0.3, 0.4, 2.8, -20], [0, 0, 0, 1.0]])


@pytest.fixture
def image() -> Volume:
    values = np.random.default_rng(0).integers(0, 900, (20, 24, 16)).astype(np.int16)
    return Volume(values, OBLIQUE, name="T1")


def test_values_and_place_survive(image, tmp_path):
    chance = image.new_like(np.linspace(0, 1, image.array.size, dtype=np.float32).reshape(image.shape))
    shown = build_scene({"T1": Layer(image), "Probability": Layer(chance, "heat", opacity=0.0)}, tmp_path, mm=(1, 2, 3))
    read = nib.load(shown.image.file.path)
    np.testing.assert_array_equal(read.get_fdata(), image.array)
    np.testing.assert_allclose(read.affine, OBLIQUE, atol=1e-5)
    assert read.get_data_dtype() == np.int16
    assert shown.image.file.orig_name.endswith(".nii.gz")
    np.testing.assert_allclose(nib.load(shown.heats[0].file.path).get_fdata(), chance.array, atol=2e-5)
    assert shown.crosshair == [1, 2, 3] and shown.regions is None and shown.heats[0].opacity == 0


def test_far_outliers_do_not_coarsen_the_rest(image, tmp_path):
    values = np.random.default_rng(1).random(image.shape).astype(np.float32)
    values[0, 0, 0] = 1e6
    shown = build_scene({"PET": Layer(image.new_like(values))}, tmp_path)
    np.testing.assert_allclose(nib.load(shown.image.file.path).get_fdata(), values, rtol=1e-6)


def test_what_is_unchanged_keeps_its_file(image, tmp_path):
    mask = image.new_like((image.array > 800).astype(np.uint8), labels={1: "lesion"})
    other = image.new_like((image.array > 700).astype(np.uint8), labels={1: "lesion"})
    first, second = (build_scene({"T1": Layer(image), "Mask": Layer(m, "mask")}, tmp_path) for m in (mask, other))
    assert first.image.file.path == second.image.file.path
    assert first.regions.file.path != second.regions.file.path
    assert len(list(tmp_path.iterdir())) == 3


def test_overlaps_have_their_own_number(image, tmp_path):
    one, two = np.zeros(image.shape, np.uint8), np.zeros(image.shape, np.uint8)
    one[2:8], two[5:12] = 1, 4
    layers = {
        "T1": Layer(image),
        "Ours": Layer(image.new_like(one, labels={1: "lesion"}), "mask", contour=2, opacity=0.9),
        "Theirs": Layer(image.new_like(two, labels={2: "core", 4: "oedema"}), "mask", colour=(1, 2, 3)),
    }
    regions = build_scene(layers, tmp_path).regions
    assert [(r.name, r.is_present) for r in regions.regions] == [
        ("Ours", True), ("Theirs: core", False), ("Theirs: oedema", True),
    ]  # fmt: skip
    assert regions.regions[2].colour == "#010203"
    codes = np.asarray(nib.load(regions.file.path).dataobj)
    assert codes.dtype == np.uint8
    members = [[], *regions.members]
    assert [members[codes[i, 0, 0]] for i in (0, 3, 6, 10)] == [[], [0], [0, 2], [2]]


def test_a_mask_on_another_grid_lies_in_the_same_place(image, tmp_path):
    grid = Grid((60, 60, 60), np.diag([2.0, 2, 2, 1]) + np.array([[0, 0, 0, -60]] * 3 + [[0] * 4]))
    centre = image.grid.to_mm(np.array([10, 12, 8]))
    index = np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), -1)
    mask = np.linalg.norm(grid.to_mm(index) - centre, axis=-1) < 9
    shown = build_scene({"T1": Layer(image), "Mask": Layer(Volume(mask, grid.affine), "mask")}, tmp_path)
    codes = np.asarray(nib.load(shown.regions.file.path).dataobj)
    assert codes.shape == image.shape
    np.testing.assert_allclose(apply_affine(OBLIQUE, np.argwhere(codes).mean(axis=0)), centre, atol=0.5)


def test_many_labels_are_cut_to_what_eight_bits_hold(image, tmp_path):
    values = np.arange(image.array.size).reshape(image.shape) % 600
    atlas = image.new_like(values, labels={1: "one"})
    shown = build_scene({"T1": Layer(image), "Atlas": Layer(atlas, "mask")}, tmp_path)
    assert len(shown.regions.members) == 255


def test_ct_begins_with_its_window_and_has_the_usual_ones(image, tmp_path):
    ct = image.new_like(image.array - 500, unit="HU")
    presets = build_scene({"CT": Layer(ct)}, tmp_path).image.presets
    assert {"Brain", "Bone", "Lung", "Soft tissue", "Full range"} <= {p.name for p in presets}
    assert presets[0].name == "Soft tissue"


def test_a_large_image_is_shown_coarser_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(volume_files, "MAX_SIDE", 32)
    image = Volume(np.random.default_rng(0).random((50, 40, 10)).astype(np.float32), np.diag([1.0, 1, 3, 1]))
    shown = build_scene({"CT": Layer(image)}, tmp_path).image
    small = nib.load(shown.file.path)
    assert max(small.shape) <= 32 and small.shape[2] == 10
    np.testing.assert_allclose(np.array(small.shape) * small.header.get_zooms(), (50, 40, 30), rtol=0.05)
    assert "Shown at" in shown.remark
