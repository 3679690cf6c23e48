"""`python -m medapp bids` as it is called: twelve people, worker processes, one of them killed, and the validator."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from bids_studies import METHOD, touch_files, write_flairs

from medapp.cli import main
from medapp.cohorts.bids_validation import find_errors
from medapp.cohorts.case_record import read_records
from medapp.cohorts.cluster import choose_workers

DAMAGED, WITHOUT = "sub-03", "sub-12"


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Eleven people with a FLAIR, one of them at two exams and one with a damaged file, and one without a FLAIR."""
    people = [f"sub-{n:02d}/anat/sub-{n:02d}_FLAIR.nii.gz" for n in range(3, 12)]
    exams = [f"sub-{p}/ses-{n}/anat/sub-{p}_ses-{n}_FLAIR.nii.gz" for p in ("01", "02") for n in (1, 2)]
    root = write_flairs(tmp_path_factory.mktemp("cohort") / "study", [*exams, *people])
    (root / people[0]).write_bytes((root / people[0]).read_bytes()[:5000])
    touch_files(root, [f"{WITHOUT}/anat/{WITHOUT}_T1w.nii.gz"])
    return root


def call(study: Path, *more: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "medapp", "bids", study, study / "derivatives", *more, "--method", METHOD]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def kill_a_worker(process: subprocess.Popen, dataset: Path) -> None:
    """Kill a worker process once the first case is done."""
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline and process.poll() is None:
        done = list(dataset.glob("cases/sub-0*_ses-*.json"))
        busy = {log.stem for log in dataset.glob("logs/*.log")} - {record.stem for record in dataset.glob("cases/*")}
        if done and busy:
            workers = [
                p for p in psutil.Process(process.pid).children(recursive=True) if "spawn_main" in str(p.cmdline())
            ]
            os.kill(max(workers, key=lambda p: p.memory_info().rss).pid, signal.SIGKILL)
            return
        time.sleep(0.05)
    raise AssertionError("no worker was at work")


def test_a_study_survives_a_killed_worker_and_goes_on_where_it_was(study, capsys):
    dataset = study / "derivatives" / f"medapp-{METHOD}"
    process = call(study, "participant", "--n-jobs", "2", "--skip-bids-validation")
    kill_a_worker(process, dataset)
    out, err = process.communicate(timeout=600)
    assert process.returncode == 1, err
    assert "12 of 14 cases done" in out and ", 2 failed" in out and "Traceback" not in err
    records = {record.name: record for record in read_records(dataset)}
    assert {name for name, record in records.items() if record.status == "failed"} == {DAMAGED, WITHOUT}
    assert all(record.is_whole(dataset) for name, record in records.items() if name not in (DAMAGED, WITHOUT))

    (dataset / "sub-05" / "anat" / "sub-05_space-orig_label-lesion_mask.nii.gz").unlink()
    before = {path: path.stat().st_mtime_ns for path in dataset.glob("sub-0[4-9]/anat/*")}
    arguments = ["bids", str(study), str(study / "derivatives"), "participant", "--method", METHOD]
    arguments += ["--participant-label", "sub-04", "05", "06", "--skip-bids-validation", "--quiet"]
    assert main(arguments) == 0
    assert "3 of 3 cases done (2 of them before)" in capsys.readouterr().out
    changed = {path.parts[-3] for path, when in before.items() if path.stat().st_mtime_ns != when}
    assert changed == {"sub-05"} and records["sub-05"].is_whole(dataset)

    assert main(["bids", str(study), str(study / "derivatives"), "group", "--method", METHOD]) == 0
    table = (dataset / "group" / "metrics.tsv").read_text().splitlines()
    assert len(table) == 15 and (dataset / "group" / "changes.tsv").is_file()
    assert (dataset / "group" / "quality.html").read_text().count("data:image/jpeg") == 12
    errors = find_errors(dataset)
    if errors is None:
        pytest.skip("the BIDS validator does not run here")
    assert errors == []


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"--participant-label": "99"}, "sub-99"),
        ({"--session-label": "7"}, "FLAIR"),
        ({"--method": "no_such"}, "no_such"),
        ({"--set": "threshold=7"}, "threshold"),
        ({"--n-jobs": "0"}, "n-jobs"),
        ({"--scheduler": "nonsense"}, "scheduler"),
        ({"--fixed": "x", "--filter": "???"}, "ENTITY"),
    ],
)
def test_wrong_use_is_said_in_a_sentence(study, tmp_path, capsys, change, word):
    options = {"--method": METHOD} | change
    arguments = [text for pair in options.items() for text in pair]
    assert main(["bids", str(study), str(tmp_path), "participant", *arguments, "--skip-bids-validation"]) == 2
    assert word in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_is_said(study, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    arguments = ["bids", str(study), str(tmp_path / "file"), "participant", "--method", METHOD]
    assert main([*arguments, "--skip-bids-validation"]) == 2
    assert "written" in capsys.readouterr().err


def test_the_validator_refuses_a_study_that_is_none(tmp_path, capsys):
    touch_files(tmp_path / "study", ["sub-01/anat/sub-01_FLAIR.nii.gz"])
    if find_errors(tmp_path / "study") is None:
        pytest.skip("the BIDS validator does not run here")
    arguments = ["bids", str(tmp_path / "study"), str(tmp_path / "out"), "participant", "--method", METHOD]
    assert main(arguments) == 2
    assert "EMPTY_FILE" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_workers_are_limited_by_cases_and_memory():
    assert choose_workers(8, 3, 1.0, "cpu") == 3
    assert choose_workers(None, 100, 10_000.0, "cpu") == 1
