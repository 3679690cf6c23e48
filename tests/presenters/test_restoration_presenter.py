"""What is shown of a restoration: layers, pictures, the report, the signed error, the headline."""

import re
import zipfile

import numpy as np
import pytest

from medapp.analysis.image_quality import compare_images
from medapp.imaging.geometry import with_spacing
from medapp.imaging.volume import Volume
from medapp.presenters import PRESENTERS
from medapp.presenters.report import render_report, save_with_report
from medapp.presenters.restoration import compute_difference
from medapp.result import Metric, Provenance, Result, Table

presenter = PRESENTERS["restoration"]

AFFINE = np.array([[-0.8, 0, 0, 20], [0, -0.8, 0, 30], [0, 0, 3.0, -60], [0, 0, 0, 1]])
ORIGIN = Provenance("restore_test", {"sha256": "ab" * 32}, "cpu", "fp32", "torch", 1.5, 512.0, {"medapp": "0"})


def result(reference: bool) -> Result:
    random = np.random.default_rng(0)
    clean = np.zeros((40, 36, 3), np.float32) + 40
    clean[20:] = 90
    image = Volume(clean + random.normal(0, 20, clean.shape).astype(np.float32), AFFINE, unit="HU", name="CT <1>")
    labels = np.ones(clean.shape, np.uint16)
    labels[20:] = 2
    volumes = {
        "image": image,
        "restored": image.new_like(clean + 3, name="restored"),
        "regions": Volume(labels, AFFINE, {1: "region 1", 2: "region 2"}, "regions"),
    }
    table = Table(("region", "area (mm²)"), ((2, 5.0), (1, 4.0)), "About the regions.")
    made = Result(volumes, metrics={"regions": Metric(2)}, tables={"regions": table}, provenance=ORIGIN, settings={})
    return compare_images(made, image.new_like(clean) if reference else None)


@pytest.mark.parametrize("reference", [True, False])
def test_layers_share_one_window_and_figures_draw(reference):
    made = result(reference)
    layers = presenter.layers(made)
    assert ("Reference" in layers) == reference
    assert len({layer.window for layer in layers.values() if layer.kind == "image"}) == 1
    figures = presenter.charts(made)
    assert tuple(figures) == presenter.chart_titles
    assert [len(draw().data) for draw in figures.values()] == [2 + reference, 1 + reference]


@pytest.mark.parametrize("reference", [True, False])
def test_before_lies_over_restored_and_the_difference_is_signed(reference):
    made = result(reference)
    view = presenter.view(made)
    base, before = view.layers["Restored"].volume, view.layers["Before"].volume
    assert next(iter(view.layers)) == "Restored" and (view.compared, view.comparison) == ("Before", "swipe")
    assert base.grid.is_same(before.grid) and view.layers["Regions"].opacity == 0
    change = view.layers["Restored minus reference" if reference else "Restored minus before"]
    other = made.volumes["reference"] if reference else before
    np.testing.assert_allclose(change.volume.array, base.array.astype(np.float32) - other.array, atol=1e-4)
    assert change.window.low == -change.window.high
    assert {tile.shows for tile in view.arrangements["Side by side"]} == {"Before", "Restored"} | (
        {"Reference"} if reference else set()
    )


def test_the_difference_is_signed_and_against_the_reference_where_there_is_one():
    np.testing.assert_allclose(compute_difference(result(True)).array, 3, atol=1e-4)
    made = result(False)
    wanted = made.volumes["restored"].array - made.volumes["image"].array
    np.testing.assert_allclose(compute_difference(made).array, wanted)


def test_the_headline_says_the_figures():
    assert re.match(r"PSNR \d+\.\d to \d+\.\d dB, SSIM", presenter.headline(result(True)))
    assert re.match(r"Noise [\d.]+ to [\d.]+ HU", presenter.headline(result(False)))


def test_another_reference_moves_the_figures_and_none_takes_them_away():
    made = result(True)
    other = made.volumes["image"].new_like(made.volumes["restored"].array + 10)
    assert presenter.recompute(made, other, {}).metrics["bias"].value == pytest.approx(-10)
    assert "psnr" not in presenter.recompute(made, None, {}).metrics


def test_a_row_leads_to_its_region():
    made = result(False)
    at = np.rint(made.volumes["regions"].grid.to_index(presenter.locate(made, [2, 5.0]))).astype(int)
    assert made.volumes["regions"].array[tuple(at)] == 2


@pytest.mark.parametrize("reference", [True, False])
def test_the_report_shows_before_after_regions_and_the_error(reference):
    text = render_report(result(reference), presenter, "CT <method>")
    assert text.count("<img") == 4 + reference
    for said in ("Before.", "Restored.", "Regions: 2.", "minus reference" if reference else "minus input"):
        assert said in text, said
    assert ("Comparison with the reference" in text) == ("PSNR, before" in text) == reference
    assert "Noise, before" in text and "<1>" not in text and "Lesion" not in text


def test_a_finer_picture_in_colour_has_a_report():
    random = np.random.default_rng(0)
    image = Volume(random.integers(0, 255, (20, 16, 1, 3)).astype(np.uint8), np.diag([-1.0, -1, 1, 1]), name="H&E")
    grid = with_spacing(image.grid, (0.5, 0.5, 1))
    fine = image.new_like(np.kron(image.array, np.ones((2, 2, 1, 1), np.uint8)), affine=grid.affine)
    regions = Volume(np.ones(grid.shape, np.uint16), grid.affine, {1: "region 1"}, "regions")
    made = compare_images(
        Result({"image": image, "restored": fine, "regions": regions}, metrics={"regions": Metric(1)})
    )
    assert render_report(made, presenter, "H&E").count("<img") == 4
    assert "40 × 32 pixels" in presenter.headline(made)


def test_the_bundle_holds_what_was_made(tmp_path):
    with zipfile.ZipFile(save_with_report(result(False), presenter, tmp_path / "r", "CT").archive) as archive:
        names = archive.namelist()
    ends = ("restored.nii.gz", "regions.nii.gz", "regions.csv", "result.json", "report.html")
    assert names == [*(f"restore_test_{end}" for end in ends), "README.txt"]


def test_a_restoration_without_regions_is_shown_too(tmp_path):
    whole = result(True)
    made = Result(
        {role: volume for role, volume in whole.volumes.items() if role != "regions"},
        metrics={key: metric for key, metric in whole.metrics.items() if key != "regions"},
        provenance=ORIGIN,
    )
    assert "Regions" not in presenter.layers(made) and presenter.table(made) is None
    assert "PSNR" in presenter.headline(made) and presenter.locate(made, [1]).shape == (3,)
    bare = Result({role: made.volumes[role] for role in ("image", "restored")}, provenance=ORIGIN)
    assert presenter.headline(bare).startswith("Restored: 40 × 36 × 3 pixels")
    saved = save_with_report(made, presenter, tmp_path, "CT")
    assert not saved.notes and "restore_test_report.html" in {path.name for path in saved.files}
