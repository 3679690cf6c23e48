"""A visitor's last results: kept in a bounded number, found again after a reload, compared, gone with their time."""

from dataclasses import replace
from types import SimpleNamespace

import gradio as gr
import numpy as np
import pytest

from medapp.analysis.rater_agreement import PAIRS
from medapp.errors import InputError
from medapp.imaging.volume import Volume
from medapp.presenters import get_presenter
from medapp.presenters.beside import APART, OTHER_IMAGE
from medapp.result import Metric, Provenance, Result
from medapp.serving import runtime
from medapp.ui import visitors as visiting
from medapp.ui import workspace
from medapp.ui.compared_sessions import add_other, compare_sessions, follow_other, render_compared, stop_comparing
from medapp.ui.connections import Connections
from medapp.ui.history import MAX_RESULTS, History
from medapp.ui.kept_scan import list_fitting_methods
from medapp.ui.result_kind import presenter_of
from medapp.ui.session import Session
from medapp.ui.visitors import Visitors

NAME = "segment_glioma_ar2unet"


@pytest.fixture
def visitors(monkeypatch):
    """Those of the process, without others."""
    own = Visitors()
    monkeypatch.setattr("medapp.ui.history.visitors", own)
    yield own
    for visitor in list(own._kept):
        own.leave(visitor)


@pytest.fixture
def make():
    """A function that makes sessions with a lesion of some size, in an image of its own number."""

    def make(size: int = 4, image: int = 0, name: str = NAME, shift: float = 0.0) -> Session:
        affine = np.eye(4)
        affine[0, 3] = shift
        scan = Volume(
            np.random.default_rng(image).integers(50, 99, (14, 12, 10)).astype(np.int16), affine, name="FLAIR"
        )
        chance = np.zeros(scan.shape, np.float32)
        chance[2 : 2 + size, 2:6, 2:6] = 0.9
        settings = {"threshold": 0.5, "min_lesion_ml": 0.0}
        result = Result({"image": scan, "probability": scan.new_like(chance)}, provenance=Provenance(name))
        result = get_presenter(runtime.find_card(name)).recompute(result, None, settings)
        made.append(Session(result, np.array([4.0, 4, 4]), None, scan))
        return made[-1]

    made: list[Session] = []
    yield make
    for each in made:
        each.close()


def test_the_last_results_stay_and_are_nobody_elses(visitors, make):
    history = History("segmentation")
    kept = [history.keep("ada", make(size)) for size in range(1, MAX_RESULTS + 3)]
    assert history.list_results("ada") == kept[:1:-1] and kept[0].is_closed and kept[1].is_closed
    assert not kept[1].folder.exists() and all(session.folder.exists() for session in kept[2:])
    assert visitors.find("ada", "segmentation") is kept[-1]
    visitors.choose("ada", kept[3], "segmentation")
    cards = history.render("ada")
    assert cards.count("<li") == MAX_RESULTS and cards.index(kept[-1].case) < cards.index(kept[2].case)
    shown = next(part for part in cards.split("<li") if "is-shown" in part)
    assert kept[3].case in shown and "data:image/jpeg" in shown
    assert history.find("bob", kept[3].case) is None and history.render("bob").count("<li") == 0
    for data in ({"case": kept[0].case}, {"case": "x"}, {"case": 3}, {}, None):
        with pytest.raises(InputError):
            history.require("ada", gr.EventData(None, data))
    visitors.leave("ada")
    assert all(session.is_closed for session in kept)


def test_a_result_that_was_kept_for_too_long_takes_its_card_along(visitors, make):
    history = History("segmentation")
    old, new = (history.keep("ada", make()) for _ in range(2))
    workspace.shutil.rmtree(old.folder)  # as the cleanup does
    visitors.forget_closed()
    assert history.list_results("ada") == [new] and old.is_closed and not new.is_closed


