"""What is shown of a brain mask: outline, stripped image, the brain in 3-D, comparison, and the files."""

import nibabel as nib
import numpy as np
import pydicom
import pytest
from ball_masks import AFFINES, ball
from dicom_slices import save_all, slices

from medapp.analysis.brain_mask import measure_brain
from medapp.analysis.hand_correction import ERASED, PAINTED, make_correction
from medapp.imaging.background import strip_skull
from medapp.imaging.volume import Volume
from medapp.io import files
from medapp.presenters import PRESENTERS
from medapp.presenters.report import render_report
from medapp.result import Result

presenter = PRESENTERS["brain_mask"]


def result(image: Volume, brain: np.ndarray) -> Result:
    mask = image.new_like(brain.astype(np.uint8), labels={1: "brain"}, name="brain")
    return measure_brain(Result({"image": image, "brain": mask, "stripped": strip_skull(image, mask)}))


@pytest.fixture
def made() -> Result:
    """A bright skull around a grey brain."""
    brain, _ = ball(AFFINES["oblique"], 16)
    values = np.where(brain.array, 100 + np.random.default_rng(0).normal(0, 5, brain.shape), 4000)
    return result(Volume(values.astype(np.float32), brain.affine, name="Brain MRI"), brain.array > 0)


def test_image_and_brain_share_a_window_and_stand_beside_each_other(made):
    view = presenter.view(made)
    windows = {layer.window for layer in view.layers.values() if layer.kind == "image"}
    assert len(windows) == 1 and windows.pop().high < 120, "the skull does not count"
    assert view.brain is made.volumes["brain"]
    (tiles,) = view.arrangements.values()
    assert {tile.shows for tile in tiles} == {"Brain MRI", "Skull-stripped"} <= set(view.layers)
    place = np.rint(made.volumes["brain"].grid.to_index(presenter.start(made))).astype(int)
    assert made.volumes["brain"].array[tuple(place)] == 1
    assert presenter.headline(made).startswith("Brain 17 ml"), "4/3 π 1.6³"
    assert list(presenter.inputs(made)) == ["image"]
    (bars,) = presenter.charts(made)["Volumes"]().data
    assert sum(bars.y) == pytest.approx(made.metrics["brain"].value, abs=0.1)


def test_a_reference_tells_what_is_too_much_and_what_is_missed(made):
    brain = made.volumes["brain"]
    other = brain.new_like(np.roll(brain.array, 2, axis=0))
    compared = presenter.recompute(made, other, {})
    value = {key: metric.value for key, metric in compared.metrics.items()}
    assert value["excess"] == pytest.approx(value["missed"], abs=0.1) and 1 < value["missed"] < 5
    assert value["dice"] == pytest.approx(1 - value["missed"] / value["brain"], abs=0.01)
    assert "Reference" in presenter.layers(compared) and "Dice" in presenter.headline(compared)
    assert "Excess volume" in render_report(compared, presenter, "Brain")
    assert set(presenter.recompute(compared, None, {}).metrics) == {"brain"}


def test_a_correction_by_hand_is_followed_by_volume_and_stripped_image(made):
    array = np.zeros(made.volumes["brain"].shape, np.uint8)
    array[:20], array[30:, :5, :5] = ERASED, PAINTED
    corrected = presenter.correct(made, make_correction(array, made.volumes["brain"]), None)
    assert corrected.metrics["hand_removed"].value > 3 and "corrected by hand" in presenter.headline(corrected)
    stripped, brain = corrected.volumes["stripped"].array, corrected.volumes["brain"].array
    assert (stripped[:20] == 0).all() and (stripped[brain > 0] == made.volumes["image"].array[brain > 0]).all()
    assert presenter.view(corrected).live.probabilities["Brain"] is made.volumes["brain"]
    back = presenter.correct(
        presenter.correct(corrected, make_correction(array * 0 + 1, made.volumes["brain"]), None), None, None
    )
    np.testing.assert_array_equal(back.volumes["brain"].array, made.volumes["brain"].array)
    np.testing.assert_array_equal(back.volumes["stripped"].array, made.volumes["stripped"].array)
    assert back.metrics == made.metrics


def test_nothing_found_is_shown_too(made):
    nothing = result(made.volumes["image"], np.zeros(made.volumes["image"].shape, bool))
    assert presenter.headline(nothing) == "No brain found."
    assert presenter.view(nothing).layers["Brain MRI"].window is None
    assert "The outline" in (page := render_report(nothing, presenter, "Brain")) and "Axial slices" not in page


def test_files_have_the_geometry_and_type_of_the_input(tmp_path):
    image = files.read(save_all(tmp_path / "in", slices()))
    made = result(image, image.array > 10)
    written = made.write_files(tmp_path / "out", presenter.files)
    assert {path.name for path in written.paths} == {
        "brain.nii.gz", "brain.seg.dcm", "stripped.nii.gz", "stripped_dicom", "result.json",
    }  # fmt: skip
    for name in ("brain", "stripped"):
        back = nib.load(tmp_path / "out" / f"{name}.nii.gz")
        np.testing.assert_allclose(back.affine, image.affine, atol=1e-4)
        np.testing.assert_array_equal(np.asarray(back.dataobj), made.volumes[name].array)
    series = [pydicom.dcmread(path) for path in (tmp_path / "out" / "stripped_dicom").iterdir()]
    assert len(series) == image.shape[2] and series[0].SeriesDescription == "medapp stripped, for research only"
    again = files.read(sorted((tmp_path / "out" / "stripped_dicom").iterdir()))
    assert np.abs(again.array - made.volumes["stripped"].array).max() <= 1
