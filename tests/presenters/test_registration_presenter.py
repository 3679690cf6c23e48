"""What is shown of a registration: layers, pictures, figures, the report, the files; on a pair that is known."""

import re
import zipfile
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from nilearn.datasets import load_mni152_brain_mask, load_mni152_template
from scipy import ndimage

from medapp.analysis import field_discontinuity, mask_metrics
from medapp.imaging.brain_labels import CLASS_NAMES
from medapp.imaging.deformation import Deformation, folding_percent, sdlogj
from medapp.imaging.volume import Grid, Volume
from medapp.io import transforms
from medapp.presenters import PRESENTERS
from medapp.presenters.registration_maps import MAX_KEPT, get_maps
from medapp.presenters.report import render_report, save_with_report
from medapp.rendering.colour import apply_colour_map
from medapp.result import Metric, Provenance, Result, Table

presenter = PRESENTERS["registration"]

AFFINE = np.array([[0.99, -0.12, 0.04, 4], [0.12, 0.99, 0.03, -3], [-0.04, -0.03, 1.02, 2], [0, 0, 0, 1]])
COLUMNS = (
    "region", "volume (ml)", "mean displacement (mm)", "mean Jacobian", "Dice before", "Dice after",
    "voxel HD95 before (mm)", "voxel HD95 after (mm)", "jump at boundary (mm)",
)  # fmt: skip


def made(step: int = 2) -> Result:
    """The MNI152 template at `step` millimetres, and itself bent by a known field, turned and shifted, on its own grid.

    The regions are made up: blocks of the brain with names of the anatomy.
    """
    image = load_mni152_template(resolution=step)
    brain = np.asarray(load_mni152_brain_mask(resolution=step).dataobj) > 0
    fixed = Volume(np.float32(image.get_fdata()) * 800, image.affine, name="T1 of A")
    noise = np.random.default_rng(1).normal(size=(3, *fixed.shape)).astype(np.float32)
    field = np.stack([ndimage.gaussian_filter(n, 12 / step) for n in noise])
    field = Deformation(field * 8 / np.sqrt(np.square(field).sum(0))[brain].max(), fixed.affine)
    inverse, residual = field.invert()
    box = Grid((90, 112, 92), fixed.affine @ [[1.05, 0, 0, 1], [0, 1.05, 0, 1], [0, 0, 1.05, 0], [0, 0, 0, 1]])
    grid = box if step == 2 else fixed.grid
    back = Deformation.from_affine(np.linalg.inv(AFFINE), grid).compose(inverse)

    labels = fixed.new_like(_blocks(fixed, brain), labels={n: CLASS_NAMES[n] for n in range(1, 36)}, name="Regions")
    moving, moving_labels = (back.warp(v) for v in (fixed, labels))
    moving = moving.new_like(moving.array * 0.4 + 20 * (moving.array > 0), name="T1 of B")
    still = Deformation(np.zeros_like(field.vectors), fixed.affine)
    volumes = {"fixed": fixed, "moving": moving, "labels": labels, "moving_labels": moving_labels}
    for role, way in (("aligned", still), ("warped", field)):
        volumes[role] = way.warp(moving, AFFINE)
        volumes[f"{role}_labels"] = way.warp(moving_labels, AFFINE)
    for role, source in (("fixed_prepared", "fixed"), ("moving_prepared", "aligned")):
        volumes[role] = volumes[source].new_like(volumes[source].array / volumes[source].array.max() * brain)
    return _measured(volumes, field, inverse, residual, brain)


def _blocks(fixed: Volume, brain: np.ndarray) -> np.ndarray:
    mm = fixed.grid.to_mm(np.stack(np.indices(fixed.shape), axis=-1))
    block = (mm[..., 0] > 0) + 2 * np.digitize(mm[..., 1], (-60, -20, 25)) + 8 * (mm[..., 2] > 15)
    return np.where(brain, 1 + 2 * block, 0).astype(np.uint8)


