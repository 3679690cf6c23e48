"""Every method has a presenter, and every presenter shows what the method's result holds, under one name."""

import numpy as np
import pytest

from medapp.imaging.volume import Volume
from medapp.options import Landmarks, Points, Text
from medapp.presenters import PRESENTERS, get_presenter
from medapp.presenters.catalogue import METRICS, OUTPUTS, describe_file, get_metric, get_title
from medapp.presenters.report import render_report, save_with_report
from medapp.presenters.task import TASKS
from medapp.result import Metric, Result, Table
from medapp.serving import runtime

AFFINE = np.array([[-1.0, 0, 0, 20], [0, -1.0, 0, 30], [0, 0, 3.0, -60], [0, 0, 0, 1]])


def scan(name: str) -> Volume:
    return Volume(np.random.default_rng(0).normal(100, 9, (24, 20, 6)).astype(np.float32), AFFINE, name=name)


def regions() -> Volume:
    array = np.ones((24, 20, 6), np.uint16)
    array[12:] = 2
    return Volume(array, AFFINE, {1: "region 1", 2: "region 2"}, "regions")


def test_every_method_has_a_presenter_and_every_tab_a_method():
    cards = runtime.load_cards().values()
    assert {card.presenter for card in runtime.import_cards()} == set(PRESENTERS)
    assert set(TASKS) <= {card.task for card in cards}
    assert all(card.preview in ("", *runtime.load_cards()) for card in cards)


def test_what_is_shown_of_a_prepared_pair():
    metrics = {"turn": Metric(3.0, "°"), "shift": Metric(2.0, "mm"), "growth": Metric(-1.0, "%")}
    volumes = {"fixed_prepared": scan("fixed"), "moving_prepared": scan("moving"), "labels": regions()}
    result = Result(volumes, metrics=metrics | {"dice_before": Metric(0.8)})
    presenter = PRESENTERS["brain_pair"]
    page = render_report(result, presenter, "A pair")
    assert "Fixed, prepared" in page and "Rotation" in page and "3.0 °" in page and "Dice, before" in page
    assert "rotated by 3°" in presenter.headline(result) and presenter.inputs(result) == {}


def test_what_is_shown_of_a_region_map(tmp_path):
    table = Table(("region", "area (mm²)"), ((2, 5.0), (1, 4.0)))
    result = Result(
        {"image": scan("CT"), "regions": regions()}, metrics={"regions": Metric(2)}, tables={"regions": table}
    )
    presenter = PRESENTERS["region_map"]
    page = render_report(result, presenter, "Regions")
    assert "Regions" in page and "lesion" not in page.lower()
    saved = save_with_report(result, presenter, tmp_path, "Regions")
    assert {"medapp_regions.nii.gz", "medapp_regions.csv", "medapp_report.html"} <= {p.name for p in saved.files}
    place = np.rint(regions().grid.to_index(presenter.locate(result, [2, 5.0]))).astype(int)
    assert regions().array[tuple(place)] == 2
    assert list(presenter.inputs(result)) == ["image"]


def test_every_metric_has_one_title_and_every_file_a_description():
    keys = [metric.key for metric in METRICS]
    titles = [metric.title for metric in METRICS]
    assert len(set(keys)) == len(keys) and len(set(titles)) == len(titles)
    assert get_title("dice_before") == "Dice, before" and get_metric("hd95").against_reference
    assert len({output.file for output in OUTPUTS}) == len(OUTPUTS)
    assert "DICOM segmentation" in describe_file("mask.seg.dcm") and describe_file("mask.nii.gz") != describe_file(
        "x.csv"
    )
    for presenter in PRESENTERS.values():
        assert set(presenter.files) <= {output.role for output in OUTPUTS}


def test_every_metric_that_the_code_computes_is_in_the_catalogue(computed_metrics):
    known = {metric.key for metric in METRICS}
    assert {key.removesuffix("_before") for key in computed_metrics} <= known | {"volume_before"}


@pytest.fixture
def computed_metrics():
    """The keys in the source where metrics are made."""
    import ast
    from pathlib import Path

    import medapp

    keys = set()
    for path in Path(medapp.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            pairs = zip(node.keys, node.values, strict=True) if isinstance(node, ast.Dict) else ()
            for key, value in pairs:
                is_metric = isinstance(value, ast.Call) and getattr(value.func, "id", "") == "Metric"
                if is_metric and isinstance(key, ast.Constant):
                    keys.add(key.value)
    assert len(keys) > 20
    return keys


def test_options_of_words_and_points_have_titles():
    for card in runtime.load_cards().values():
        assert (
            all(o.title for o in card.options if isinstance(o, Text | Points | Landmarks)) and get_presenter(card).title
        )
