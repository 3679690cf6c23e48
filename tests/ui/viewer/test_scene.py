"""The scene: files that say what the volumes say, and one label map for all masks."""

import gzip
import struct

import nibabel as nib
import numpy as np
import pytest
from nibabel.affines import apply_affine

from medapp.imaging.deformation import Deformation
from medapp.imaging.volume import Grid, Volume
from medapp.rendering.colour import Window
from medapp.rendering.layers import Layer
from medapp.rendering.view import LiveMask, Surface, Tile, View, Warp
from medapp.ui.viewer import volume_files
from medapp.ui.viewer.scene import build_scene
from medapp.ui.viewer.texture_files import turn_to_ras

OBLIQUE = np.array([[-1.9, 0.3, 0.1, 40], [0.2, 2.0, -0.9, -50], [0.3, 0.4, 2.8, -20], [0, 0, 0, 1.0]])


@pytest.fixture
def image() -> Volume:
    values = np.random.default_rng(0).integers(0, 900, (20, 24, 16)).astype(np.int16)
    return Volume(values, OBLIQUE, name="T1")


def read(texture) -> np.ndarray:
    """(X, Y, Z, C) in RAS order."""
    with gzip.open(texture.file.path) as file:
        content = np.frombuffer(file.read(), np.uint8)
    x, y, z = texture.shape
    return content.reshape(z, y, x, texture.channels).transpose(2, 1, 0, 3)


def codes_of(regions) -> np.ndarray:
    """The label map in the order of the image's voxels, whose first axis runs to the left."""
    return read(regions.texture)[::-1, ..., 0]


def test_values_and_place_survive(image, tmp_path):
    chance = image.new_like(np.linspace(0, 1, image.array.size, dtype=np.float32).reshape(image.shape))
    view = View({"T1": Layer(image), "Probability": Layer(chance, "heat", opacity=0.0)})
    shown = build_scene(view, tmp_path, mm=(1, 2, 3), key="method", title="T1")
    nifti = nib.load(shown.image.file.path)
    np.testing.assert_array_equal(nifti.get_fdata(), image.array)
    np.testing.assert_allclose(nifti.affine, OBLIQUE, atol=1e-5)
    assert nifti.get_data_dtype() == np.int16
    assert shown.image.file.orig_name.endswith(".nii.gz")
    values = read(shown.maps[0].texture)[..., 0] / 255
    np.testing.assert_allclose(values, turn_to_ras(chance.array, OBLIQUE), atol=0.002)
    assert (shown.maps[0].low, shown.maps[0].high, shown.maps[0].signed) == (0, 1, False)
    assert shown.crosshair == [1, 2, 3] and shown.regions is None and shown.map == ""


def test_far_outliers_do_not_coarsen_the_rest(image, tmp_path):
    values = np.random.default_rng(1).random(image.shape).astype(np.float32)
    values[0, 0, 0] = 1e6
    shown = build_scene(View({"PET": Layer(image.new_like(values))}), tmp_path)
    np.testing.assert_allclose(nib.load(shown.image.file.path).get_fdata(), values, rtol=1e-6)


def test_what_is_unchanged_keeps_its_file(image, tmp_path):
    mask = image.new_like((image.array > 800).astype(np.uint8), labels={1: "lesion"})
    other = image.new_like((image.array > 700).astype(np.uint8), labels={1: "lesion"})
    views = (View({"T1": Layer(image), "Mask": Layer(m, "mask")}) for m in (mask, other))
    first, second = (build_scene(view, tmp_path) for view in views)
    assert first.image.file.path == second.image.file.path
    assert first.regions.texture.file.path != second.regions.texture.file.path
    assert len(list(tmp_path.iterdir())) == 3


