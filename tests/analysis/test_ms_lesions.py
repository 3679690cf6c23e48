"""Lesions have a place, a size, and a fate between two scans; attention is kept as it was."""

from dataclasses import replace

import numpy as np
import pytest

from medapp.analysis.ms_lesions import (
    CHANGE_COLUMNS,
    LOCATIONS,
    MS_LESION_COLUMNS,
    classify_change,
    classify_size,
    compare_time_points,
    label_zones,
    locate_lesions,
    measure_ms_lesions,
)
from medapp.imaging.brain_labels import CLASS_NAMES
from medapp.imaging.volume import Grid, Volume
from medapp.pipelines.segment_ms_rsanet import CARD
from medapp.presenters import get_presenter
from medapp.presenters.catalogue import OUTPUTS
from medapp.presenters.ms_lesions import CHANGE_COLOURS
from medapp.presenters.report import render_report
from medapp.result import Provenance, Result

presenter = get_presenter(CARD)

SETTINGS = CARD.parse_settings({"min_lesion_ml": 0})
SHAPE = (60, 60, 60)
AT = np.stack(np.indices(SHAPE), -1)
OBLIQUE = np.array([[0.1, -1.9, 0, 40], [2, 0.1, 0.2, -60], [0, -0.1, 2.5, -50], [0, 0, 0, 1]])


def ball(centre, radius: float) -> np.ndarray:
    return np.linalg.norm(AT - centre, axis=-1) <= radius


def brain() -> np.ndarray:
    """White matter in a cortex of 4 mm, a ventricle in the middle, the cerebellum below."""
    classes = np.zeros(SHAPE, np.uint8)
    classes[ball((30, 30, 30), 28)] = CLASS_NAMES.index("Left-Cerebral-Cortex")
    classes[ball((30, 30, 30), 24)] = CLASS_NAMES.index("Left-Cerebral-White-Matter")
    classes[ball((30, 30, 34), 6)] = CLASS_NAMES.index("Left-Lateral-Ventricle")
    below = AT[..., 2] < 15
    classes[below & (classes > 0)] = CLASS_NAMES.index("Right-Cerebellum-Cortex")
    return classes


LESIONS = {  # place: centre
    "periventricular": (30, 30, 43),
    "juxtacortical": (30, 52, 30),
    "infratentorial": (30, 30, 9),
    "deep white matter": (44, 30, 36),
}


def result(lesions: np.ndarray, then: np.ndarray | None = None, affine=OBLIQUE) -> Result:
    image = Volume(np.ones(SHAPE, np.float32), affine, name="FLAIR")
    volumes = {"image": image, "probability": image.new_like(lesions * np.float32(0.8))}
    volumes["zones"] = image.new_like(label_zones(brain(), (1, 1, 1)), labels=LOCATIONS)
    if then is not None:
        volumes["baseline"] = image
        volumes["probability_baseline"] = image.new_like(then * np.float32(0.8))
    return Result(volumes, provenance=Provenance(CARD.name))


def test_every_lesion_has_its_place():
    mask = np.any([ball(centre, 2.5) for centre in LESIONS.values()], 0)
    out = measure_ms_lesions(result(mask), SETTINGS)
    rows = [dict(zip(MS_LESION_COLUMNS, row, strict=True)) for row in out.tables["lesions"].rows]
    grid = out.volumes["image"].grid
    for place, centre in LESIONS.items():
        mm = grid.to_mm(np.array(centre))
        own = next(row for row in rows if np.allclose([row["x (mm)"], row["y (mm)"], row["z (mm)"]], mm, atol=0.1))
        assert own["place"] == place
        assert LOCATIONS[out.volumes["places"].array[centre]] == place
    table = {row[0]: row[1:] for row in out.tables["places"].rows}
    assert list(table) == [*LOCATIONS.values(), "all"] and table["all"][0] == 4 and table["all"][-1] == 100
    assert all(table[place][0] == 1 for place in LESIONS)
    assert table["all"][4] == pytest.approx(out.metrics["volume"].value, abs=0.002)


