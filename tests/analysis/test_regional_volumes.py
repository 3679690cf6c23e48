"""A map of regions gives volumes, asymmetries and their table, is compared with other maps, and is shown."""

import numpy as np
import pytest

from medapp.analysis.regional_volumes import measure_regions
from medapp.errors import InputError
from medapp.imaging.brain_labels import CLASS_NAMES, region_colours
from medapp.imaging.volume import Volume
from medapp.presenters import PRESENTERS
from medapp.presenters.report import describe_files, render_report
from medapp.result import Provenance, Result
from medapp.ui.viewer.scene import build_scene

presenter = PRESENTERS["parcellation"]

AFFINE = np.diag([2.0, 2.0, 2.0, 1.0])
LEFT, RIGHT, GREY, OTHER = (
    CLASS_NAMES.index(n)
    for n in ("Left-Hippocampus", "Right-Hippocampus", "Left-Cerebral-Cortex", "Right-Cerebral-Cortex")
)


def regions() -> np.ndarray:
    array = np.zeros((24, 20, 16), np.uint8)
    array[2:12, 2:18, 2:14], array[12:22, 2:18, 2:14] = GREY, OTHER
    array[5:9, 6:12, 5:9], array[15:19, 6:12, 5:8] = LEFT, RIGHT
    array[9, 9, 9], array[14, 9, 9], array[9, 9, 10], array[14, 9, 10] = 1, 20, 2, 21
    return array


@pytest.fixture
def result() -> Result:
    names = {n: name for n, name in enumerate(CLASS_NAMES) if n}
    image = Volume(np.random.default_rng(0).uniform(1, 9, (24, 20, 16)).astype(np.float32), AFFINE, name="Brain MRI")
    labels = image.new_like(regions(), labels=names, name="labels")
    brain = image.new_like((regions() > 0).astype(np.uint8), labels={1: "brain"}, name="brain")
    origin = Provenance("segment_anatomy_unet", {"sha256": "ab" * 32}, "cpu")
    return measure_regions(Result({"image": image, "labels": labels, "brain": brain}, provenance=origin))


def rows(result: Result) -> dict[str, tuple]:
    return {row[0]: row[1:] for row in result.tables["regions"].rows}


def test_volumes_shares_and_asymmetry(result):
    by_region = rows(result)
    assert by_region["Left-Hippocampus"][0] == pytest.approx(96 * 0.008)
    assert by_region["Left-Hippocampus"][2] == by_region["Right-Hippocampus"][2] == pytest.approx(200 / 7, abs=0.01)
    assert sum(row[1] for row in by_region.values()) == pytest.approx(100, abs=0.01)
    assert list(by_region)[:2] == ["Left-Cerebral-Cortex", "Right-Cerebral-Cortex"], "the largest first, sides together"
    assert result.metrics["hippocampus_left"].value == pytest.approx(0.768)
    assert result.metrics["cortex"].value == pytest.approx(by_region["Left-Cerebral-Cortex"][0] * 2 + 0.192, abs=0.01)


def test_a_reference_in_another_numbering_and_on_another_grid_is_compared(result):
    aseg = {0: 0, GREY: 3, OTHER: 42, LEFT: 17, RIGHT: 53, 1: 2, 20: 41, 2: 3, 21: 42}
    array = np.vectorize(aseg.get)(regions()).astype(np.int16)
    flipped = AFFINE.copy()
    flipped[0, 0], flipped[0, 3] = -2, 2 * 23
    got = presenter.recompute(result, Volume(array[::-1], flipped), {})
    assert got.metrics["dice"].value == 1 and got.metrics["hd95"].value == 0 and got.metrics["volume_error"].value == 0
    assert "FreeSurfer aseg" in got.tables["regions"].about
    assert not got.volumes["disagreement"].array.any()
    array[5, 6:12, 5:9] = 3
    got = measure_regions(got, Volume(array[::-1], flipped))
    assert rows(got)["Left-Hippocampus"][3] == pytest.approx(2 * 72 / (96 + 72), abs=1e-3)
    assert rows(got)["Left-Hippocampus"][6] == pytest.approx(100 / 3, abs=0.01)
    assert got.volumes["disagreement"].array.sum() == 24
    assert "reference" not in measure_regions(got).volumes and "dice" not in measure_regions(got).metrics, (
        "nothing stale is left"
    )


def test_choroid_plexus_counts_to_the_ventricle(result):
    plexus, ventricle = CLASS_NAMES.index("Left-Choroid-Plexus"), CLASS_NAMES.index("Left-Lateral-Ventricle")
    truth, ours = regions(), regions()
    truth[5:9, 6:12, 5:7], ours[5:9, 6:12, 5:7] = plexus, ventricle
    labels = result.volumes["labels"]
    got = measure_regions(Result(result.volumes | {"labels": labels.new_like(ours)}), labels.new_like(truth))
    assert got.metrics["dice"].value == 1 and "Left-Choroid-Plexus" not in rows(got)


def test_a_reference_of_another_kind_is_refused_in_words(result):
    with pytest.raises(InputError, match="cannot be compared"):
        measure_regions(result, result.volumes["brain"])


def test_the_task_shows_regions_or_lesions(result):
    assert presenter.headline(result) == "Brain 31 ml; 6 regions; hippocampi 0.8 left, 0.6 ml right"
    point = presenter.locate(result, ["Right-Hippocampus", 1])
    index = tuple(np.rint(result.volumes["labels"].grid.to_index(point)).astype(int))
    assert result.volumes["labels"].array[index] == RIGHT
    bare, compared = (presenter.charts(r) for r in (result, measure_regions(result, result.volumes["labels"])))
    assert tuple(bare) == presenter.chart_titles and all(draw().data for draw in compared.values())
    assert bare["Volumes"]().data and not bare["Dice"]().data, "nothing to compare with"


def test_every_region_has_a_colour_and_a_name_in_the_viewer(result, tmp_path):
    tints = region_colours({n: name for n, name in enumerate(CLASS_NAMES) if n})
    assert len(tints) == 35 and len(set(tints.values())) == 35
    scene = build_scene(presenter.view(result), tmp_path)
    names = {region.name: region.colour for region in scene.regions.regions}
    assert names["Left-Hippocampus"] == "#{:02x}{:02x}{:02x}".format(*tints[LEFT]) and len(names) == 6


def test_report_and_files(result, tmp_path):
    compared = measure_regions(result, result.volumes["labels"])
    page = render_report(compared, presenter, "Regions")
    assert "Left hippocampus" in page and "Comparison with the reference" in page and "None" not in page
    written = {path.name for path in result.write_files(tmp_path, presenter.files).paths}
    assert written == {"labels.nii.gz", "labels.label", "brain.nii.gz", "regions.csv", "result.json"}
    lines = (tmp_path / "labels.label").read_text().splitlines()
    assert any(line.startswith(f"{LEFT} ") and line.endswith('"Left-Hippocampus"') for line in lines)
    legend = describe_files("Regions", "m", [f"m_{name}" for name in written])
    assert "a table of the result" not in legend


def test_an_empty_map_is_shown_too(result):
    nothing = {role: v.new_like(np.zeros_like(v.array)) for role, v in result.volumes.items() if role != "image"}
    empty = measure_regions(Result(result.volumes | nothing))
    assert presenter.headline(empty) == "No brain found." and empty.tables["regions"].rows == ()
    assert presenter.layers(empty) and presenter.start(empty).shape == (3,)
    assert all(draw() for draw in presenter.charts(empty).values()) and render_report(empty, presenter, "Regions")