def test_overlaps_have_their_own_number(image, tmp_path):
    one, two = np.zeros(image.shape, np.uint8), np.zeros(image.shape, np.uint8)
    one[2:8], two[5:12] = 1, 4
    layers = {
        "T1": Layer(image),
        "Ours": Layer(image.new_like(one, labels={1: "lesion"}), "mask", contour=2, opacity=0.9),
        "Theirs": Layer(image.new_like(two, labels={2: "core", 4: "oedema"}), "mask", colour=(1, 2, 3)),
    }
    probability = image.new_like(np.full(image.shape, 0.6, np.float32))
    live = LiveMask("Theirs", {"Network": probability}, {"threshold": 0.5})
    scene = build_scene(View(layers, live=live), tmp_path)
    regions = scene.regions
    assert scene.live.regions == [1, 2] and (read(scene.live.texture) == 153).all()
    assert [(r.name, r.is_present) for r in regions.regions] == [
        ("Ours", True), ("Theirs: core", False), ("Theirs: oedema", True),
    ]  # fmt: skip
    assert regions.regions[2].colour == "#010203"
    codes = codes_of(regions)
    members = [[], *regions.members]
    assert [members[codes[i, 0, 0]] for i in (0, 3, 6, 10)] == [[], [0], [0, 2], [2]]


def test_a_mask_on_another_grid_lies_in_the_same_place(image, tmp_path):
    grid = Grid((60, 60, 60), np.diag([2.0, 2, 2, 1]) + np.array([[0, 0, 0, -60]] * 3 + [[0] * 4]))
    centre = image.grid.to_mm(np.array([10, 12, 8]))
    index = np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), -1)
    mask = np.linalg.norm(grid.to_mm(index) - centre, axis=-1) < 9
    view = View({"T1": Layer(image), "Mask": Layer(Volume(mask, grid.affine), "mask")})
    codes = codes_of(build_scene(view, tmp_path).regions)
    assert codes.shape == image.shape
    np.testing.assert_allclose(apply_affine(OBLIQUE, np.argwhere(codes).mean(axis=0)), centre, atol=0.5)


def test_many_labels_are_cut_to_what_eight_bits_hold(image, tmp_path):
    values = np.arange(image.array.size).reshape(image.shape) % 600
    atlas = image.new_like(values, labels={1: "one"})
    shown = build_scene(View({"T1": Layer(image), "Atlas": Layer(atlas, "mask")}), tmp_path)
    assert len(shown.regions.members) == 255


def test_ct_begins_with_its_window_and_has_the_usual_ones(image, tmp_path):
    ct = image.new_like(image.array - 500, unit="HU")
    presets = build_scene(View({"CT": Layer(ct)}), tmp_path).image.presets
    assert {"Brain", "Bone", "Lung", "Soft tissue", "Full range"} <= {p.name for p in presets}
    assert presets[0].name == "Soft tissue"


def test_a_large_image_is_shown_coarser_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(volume_files, "MAX_SIDE", 32)
    image = Volume(np.random.default_rng(0).random((50, 40, 10)).astype(np.float32), np.diag([1.0, 1, 3, 1]))
    shown = build_scene(View({"CT": Layer(image)}), tmp_path).image
    small = nib.load(shown.file.path)
    assert max(small.shape) <= 32 and small.shape[2] == 10
    np.testing.assert_allclose(np.array(small.shape) * small.header.get_zooms(), (50, 40, 30), rtol=0.05)
    assert "Shown at" in shown.remark


def test_several_probabilities_are_channels_of_one_texture(image, tmp_path):
    chances = [np.full(image.shape, p, np.float32) for p in (0.2, 0.4, 1.0)]
    live = LiveMask(
        "Lesion",
        {f"Network {n}": image.new_like(p) for n, p in enumerate(chances)},
        {"threshold": 0.5, "fusion": "mean", "a": True},
        switches=("a", "b", "c"),
        colours=((255, 0, 0), (0, 255, 0), (0, 0, 255)),
    )
    mask = image.new_like((image.array > 700).astype(np.uint8), labels={1: "lesion"})
    scene = build_scene(View({"T1": Layer(image), "Lesion": Layer(mask, "mask")}, live=live), tmp_path)
    assert read(scene.live.texture)[3, 4, 5].tolist() == [51, 102, 255]
    assert scene.live.names == ["Network 0", "Network 1", "Network 2"] and scene.live.colours[1] == "#00ff00"
    assert scene.live.voxel_ml == pytest.approx(image.grid.voxel_ml) and scene.live.regions == [0]


