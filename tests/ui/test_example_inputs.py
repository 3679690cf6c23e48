"""What an example leaves behind never enters a visitor's own run, whatever the page sends."""

import re
import shutil
from copy import copy
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import pytest

from medapp import examples
from medapp.errors import InputError
from medapp.presenters.task import TASKS
from medapp.result import Result
from medapp.serving import runtime
from medapp.ui import error_messages, page
from medapp.ui import task_tab as tabs
from medapp.ui.caller import Caller
from medapp.ui.ownership import Ownership
from medapp.ui.session import Session

CASES = {example.name: example for example in examples.every() if example.pipeline in runtime.load_cards()}
THREE, CHANGE = CASES["three_sequences_temporal"], CASES["sclerosis_since"]
CT, PET, FINER = (CASES[n] for n in ("ct_abdomen_quarter_dose", "pet_brain_slice_twentieth", "pathology_four_times"))
BENT, WORDS = CASES["known_deformation"], CASES["other_words"]
REQUEST = SimpleNamespace(session_hash="visitor")


class Ran(Exception):
    """The method was asked to run on `volumes` with `options`."""

    def __init__(self, volumes, options):
        self.volumes, self.options = dict(volumes), options


@pytest.fixture(scope="module")
def built():
    """Every tab by name."""
    out = {}
    with gr.Blocks():
        for name, task in TASKS.items():
            cards = [card for card in runtime.load_cards().values() if card.task == name]
            out[name] = tabs.TaskTab(task, name, cards, page.PANELS[name])
    return out


@pytest.fixture
def form(built, monkeypatch):
    """A form as the page holds it, of the tab of the example that is in it."""

    def put(example, **more):
        tab = built[example_tab(example)]
        data = {component: copy(component.value) for component in tab.everything}
        chosen = tab.by_name[example.pipeline]
        data[tab.method] = example.pipeline
        data |= {chosen.boxes[name]: [str(path)] for name, path in example.images.items()}
        data[tab.reference] = [str(example.reference)] if example.reference else None
        data |= {(chosen.options | chosen.live)[name]: value for name, value in example.settings.items()}
        data[tab.example_inputs.example_name] = example.name
        return tab, chosen, data | {chosen.boxes[name]: value for name, value in more.items()}

    def run(name, *volumes, progress=None, **options):
        raise Ran(zip([source.name for source in runtime.find_card(name).inputs], volumes, strict=True), options)

    monkeypatch.setattr(tabs.runtime, "run", run)
    monkeypatch.setattr(error_messages, "to_gradio_error", lambda error: error)
    return put


def example_tab(example) -> str:
    return runtime.find_card(example.pipeline).task


def copied(path: Path, folder: Path, name: str = "") -> list[str]:
    """A visitor's file, the same as an example's."""
    return [str(shutil.copy(path, folder / (name or path.name)))]


def main(example) -> str:
    return next(s.name for s in runtime.find_card(example.pipeline).inputs if not s.optional)


def started(tab, data):
    with pytest.raises((Ran, InputError)) as raised:
        tab.start(data, REQUEST, lambda *args, **more: None)
    return raised.value


def test_a_path_tells_whose_a_file_is(tmp_path):
    flair = THREE.images["flair"]
    assert examples.of_file(flair) is THREE and examples.of_file(THREE.reference) is THREE
    assert examples.of_file(flair.parent / ".." / flair.parent.name / flair.name) is THREE
    for other in (*copied(flair, tmp_path), "", "nowhere.nii", flair.parent / "case.json"):
        assert examples.of_file(other) is None


@pytest.mark.parametrize("example", CASES.values(), ids=CASES)
def test_all_of_an_example_runs_as_it_is(form, example):
    if example_tab(example) not in TASKS:
        pytest.skip("in no tab")
    tab, chosen, data = form(example)
    used = tab.example_inputs.select_run_inputs(chosen, data)
    assert used.data == data and used.notes == ()
    assert set(tab.example_inputs.remove_example_files(data)) == {tab.example_inputs.example_name}


@pytest.mark.parametrize("example", CASES.values(), ids=CASES)
def test_with_an_image_of_ones_own_nothing_of_an_example_runs(form, example, tmp_path):
    """For every method: whatever the page sends, and whether or not it has emptied its boxes."""
    if example_tab(example) not in TASKS:
        pytest.skip("in no tab")
    tab, chosen, data = form(example)
    own = copied(example.images[main(example)], tmp_path)
    data[chosen.boxes[main(example)]] = own
    used = tab.example_inputs.select_run_inputs(chosen, data)
    boxes = {name: used.data[box] for name, box in chosen.boxes.items()}
    assert boxes == {**dict.fromkeys(boxes), main(example): own} and not used.data[tab.reference]
    for name in example.settings:
        option = next(o for o in chosen.card.options if o.name == name)
        assert used.data[(chosen.options | chosen.live)[name]] == option.default
    lost = len(example.images) > 1 or example.reference is not None
    assert any(note.startswith("Left out") for note in used.notes) == lost
    shown = data | tab.example_inputs.remove_example_files(data)
    assert shown == used.data | {k: shown[k] for k in (tab.example_inputs.example_name, *tab.panel.clear())}, (
        "emptied of the same"
    )
    assert shown[tab.example_inputs.example_name] == ""