def _measured(volumes, field, inverse, residual, brain) -> Result:
    labels, grid = volumes["labels"].array, volumes["labels"].grid
    determinant = field.jacobian_determinant()
    jumps, rows = field_discontinuity.average_jumps_by_region(field, labels), []
    for number in np.unique(labels[labels > 0]):
        here, masks = labels == number, [volumes[f"{r}_labels"].array == number for r in ("aligned", "warped")]
        rows.append((
            CLASS_NAMES[number], here.sum() * grid.voxel_ml, field.magnitude[here].mean(), determinant[here].mean(),
            *(mask_metrics.compute_dice(m, here) for m in masks),
            *(mask_metrics.compute_hd95(m, here, grid) for m in masks),
            jumps[number],
        ))  # fmt: skip
    rows = [(r[0], *(round(float(v), 3) for v in r[1:])) for r in rows]
    dice = np.array([row[4:6] for row in rows]).mean(axis=0)
    correlation = [
        np.corrcoef(volumes[r].array[brain], volumes["fixed"].array[brain])[0, 1] for r in ("aligned", "warped")
    ]
    metrics = {
        "dice_before": Metric(dice[0]), "dice": Metric(dice[1]),
        "ncc_before": Metric(correlation[0]), "ncc": Metric(correlation[1]),
        "displacement_mean": Metric(field.magnitude[brain].mean(), "mm"),
        "displacement_max": Metric(field.magnitude[brain].max(), "mm"),
        "folding": Metric(folding_percent(determinant, brain), "%"), "sdlogj": Metric(sdlogj(determinant, brain)),
        "inverse_residual": Metric(residual[brain].mean(), "mm"),
        "boundary_jump": Metric(float(np.mean(list(jumps.values()))), "mm"),
    }  # fmt: skip
    metrics = {name: Metric(round(float(m.value), 4), m.unit) for name, m in metrics.items()}
    return Result(
        volumes, field, inverse, AFFINE, metrics,
        {"regions": Table(COLUMNS, tuple(rows), field_discontinuity.BOUNDARY_JUMP_HELP)},
        settings={"refine": True}, provenance=Provenance("register_test", {"sha256": "ab" * 32}, "cpu"),
    )  # fmt: skip


@pytest.fixture(scope="module")
def result() -> Result:
    return made()


def bare(result: Result) -> Result:
    """The same without any regions."""
    volumes = {role: v for role, v in result.volumes.items() if not v.labels}
    metrics = {name: m for name, m in result.metrics.items() if not name.startswith("dice")}
    return replace(result, volumes=volumes, metrics=metrics, tables={})


def test_the_pair_is_what_it_is_said_to_be(result):
    value = {name: metric.value for name, metric in result.metrics.items()}
    assert value["dice_before"] < 0.93 < 0.96 < value["dice"] and value["ncc_before"] < 0.8 < 0.94 < value["ncc"]


@pytest.mark.parametrize("regions", [True, False])
def test_layers_share_one_window_and_the_maps_are_on_their_scales(result, regions):
    layers = presenter.layers(result if regions else bare(result))
    assert next(iter(layers)) == "Fixed" and ("Regions" in layers) == regions
    images = [layer for layer in layers.values() if layer.kind == "image"]
    assert len({layer.window for layer in images}) == 1
    head = result.volumes["labels"].array > 0
    if not regions:
        head &= layers["Log Jacobian"].volume.array != 0
        assert head.sum() > 0.97 * (result.volumes["labels"].array > 0).sum()
    fixed, aligned = (layer.volume.array[head] for layer in images)
    warped = get_maps(result if regions else bare(result)).warped.array[head]
    assert np.abs(warped - fixed).mean() < 0.7 * np.abs(aligned - fixed).mean(), "other units are no difference"
    log = layers["Log Jacobian"]
    assert log.window.low == -log.window.high
    determinant = result.deformation.jacobian_determinant()
    np.testing.assert_allclose(np.exp(log.volume.array[head]), determinant[head], rtol=1e-4)
    assert (log.volume.array[~head] == 0).mean() > 0.98, "beside the head nothing is painted"
    assert layers["Displacement"].volume.array[head].max() == pytest.approx(8, abs=0.01)
    assert presenter.layers(result)["Fixed"].volume is presenter.layers(result)["Fixed"].volume


