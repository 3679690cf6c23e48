"""Panels show results that lack what most results have: no regions, no label maps, no preview."""

import zipfile
from dataclasses import replace

import gradio as gr
import numpy as np
import pytest

from medapp.analysis.image_quality import compare_images
from medapp.examples import Example
from medapp.imaging.volume import Volume
from medapp.io import files
from medapp.presenters import get_presenter
from medapp.presenters.task import TASKS
from medapp.result import Provenance, Result
from medapp.serving import runtime
from medapp.ui import form
from medapp.ui.panels import base
from medapp.ui.panels.registration import RegistrationPanel
from medapp.ui.panels.restoration import RestorationPanel
from medapp.ui.session import Session
from medapp.ui.task_tab import TaskTab
from medapp.ui.visitors import visitors

AFFINE = np.array([[-0.8, 0, 0, 20], [0, -0.8, 0, 30], [0, 0, 3.0, -60], [0, 0, 0, 1]])


def scan(offset: float = 0.0) -> Volume:
    array = np.random.default_rng(0).normal(100 + offset, 9, (40, 36, 3)).astype(np.float32)
    return Volume(array, AFFINE, name="CT", unit="HU")


@pytest.fixture
def toy(monkeypatch):
    """A function that puts a card like that of a method, under another name, among the cards."""

    def make(method: str, **changes):
        cards = runtime.load_cards()
        card = replace(cards[method], name="toy", **changes)
        monkeypatch.setattr(runtime, "load_cards", lambda: {**cards, "toy": card})
        return card

    return make


def test_a_restoration_without_regions_is_shown(toy):
    card = toy("restore_ct_rat")
    result = compare_images(Result({"image": scan(), "restored": scan(3)}, provenance=Provenance("toy")))
    with gr.Blocks():
        tab = TaskTab(TASKS["restoration"], "restoration", [card], RestorationPanel)
    session = Session(result, np.zeros(3), None, scan())
    shown, drawn = tab.show(session, True), tab.last_tabs.draw(session)
    assert set(shown) <= set(tab.shown) and set(drawn) <= set(tab.last_tabs.drawn)
    assert shown[tab.panel.table].visible is False and shown[tab.panel.editor.region_map] is None
    session.close()


def test_a_registration_without_a_preview_has_no_button_for_it(toy):
    with gr.Blocks():
        card = toy("register_brain_textscf", preview="")
        tab = TaskTab(TASKS["registration"], "registration", [card], RegistrationPanel)
    assert tab.panel.preview.button.visible is False


def test_an_example_may_have_any_name_for_its_image(tmp_path):
    path = files.write(scan(), tmp_path / "scan.nii.gz")
    example = Example("toy", "toy", "Toy", "", {"dwi": path}, None, "made up", "Apache-2.0", True)
    assert form.render_thumbnail(example).ndim == 3


@pytest.fixture
def segmented(toy):
    """A tab and a session with a result of two lesions in it."""
    card = toy("segment_glioma_ar2unet")
    array = np.zeros((40, 36, 3), np.float32)
    array[10:20, 10:20, 1], array[25:30, 25:30, 1] = 0.9, 0.6
    flair = scan()
    volumes = {"image": flair, "probability": flair.new_like(array, name="probability", unit="")}
    presenter = get_presenter(card)
    settings = {"threshold": 0.5, "min_lesion_ml": 0.0}
    result = presenter.recompute(Result(volumes, provenance=Provenance("toy")), None, settings)
    with gr.Blocks():
        tab = TaskTab(TASKS["segmentation"], "segmentation", [card], base.Panel)
    session = tab.keep("s", Session(result, np.zeros(3), None, flair))
    yield tab, session
    visitors.leave("s")


def change_threshold(tab: TaskTab, session: Session) -> dict:
    live = tab.by_name["toy"].live
    data = {tab.kept: session, live["threshold"]: 0.8, live["min_lesion_ml"]: 0.0}
    return tab.recompute(data, gr.Request(session_hash="s"))


def test_only_what_a_live_option_changes_is_written_again(segmented, monkeypatch):
    tab, session = segmented
    tab.show(session, True)
    tab.last_tabs.draw(session)
    written = []
    write = files.write
    monkeypatch.setattr(files, "write", lambda volume, path: written.append(path.name) or write(volume, path))
    change_threshold(tab, session)
    assert session.result.metrics["lesions"].value == 1
    tab.last_tabs.draw(session)
    assert written == ["toy_mask.nii.gz"]
    folders = list(session.folder.glob("files*-*"))
    assert len(folders) == 2 and all((folder / "toy_probability.nii.gz").is_file() for folder in folders)


def test_the_zip_is_named_by_bids_once_the_person_has_a_label(segmented):
    tab, session = segmented

    def list_zip(updates: dict) -> list[str]:
        with zipfile.ZipFile(updates[tab.last_tabs.archive].value["path"]) as archive:
            return archive.namelist()

    assert "toy_mask.nii.gz" in list_zip(tab.last_tabs.draw(session))
    named = tab.last_tabs.name_files("sub-7 b", session)
    assert named[tab.last_tabs.label] == "7b"
    assert "medapp-toy/sub-7b/anat/sub-7b_space-orig_label-lesion_mask.nii.gz" in list_zip(named)
    assert any("/sub-7b" in name for name in list_zip(tab.last_tabs.draw(session)))
    assert "toy_mask.nii.gz" in list_zip(tab.last_tabs.name_files("", session))


@pytest.mark.parametrize("moment", ["before it is shown", "while it is shown"])
def test_a_change_that_another_result_overtakes_is_made_and_not_shown(segmented, monkeypatch, moment):
    tab, session = segmented
    show, other = tab.show, Session(Result({}), np.zeros(3))

    def show_overtaken(*args, **options) -> dict:
        updates = {} if moment == "before it is shown" else show(*args, **options)
        visitors.keep("s", other, tab.name, 2)
        return updates or show(*args, **options)

    monkeypatch.setattr(tab, "show", show_overtaken)
    assert set(change_threshold(tab, session)) == {tab.status}
    assert session.result.metrics["lesions"].value == 1 and not session.is_closed
    visitors.choose("s", session, tab.name)
    monkeypatch.setattr(tab, "show", show)
    assert tab.kept in change_threshold(tab, session)


def test_a_result_that_is_no_longer_kept_is_not_changed(segmented):
    tab, session = segmented
    session.close()
    with pytest.raises(gr.Error, match="no longer kept"):
        change_threshold(tab, session)