def test_a_deformation_is_halved_and_keeps_its_millimetres(image, tmp_path):
    i, j, k = np.indices((21, 24, 15)).astype(np.float32)
    field = Deformation(np.stack([i / 4 - 2, j / 10, -k / 5]), OBLIQUE)
    warp = Warp("Moving", field, mask=i > 10)
    view = View({"Fixed": Layer(image), "Moving": Layer(image, opacity=0.0)}, warp=warp, compared="Moving")
    shown = build_scene(view, tmp_path).warp
    assert shown.texture.shape == [11, 12, 8] and shown.texture.channels == 4 and shown.image == "Moving"
    np.testing.assert_allclose(shown.texture.scale, [21 / 22, 1, 15 / 16])
    mm = (read(shown.texture)[..., :3].astype(float) - 128) / 127 * shown.peak
    expected = turn_to_ras(np.moveaxis(field.vectors, 0, -1), OBLIQUE)
    blocks = sum(expected[a:20:2, b:24:2, c:14:2] for a, b, c in np.ndindex(2, 2, 2)) / 8
    np.testing.assert_allclose(mm[:10, :, :7], blocks, atol=shown.peak / 127)
    logs = (read(shown.texture)[..., 3].astype(float) - 128) / 127 * shown.log_peak
    determinant = np.linalg.det(np.eye(3) + np.diag([0.25, 0.1, -0.2]) @ np.linalg.inv(OBLIQUE[:3, :3]))
    np.testing.assert_allclose(logs, np.log(determinant), atol=0.01)
    assert read(shown.mask)[[0, -1], 5, 5, 0].tolist() == [255, 0]


def test_a_signed_map_is_transparent_where_nothing_changed(image, tmp_path):
    change = np.zeros(image.shape, np.float32)
    change[:5], change[5:9] = 3.0, -3.0
    layer = Layer(image.new_like(change, unit="HU"), "heat", Window(-4, 4))
    shown = build_scene(View({"CT": Layer(image), "Difference": layer}), tmp_path).maps[0]
    values = read(shown.texture)[::-1, 0, 0, 0]
    assert shown.signed and shown.unit == "HU" and values[[0, 6, 15]].tolist() == [223, 32, 128]


def test_the_brain_is_cut_out_of_the_image(image, tmp_path):
    inside = np.zeros(image.shape, np.uint8)
    inside[5:15, 6:18, 4:12] = 1
    view = View({"T1": Layer(image, window=Window(0, 900))}, brain=image.new_like(inside, labels={1: "brain"}))
    cut = nib.load(build_scene(view, tmp_path).brain.path)
    np.testing.assert_allclose(np.asarray(cut.dataobj), np.rint(image.array / 900 * 255) * inside, atol=1)


def test_a_surface_is_read_back(image, tmp_path):
    vertices = np.array([[0, 0, 0], [9, 0, 0], [0, 9, 0], [0, 0, 9]], np.float32)
    faces = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])
    surface = Surface("Moved", vertices, faces, values=np.array([0, 2, 4, 9.0]), window=Window(0, 4), unit="mm")
    scene = build_scene(View({"T1": Layer(image)}, surfaces=[surface]), tmp_path)
    with gzip.open(scene.surfaces[0].file.path) as file:
        content = file.read()
    magic, attributes, n_faces, n_vertices, skip = struct.unpack_from("<HHIII", content)
    assert (magic, attributes, n_faces, n_vertices, skip) == (0x5A4D, 7, 4, 4, 0)
    read_faces = np.frombuffer(content, "<i4", 12, 16).reshape(4, 3)
    read_vertices = np.frombuffer(content, "<f4", 12, 64).reshape(4, 3)
    colours = np.frombuffer(content, np.uint8, 16, 112).reshape(4, 4)
    np.testing.assert_array_equal(read_faces, faces)
    np.testing.assert_array_equal(read_vertices, vertices)
    assert colours[2].tolist() == colours[3].tolist() == [*scene.surfaces[0].ramp[-1], 255]
    assert (scene.surfaces[0].low, scene.surfaces[0].high, scene.surfaces[0].unit) == (0, 4, "mm")


def test_tiles_are_sent_with_their_captions(image, tmp_path):
    tiles = [Tile("axial", (0, 0, 0.5, 1), "T1"), Tile("coronal", (0.5, 0, 0.5, 1), "T1", 0.0, "Moving")]
    view = View({"T1": Layer(image)}, arrangements={"Beside": tiles}, arrangement="Beside")
    sent = build_scene(view, tmp_path).arrangements["Beside"]
    assert [(t.plane, t.warp, t.caption) for t in sent] == [("axial", None, "T1"), ("coronal", 0.0, "Moving")]