def test_the_deformation_plays_on_the_moving_image_and_colours_the_brain(result):
    view = presenter.view(result)
    assert view.warp.caption == view.compared == "Moving, aligned" and view.comparison == "swipe"
    (surface,) = view.surfaces
    assert surface.unit == "mm" and 2_000 < len(surface.faces) < 70_000
    index = np.rint(result.deformation.grid.to_index(surface.vertices)).astype(int)
    near = result.deformation.magnitude[tuple(index.T)]
    assert np.abs(surface.values - near).mean() < 0.2
    shares = {(tile.shows, tile.warp) for tile in view.arrangements["Side by side"]}
    assert shares == {("Fixed", None), ("Moving, aligned", 1.0), ("Moving, aligned", 0.0)}


def test_what_is_drawn_is_made_once(result):
    assert get_maps(result).log_jacobian is get_maps(result).log_jacobian
    with pytest.raises(ValueError, match="without a deformation"):
        get_maps(replace(result, deformation=None))


@pytest.mark.parametrize("regions", [True, False])
def test_figures_draw(result, regions):
    figures = presenter.charts(result if regions else bare(result))
    assert tuple(figures) == presenter.chart_titles
    dice, distance, change = (draw() for draw in figures.values())
    assert len(dice.data) == len(distance.data) == 2 * regions and len(change.data) == 1
    assert sum(change.data[0].y) == pytest.approx(100, abs=0.01) and "folding 0 %" in change.layout.xaxis.title.text
    if regions:
        assert list(dice.data[1].x) == [row[5] for row in result.tables["regions"].rows]


def test_the_headline_says_what_was_gained(result):
    assert re.fullmatch(
        r"Dice 0\.\d{3} to 0\.\d{3}, displacement \d\.\d mm on average, \d\.\d at most, no folding",
        presenter.headline(result),
    )
    assert presenter.headline(bare(result)).startswith("Correlation 0.")
    assert presenter.headline(Result({})) == "Registered"


def test_a_row_leads_into_its_region(result):
    labels = result.volumes["labels"]
    for row in result.tables["regions"].rows:
        at = np.rint(labels.grid.to_index(presenter.locate(result, list(row)))).astype(int)
        assert labels.labels[int(labels.array[tuple(at)])] == row[0]
    np.testing.assert_allclose(presenter.locate(result, ["nowhere"]), presenter.start(result))


def test_another_image_is_carried_along_labels_as_labels(result):
    again = presenter.recompute(result, replace(result.volumes["moving_labels"], labels={}), {}).volumes["co_warped"]
    np.testing.assert_array_equal(again.array, result.volumes["warped_labels"].array)
    image = presenter.recompute(result, result.volumes["moving"], {}).volumes["co_warped"]
    np.testing.assert_allclose(image.array, result.volumes["warped"].array)
    assert "co_warped" not in presenter.recompute(presenter.recompute(result, image, {}), None, {}).volumes


def test_the_report_shows_the_images_the_grid_and_the_map(result):
    text = render_report(result, presenter, "Registration <by test>")
    assert text.count("<img") == 5
    for said in ("fixed.", "moving, warped.", "grid of the moving image", "green: folding", "dice, before"):
        assert said in text.lower(), said
    assert "<by test>" not in text and "Comparison with the reference" not in text