def test_a_large_lesion_at_the_ventricle_counts_as_that_though_it_reaches_the_cortex():
    mask = np.any([ball((30, 30 + y, 43), 2.5) for y in range(18)], 0)
    zone = label_zones(brain(), (1, 1, 1))
    assert set(np.unique(zone[mask])) >= {1, 2, 4}
    assert locate_lesions(mask.astype(int), 1, zone).tolist() == [1]


def test_a_lesion_taken_for_cortex_is_not_at_the_cortex():
    classes, lesion = brain(), ball((44, 30, 36), 3)
    classes[ball((44, 30, 36), 4)] = CLASS_NAMES.index("Left-Cerebral-Cortex")
    locations = [
        locate_lesions(lesion.astype(int), 1, label_zones(classes, (1, 1, 1), each)).tolist() for each in (None, lesion)
    ]
    assert locations == [[2], [4]]
    edge = ball(LESIONS["juxtacortical"], 2.5)
    assert locate_lesions(edge.astype(int), 1, label_zones(classes, (1, 1, 1), edge)).tolist() == [2]


def test_distances_are_millimetres():
    thin = label_zones(brain()[:, :, ::2], (1, 1, 2))
    whole = label_zones(brain(), (1, 1, 1))[:, :, ::2]
    assert (thin == whole).mean() > 0.98 and not label_zones(np.zeros(SHAPE, np.uint8), (1, 1, 1)).any()


def test_without_regions_no_place_is_claimed():
    bare = result(ball((30, 30, 43), 3))
    bare = replace(bare, volumes={**bare.volumes, "zones": bare.volumes["image"].new_like(np.zeros(SHAPE, np.uint8))})
    out = measure_ms_lesions(bare, SETTINGS)
    assert out.tables["lesions"].rows[0][-1] == "" and not out.volumes["places"].array.any()
    assert out.tables["places"].rows[-1][1] == 1


def test_sizes():
    assert [classify_size(ml) for ml in (0.01, 0.1, 0.99, 1.0, 40)] == ["small", "medium", "medium", "large", "large"]


FATES = {  # centre, radius then, radius now (voxels)
    "new": ((12, 30, 30), 0, 3),
    "enlarging": ((24, 30, 30), 3, 5),
    "shrinking": ((38, 30, 30), 5, 3),
    "stable": ((50, 30, 30), 4, 4.1),
    "gone": ((30, 12, 30), 3, 0),
}


def painted(which: int) -> np.ndarray:
    return np.any([ball(fate[0], fate[which]) for fate in FATES.values() if fate[which]], 0)


def test_what_became_of_every_lesion():
    out = measure_ms_lesions(result(painted(2), painted(1), np.eye(4)), SETTINGS)
    rows = [dict(zip(CHANGE_COLUMNS, row, strict=True)) for row in out.tables["change"].rows]
    assert [row["change"] for row in rows] == list(FATES)
    change = out.volumes["change"]
    for row, (name, (centre, then, now)) in zip(rows, FATES.items(), strict=True):
        assert change.labels[change.array[centre]] == name and out.metrics[name].value == 1
        np.testing.assert_allclose([row["x (mm)"], row["y (mm)"], row["z (mm)"]], centre)
        ml = [float(ball(centre, r).sum()) / 1000 if r else 0 for r in (then, now)]
        assert (row["volume then (ml)"], row["volume now (ml)"]) == pytest.approx(ml)
        assert row["difference (ml)"] == pytest.approx(ml[1] - ml[0])
        assert (row["difference (%)"] is None) == (name == "new")
    assert out.metrics["volume_before"].value == pytest.approx(painted(1).sum() / 1000)
    assert not change.array[~(painted(1) | painted(2))].any()