def test_three_sequences_then_ones_own_flair(form, tmp_path):
    own = copied(CASES["no_lesion"].images["flair"], tmp_path)
    tab, _, data = form(THREE, flair=own)
    ran = started(tab, data)
    assert isinstance(ran, Ran) and [n for n, v in ran.volumes.items() if v is not None] == ["flair"]


def test_both_in_one_box_are_the_visitors_alone(form, tmp_path):
    own = copied(CASES["no_lesion"].images["flair"], tmp_path)
    tab, chosen, data = form(THREE, flair=[str(THREE.images["flair"]), *own])
    assert tab.example_inputs.remove_example_files(data)[chosen.boxes["flair"]] == own
    assert started(tab, data).volumes["flair"].shape == CASES["no_lesion"].volumes(chosen.card.inputs)[1].shape


def test_ones_own_further_sequence_does_not_go_with_an_examples_image(form, tmp_path):
    own = copied(THREE.images["t1"], tmp_path)
    tab, chosen, data = form(THREE, t1=own)
    message = str(started(tab, data))
    assert "FLAIR, Post-contrast T1, Reference" in message and "No FLAIR image" in message
    emptied = tab.example_inputs.remove_example_files(data)
    assert emptied[chosen.boxes["flair"]] is None and chosen.boxes["t1"] not in emptied


def test_ones_own_reference_counts_as_ones_own(form, tmp_path):
    tab, chosen, data = form(PET)
    data[tab.reference] = copied(PET.reference, tmp_path)
    assert "No PET image" in str(started(tab, data))
    emptied = tab.example_inputs.remove_example_files(data)
    assert emptied[chosen.boxes["image"]] is None and tab.reference not in emptied


@pytest.mark.parametrize(("left", "then"), [(PET, CT), (CT, PET), (FINER, CT)])
def test_a_reference_does_not_go_over_to_another_method(form, left, then, tmp_path):
    tab, _, data = form(left)
    other = tab.by_name[then.pipeline]
    data[tab.method] = then.pipeline
    emptied = tab.example_inputs.remove_example_files(data)
    assert emptied[tab.reference] is None and emptied[tab.example_inputs.example_name] == ""
    assert all(emptied[tab.by_name[left.pipeline].boxes[name]] is None for name in left.images)
    for image in (copied(then.images["image"], tmp_path), [str(then.images["image"])]):  # or another example's
        used = tab.example_inputs.select_run_inputs(other, data | {other.boxes["image"]: image})
        assert used.data[tab.reference] is None and used.data[other.boxes["image"]] == image


@pytest.mark.parametrize("role", ["fixed", "moving"])
def test_landmarks_and_words_of_an_example_go_with_its_images(form, role, tmp_path):
    own = copied(BENT.images[role], tmp_path)
    tab, chosen, data = form(BENT, **{role: own})
    used = tab.example_inputs.select_run_inputs(chosen, data)
    assert used.data[chosen.options["landmarks"]] == "" and "Landmarks" in used.notes[-1]
    both = {chosen.boxes[name]: copied(BENT.images[name], tmp_path, f"{name}.nii.gz") for name in BENT.images}
    assert started(tab, data | both).options["landmarks"] == ""
    mine = data | both | {chosen.options["landmarks"]: "1, 2, 3, 4, 5, 6"}
    assert started(tab, mine).options["landmarks"] == "1, 2, 3, 4, 5, 6", "what was set by hand stays"
    later = data | both | {tab.example_inputs.example_name: ""}
    assert started(tab, later).options["landmarks"] == BENT.settings["landmarks"], "put in again by hand"
    tab, chosen, data = form(WORDS, **{role: own})
    emptied = tab.example_inputs.remove_example_files(data)
    assert emptied[chosen.options["prompts_b"]] == "" and emptied[chosen.options["refine"]] is True


def test_who_takes_the_main_image_of_an_example_away_has_none_of_it(form):
    tab, chosen, data = form(CHANGE)
    emptied = tab.example_inputs.remove_example_files(data | {chosen.boxes["flair"]: None})
    assert emptied[chosen.boxes["t1"]] is emptied[chosen.boxes["baseline"]] is emptied[tab.reference] is None
    for box in (chosen.boxes["t1"], tab.reference):
        assert set(tab.example_inputs.remove_example_files(data | {box: None})) == {tab.example_inputs.example_name}, (
            "the rest goes on alone"
        )