def test_the_files_move_points_as_the_result_does(result, tmp_path):
    written = {path.name for path in result.write_files(tmp_path, presenter.files).paths}
    assert written == {
        "warped.nii.gz", "labels.nii.gz", "warped_labels.nii.gz", "displacement.nii.gz", "inverse_displacement.nii.gz",
        "affine.tfm", "disp_learn2reg.npz", "regions.csv", "result.json",
    }  # fmt: skip
    field = sitk.DisplacementFieldTransform(
        sitk.Cast(sitk.ReadImage(str(tmp_path / "displacement.nii.gz")), sitk.sitkVectorFloat64)
    )
    both = sitk.CompositeTransform([sitk.ReadTransform(str(tmp_path / "affine.tfm")), field])
    points = presenter.start(result) + np.random.default_rng(0).uniform(-25, 25, (20, 3))
    wanted = (np.c_[result.deformation.transform_points(points), np.ones(20)] @ AFFINE.T)[:, :3]
    flip = np.array([-1, -1, 1])
    got = np.array([both.TransformPoint((p * flip).tolist()) for p in points]) * flip
    np.testing.assert_allclose(got, wanted, atol=0.01)
    there = transforms.read_displacement(tmp_path / "inverse_displacement.nii.gz").transform_points(
        result.deformation.transform_points(points)
    )
    np.testing.assert_allclose(there, points, atol=0.05)


def test_learn2reg_counts_voxels_from_fixed_to_moving(result, tmp_path):
    even = tuple(n - n % 2 for n in result.volumes["fixed"].shape)
    cut = Deformation(result.deformation.vectors[:, : even[0], : even[1], : even[2]], result.deformation.affine)
    replace(result, deformation=cut).write_files(tmp_path)
    read = transforms.read_learn2reg(tmp_path / "disp_learn2reg.npz", cut.grid)
    voxels = np.tensordot(np.linalg.inv(cut.affine[:3, :3]), read.vectors, 1)
    moving = result.volumes["moving"].array
    moved = ndimage.map_coordinates(moving, np.indices(even) + voxels, order=1)
    inside = (slice(20, -20),) * 3
    wanted = result.volumes["warped"].array[: even[0], : even[1], : even[2]]
    assert np.corrcoef(moved[inside].ravel(), wanted[inside].ravel())[0, 1] > 0.995


def test_a_result_without_a_deformation_writes_none(tmp_path):
    image = Volume(np.zeros((4, 4, 4), np.float32), np.eye(4))
    assert [path.name for path in Result({"warped": image}).write_files(tmp_path, ("warped",)).paths] == [
        "warped.nii.gz",
        "result.json",
    ]


def test_the_bundle_holds_what_was_made(result, tmp_path):
    with zipfile.ZipFile(save_with_report(result, presenter, tmp_path / "r", "Registration").archive) as archive:
        names = archive.namelist()
        assert (
            "register_test_displacement.nii.gz" in names
            and "a table of the result" not in archive.read("README.txt").decode()
        )
    assert nib.load(result.write_files(tmp_path, ("warped",)).paths[0]).shape == result.volumes["fixed"].shape


def test_pictures_are_kept_of_the_last_results_alone():
    volume = Volume(np.random.default_rng(0).random((8, 9, 7)).astype(np.float32), np.eye(4))
    field = Deformation(np.zeros((3, 8, 9, 7), np.float32), np.eye(4))
    results = [Result({"fixed": volume}, deformation=field) for _ in range(MAX_KEPT + 2)]
    seen = [get_maps(result) for result in results]
    assert get_maps(results[-1]) is seen[-1] and get_maps(results[-MAX_KEPT]) is seen[-MAX_KEPT]
    assert get_maps(results[0]) is not seen[0]
    assert get_maps(results[-MAX_KEPT + 1]) is not seen[-MAX_KEPT + 1], "asked for longest ago"


def test_the_log_jacobian_has_the_colours_of_its_legend(result):
    layer = presenter.layers(result)["Log Jacobian"]
    blue, black, orange = apply_colour_map(np.array([0.2, 0.5, 0.8]), layer.colour_map)
    assert blue[2] > 2 * blue[0] and orange[0] > 2 * orange[2] and black.max() < 10


def test_the_headline_tells_what_other_words_move():
    rows = (("Left-Thalamus", 0.9, 0.783), ("Left-Hippocampus", 0.95, 0.215))
    table = Table(("region", "network, A to B (mm)", "result, A to B (mm)"), rows)
    given = Result({}, metrics={"folding": Metric(0.0, "%")}, tables={"prompts": table})
    assert presenter.headline(given) == "Left thalamus moved 0.78 mm between A and B, no folding"