def test_after_a_reload_the_results_are_there_again(visitors, make, monkeypatch):
    connections = Connections()
    monkeypatch.setattr(visiting, "connections", connections)
    history = History("segmentation")
    kept = [history.keep("before", make()) for _ in range(2)]
    other = history.keep("other", make())
    for name in ("before", "other"):
        connections.open(name)
    visitors.take_over("after", ["before", "after"])
    assert not history.list_results("after"), "the page is still open"
    connections.close("before")
    visitors.take_over("after", ["before", "after", "unknown"])
    visitors.take_over("after", ["other"])
    visitors.leave("before")
    assert history.list_results("after") == kept[::-1] and not any(session.is_closed for session in kept)
    assert history.list_results("other") == [other]


def test_on_a_full_disk_ones_own_older_results_go_first(visitors, make, monkeypatch):
    history, free = History("segmentation"), [10**12]
    monkeypatch.setattr(workspace.shutil, "disk_usage", lambda folder: SimpleNamespace(free=free[0]))
    kept = [history.keep("ada", make()) for _ in range(3)]
    others = history.keep("bob", make()), history.keep("bob", make())
    connections = Connections()
    monkeypatch.setattr(visiting, "connections", connections)
    connections.open("bob")
    visitors.choose("ada", kept[1], "segmentation")
    free[0] = 0
    with pytest.raises(InputError, match="disk is full"):
        visitors.check_space("ada")
    assert history.list_results("ada") == [kept[1]] and not any(session.is_closed for session in others)


def test_masks_of_one_image_are_compared_as_those_of_raters(make):
    shown, other = make(4), make(6)
    compare_sessions(shown, other)
    (row,) = shown.result.tables[PAIRS].rows
    assert row[0] == "Automatic" and row[2] == pytest.approx(0.8)
    assert "Lesion volume" in render_compared(shown) and APART not in render_compared(shown)
    presenter = presenter_of(other.result)
    other.result = presenter.recompute(other.result, None, {"threshold": 0.95, "min_lesion_ml": 0.0})
    follow_other(shown)
    assert shown.result.tables[PAIRS].rows[0][2] == 0, "the other one's threshold was moved since"
    stop_comparing(shown)
    assert PAIRS not in shown.result.tables and render_compared(shown) == ""
    compare_sessions(shown, other)
    other.close()
    follow_other(shown)
    assert PAIRS not in shown.result.tables and shown.beside is None


def test_results_of_different_images_are_not_laid_over_each_other_unless_their_grids_are_one(make):
    shown, elsewhere, same_grid = make(), make(image=1, shift=300.0), make(image=1)
    compare_sessions(shown, elsewhere)
    assert PAIRS not in shown.result.tables and APART in render_compared(shown)
    compare_sessions(shown, same_grid)
    assert PAIRS in shown.result.tables and OTHER_IMAGE in render_compared(shown)


def test_an_image_is_laid_over_as_one_and_compared_by_a_line():
    scan = Volume(
        np.random.default_rng(0).normal(40, 9, (16, 16, 1)).astype(np.float32), np.eye(4), name="CT", unit="HU"
    )

    def restored(value: float) -> Session:
        volumes = {"image": scan, "restored": scan.new_like(scan.array * np.float32(value))}
        metrics = {"noise": Metric(value, "HU"), "noise_before": Metric(9.0, "HU")}
        return Session(
            Result(volumes, metrics=metrics, provenance=Provenance("restore_ct_rat")), np.zeros(3), None, scan
        )

    shown, other = restored(0.5), restored(0.7)
    compare_sessions(shown, other)
    view = add_other(presenter_of(shown.result).view(shown.result), shown)
    assert view.compared in view.layers and view.comparison == "swipe" and view.compared.startswith("Other result")
    assert view.layers[view.compared].volume is other.result.volumes["restored"]
    assert "0.7 HU" in render_compared(shown)
    for session in (shown, other):
        session.close()


def test_a_scan_is_offered_to_methods_that_take_it(make):
    picture = Volume(np.random.default_rng(0).integers(0, 255, (32, 32, 1, 3)).astype(np.uint8), np.eye(4), name="H&E")
    offered = list_fitting_methods(runtime.find_card("restore_pathology_rat"), picture)
    assert "restore_pathology_rat" not in offered and not any(name.startswith("segment_") for name in offered)
    labels = replace(picture, array=np.zeros((32, 32, 8), np.uint8))
    assert "segment_stroke_raxnet" not in list_fitting_methods(runtime.find_card(NAME), labels)