def test_lesions_that_join_are_one():
    grid = Grid(SHAPE, np.eye(4))
    apart = ball((20, 30, 30), 4) | ball((30, 30, 30), 4)
    bridge = apart | ball((25, 30, 30), 3)
    zone = np.zeros(SHAPE, np.uint8)
    (row,) = compare_time_points(bridge, apart, 0, zone, grid)[1]
    assert row[1] == "stable" and row[2] == pytest.approx(apart.sum() / 1000)
    (row,) = compare_time_points(apart, bridge, 0, zone, grid)[1]
    assert row[1] == "stable" and row[3] == pytest.approx(apart.sum() / 1000)


def test_small_changes_are_none_and_nothing_has_no_rows():
    names = {1: "new", 2: "enlarging", 3: "shrinking", 4: "stable", 5: "gone"}
    classes = [
        names[classify_change(*each)]
        for each in ((0.1, 0.14), (0.1, 0.16), (10, 12), (10, 13), (1, 0.7), (0, 0.01), (0.01, 0))
    ]
    assert classes == ["stable", "enlarging", "stable", "enlarging", "shrinking", "new", "gone"]
    none = np.zeros(SHAPE, bool)
    change, rows = compare_time_points(none, none, 0.01, none.astype(np.uint8), Grid(SHAPE, np.eye(4)))
    assert not change.any() and rows == []
    few = compare_time_points(ball((30, 30, 30), 1), none, 0.05, none.astype(np.uint8), Grid(SHAPE, np.eye(4)))
    assert not few[0].any() and few[1] == []


def test_threshold_and_smallest_move_without_memory():
    first = measure_ms_lesions(result(painted(2), painted(1)), SETTINGS)
    nothing = measure_ms_lesions(first, SETTINGS | {"threshold": 0.9})
    assert nothing.metrics["lesions"].value == 0 and not nothing.tables["change"].rows
    back = measure_ms_lesions(measure_ms_lesions(nothing, SETTINGS | {"min_lesion_ml": 1.0}), SETTINGS)
    assert back.facts() == first.facts()
    np.testing.assert_array_equal(back.volumes["change"].array, first.volumes["change"].array)


def test_where_all_are_small_they_are_shown_as_places_and_changes():
    shown = measure_ms_lesions(result(painted(2), painted(1)), SETTINGS | {"min_lesion_ml": 1000.0})
    assert shown.metrics["candidates"].value == len(shown.tables["lesions"].rows) > 0
    assert shown.volumes["places"].array.any() and shown.volumes["change"].array.any() and shown.tables["change"].rows


def test_the_page_is_told_and_a_reference_compared():
    truth = result(painted(2)).volumes["image"].new_like(painted(2).astype(np.uint8))
    plain, since = (
        measure_ms_lesions(result(painted(2)), SETTINGS, truth),
        measure_ms_lesions(result(painted(2), painted(1)), SETTINGS),
    )
    assert plain.metrics["dice"].value == 1
    assert {"Reference", "Lesion"} <= set(presenter.layers(plain))
    layers = presenter.layers(since)
    assert "Earlier FLAIR, aligned" in layers and layers["Lesion"].volume.labels[1] == "new"
    assert "1 new, 1 enlarging, 1 shrinking, 1 stable, 1 gone" in presenter.headline(since)
    assert np.linalg.norm(presenter.start(since) - since.volumes["image"].grid.to_mm(np.array([12, 30, 30]))) < 8
    assert [table.columns[0] for table in presenter.further_tables(since)] == ["place", "lesion"]
    assert len(set(CHANGE_COLOURS.values())) == 5
    row = list(since.tables["lesions"].rows[0])
    assert np.linalg.norm(presenter.locate(since, row) - np.array(row[3:6])) < 3


def test_a_bundle_holds_the_change_and_says_what_it_is(tmp_path):
    out = measure_ms_lesions(result(painted(2), painted(1)), SETTINGS)
    names = [path.name for path in out.write_files(tmp_path, presenter.files).paths]
    assert {"change.nii.gz", "places.nii.gz", "change.csv", "places.csv", "zones.nii.gz"} <= set(names)
    assert all(name in {output.file for output in OUTPUTS} for name in names)
    assert "enlarging" in render_report(out, presenter, CARD.title)