def test_an_example_takes_the_place_of_everything(built, monkeypatch):
    tab = built["restoration"]
    index = next(n for n, e in enumerate(tab.examples) if e is CT)
    computed = SimpleNamespace(open_session=lambda: Session(Result({}), None), scene=None, result=None)
    monkeypatch.setattr(tabs, "compute_example", lambda *given: computed)
    monkeypatch.setattr(tab, "show", lambda session, is_new, scene: {})
    data = dict.fromkeys(tab.example_inputs.boxes) | {tab.example_inputs.known_uploads: []}
    shown = tab.pick_example(data, SimpleNamespace(index=index), REQUEST)
    pet, ct = tab.by_name["restore_pet_rat"], tab.by_name["restore_ct_rat"]
    assert shown[ct.boxes["image"]] == [str(CT.images["image"])] and shown[ct.boxes["region_map"]] is None
    assert shown[pet.boxes["image"]] is None and shown[pet.options["counts"]] == "auto"
    assert shown[tab.example_inputs.example_name] == CT.name
    assert rows_of(shown[tab.example_inputs.summary])["CT"] == "example"

    clicked, mine = dict(data), "mine.nii.gz"
    tab.example_inputs.remove_example_files({**data, pet.boxes["image"]: [mine], **other_values(tab)})
    assert set(tab.pick_example(clicked, SimpleNamespace(index=index), REQUEST)) == {tab.status}, "uploaded since"
    later = data | {pet.boxes["image"]: [mine]}
    assert tab.pick_example(later, SimpleNamespace(index=index), REQUEST)[pet.boxes["image"]] is None, "uploaded before"
    assert tab.reference in tab.pick_example(data, SimpleNamespace(index=index), REQUEST), "and once more"


def other_values(tab) -> dict:
    """What else a form holds at the beginning."""
    known = (*tab.example_inputs.boxes, tab.example_inputs.known_uploads)
    return {component: component.value for component in tab.everything if component not in known}


def test_the_list_says_what_goes_in(form, tmp_path):
    tab, chosen, data = form(THREE)
    assert 'aria-live="polite"' in (message := tab.example_inputs.render(data))
    assert rows_of(message) == dict.fromkeys(["FLAIR", "Pre-contrast T1", "Post-contrast T1", "Reference"], "example")
    own = copied(THREE.images["flair"], tmp_path, "<b>my & scan.nii.gz")
    data |= tab.example_inputs.remove_example_files(data | {chosen.boxes["flair"]: own}) | {chosen.boxes["flair"]: own}
    rows = rows_of(tab.example_inputs.render(data))
    assert rows["FLAIR"] == "yours &lt;b&gt;my &amp; scan.nii.gz" and rows["Pre-contrast T1"] == "none"
    rows = rows_of(tab.example_inputs.render(data | {chosen.boxes["flair"]: own * 24}))
    assert rows["FLAIR"] == "yours 24 files" and rows["Reference"] == "none"
    tab, chosen, data = form(BENT)
    assert rows_of(tab.example_inputs.render(data))["Landmarks"] == "example"
    mine = data | {chosen.options["landmarks"]: "1 2 3 4 5 6"}
    assert rows_of(tab.example_inputs.render(mine))["Landmarks"] == "yours"


def rows_of(table: str) -> dict[str, str]:
    """The owner and name of what goes in, by title."""
    found = re.findall(r"<tr.*?<th[^>]*>(.*?)</th><td>(.*?)</td></tr>", table)
    return {title: re.sub("</?b>", "", owner) for title, owner in found}


def test_a_scan_of_ones_own_is_offered_to_the_next_method(form, tmp_path):
    tab, chosen, data = form(THREE)
    other = tab.by_name["segment_ms_rsanet"]
    data |= dict.fromkeys(tab.example_inputs.boxes) | {
        chosen.boxes["flair"]: (own := copied(THREE.images["flair"], tmp_path))
    }
    assert not tab.example_inputs.offer_scan(data).visible, "it is there already"
    there = data | {tab.method: other.card.name}
    offer = tab.example_inputs.offer_scan(there)
    assert offer.visible and Path(own[0]).name in offer.value
    assert tab.example_inputs.use_scan(there)[other.boxes["flair"]] == own
    example = there | {chosen.boxes["flair"]: [str(THREE.images["flair"])]}
    assert not tab.example_inputs.offer_scan(example).visible, "of an example nothing goes over"
    assert set(tab.example_inputs.use_scan(example)) == {tab.example_inputs.offer.button}


def test_who_leaves_does_not_take_an_example_along(tmp_path):
    files, visitor = Ownership(), Caller("127.0.0.1", "cookie")
    file = tmp_path / "example.nii.gz"
    file.write_bytes(b"x")
    files.publish([file])
    files.give(file, visitor, "session")
    files.check(str(file), visitor, "session")
    files.leave("session")
    assert file.exists()
