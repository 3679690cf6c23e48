"""A case, from its images to its record: done once, done again when it must be, and reported when it fails."""

import errno
import json
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
from bids_studies import METHOD, write_flairs
from filelock import FileLock

from medapp.cohorts import case_run
from medapp.cohorts.case import Case, Study
from medapp.cohorts.case_record import read_record
from medapp.cohorts.case_run import WORK, run_case
from medapp.cohorts.derivative_files import DerivativeWriter
from medapp.serving import runtime

SECRET = "Jane_Doe.nii.gz"
MASK = "sub-01/anat/sub-01_space-orig_label-lesion_mask.nii.gz"


@pytest.fixture
def study(tmp_path):
    card = runtime.find_card(METHOD)
    source = write_flairs(tmp_path / "study", [SECRET])
    return Study(METHOD, card.parse_settings({}), source, tmp_path / "out", "cpu", {card.weights.file: "0"})


@pytest.fixture
def case(study):
    return Case({"sub": "01"}, "anat", "FLAIR", {"flair": study.source / SECRET})


def test_a_case_is_done_once_and_again_when_something_changed(study, case):
    assert run_case(study, case).status == "done"
    mask = nib.load(study.dataset / MASK)
    assert np.asarray(mask.dataobj).any() and mask.shape == nib.load(study.source / SECRET).shape
    sidecar = json.loads((study.dataset / MASK.replace(".nii.gz", ".json")).read_text())
    assert sidecar["Sources"] == [f"bids:raw:{SECRET}"] and sidecar["Type"] == "Lesion"
    record = read_record(study.dataset, "sub-01")
    assert record and record.facts["metrics"]["volume"]["value"] > 1 and record.is_whole(study.dataset)
    assert record.picture in record.files and not list((study.dataset / WORK).glob("sub-01/"))

    assert run_case(study, case).status == "kept"
    (study.dataset / MASK).write_bytes(b"half")
    assert run_case(study, case).status == "done"
    other = replace(study, settings={**study.settings, "threshold": 0.3})
    assert run_case(other, case).status == "done"
    assert run_case(study, case).status == "done"


def test_nothing_tells_the_name_of_a_file(study, case):
    outcome = run_case(study, replace(case, images={"flair": study.source / "none" / SECRET}))
    assert outcome.status == "failed"
    (study.source / SECRET).write_bytes(b"\x1f\x8b damaged")
    outcome = run_case(study, case)
    assert outcome.status == "failed" and outcome.reason and "fault of ours" not in outcome.reason
    log = (study.dataset / "logs" / "sub-01.log").read_text()
    assert "failed" in log and "Jane" not in log + outcome.reason
    assert "Jane" not in (study.dataset / "cases" / "sub-01.json").read_text()


def test_a_full_disk_fails_the_case_and_leaves_no_half_file(study, case, monkeypatch):
    def fill(writer, *_):
        writer._place("sub-01_half.nii.gz").write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(DerivativeWriter, "write_result", fill)
        outcome = run_case(study, case)
    assert outcome.status == "failed" and "full" in outcome.reason
    assert not list(study.dataset.rglob("*half*")) and read_record(study.dataset, "sub-01").status == "failed"
    monkeypatch.setattr(case_run, "SPARE_BYTES", 2**60)
    assert "full" in run_case(study, case).reason


def test_another_command_at_the_same_case_is_waited_for(study, case):
    (study.dataset / WORK).mkdir(parents=True)
    with FileLock(study.dataset / WORK / "sub-01.lock"):
        assert run_case(study, case).status == "busy"
    assert run_case(study, case, wait=True).status == "done"


def test_a_fault_of_ours_is_told_by_its_place_and_not_by_its_text(study, case, monkeypatch):
    monkeypatch.setattr(case_run, "get_presenter", lambda card: {}[SECRET])
    outcome = run_case(study, case)
    assert "KeyError in case_run.py" in outcome.reason and "Jane" not in outcome.reason
