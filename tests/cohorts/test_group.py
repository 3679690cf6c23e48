"""The group: one table with its dictionary, outliers, changes between exams, and the frequency map."""

import csv
import json

import numpy as np
from cohort_records import make_record, make_records

from medapp.algorithms.mni_template import load_template
from medapp.cohorts.exam_changes import find_changes
from medapp.cohorts.frequency_map import compute_frequency
from medapp.cohorts.group import write_group
from medapp.cohorts.group_table import make_rows, score_outliers
from medapp.cohorts.stacked_tables import stack_tables
from medapp.io import files


def test_scores_are_robust_and_need_a_few_values():
    scores = score_outliers(np.array([1.0, 2, 3, 2, 1, 2, 100]))
    assert scores[-1] > 3.5 and (scores[:-1] < 3.5).all()
    assert score_outliers(np.array([0.0] * 9 + [5]))[-1] > 3.5
    assert not score_outliers(np.array([1.0, 100])).any()


def test_table_has_a_row_for_each_case_and_a_dictionary(tmp_path):
    rows = make_rows(make_records(), {"sub-01_ses-1": "pass"})
    write_group(rows, tmp_path, tmp_path / "group", "Method")
    with (tmp_path / "group" / "metrics.tsv").open(newline="") as file:
        table = {line["case"]: line for line in csv.DictReader(file, dialect="excel-tab")}
    dictionary = json.loads((tmp_path / "group" / "metrics.json").read_text())
    assert set(dictionary) == set(table["sub-05"]) and dictionary["volume"]["Units"] == "ml"
    assert table["sub-05"]["status"] == "failed" and table["sub-05"]["volume"] == "n/a"
    assert table["sub-04_ses-2"]["outliers"] == "volume" and table["sub-01_ses-1"]["mark"] == "pass"
    assert "sub-05\tNo FLAIR was found." in (tmp_path / "group" / "failures.tsv").read_text()
    charts = (tmp_path / "group" / "charts.html").read_text()
    assert "Plotly.newPlot" in charts and "sub-04_ses-2" in charts


def test_tables_of_cases_are_stacked(tmp_path):
    for name, text in (("a", "lesion\tml\n1\t2.5\n2\t0.5\n"), ("b", "lesion\tml\tDice\n1\t3\t0.9\n")):
        (tmp_path / f"{name}_desc-lesions_stats.tsv").write_text(text)
    files_of = {"01": "a", "02": "b", "03": "gone"}
    records = [make_record(p, "1", 1, files={f"{n}_desc-lesions_stats.tsv": 1}) for p, n in files_of.items()]
    columns, rows = stack_tables(make_rows(records, {}), tmp_path)["lesions"]
    assert columns == ["participant_id", "session_id", "case", "lesion", "ml", "Dice"]
    assert [row[0] for row in rows] == ["sub-01", "sub-01", "sub-02"] and rows[1][3:] == ["2", "0.5", "n/a"]


def test_changes_leave_out_what_is_marked_as_fail():
    changes = {change.person: change for change in find_changes(make_rows(make_records(), {"sub-04_ses-2": "fail"}))}
    assert set(changes) == {"sub-01", "sub-02", "sub-03"}
    assert changes["sub-01"].cells()[-2:] == [1.0, 50.0]


def test_a_person_counts_once_in_the_frequency_map(tmp_path):
    template = load_template()
    masks = {"a": (10, 20), "b": (15, 25), "c": (10, 20)}  # first and last slice of each
    for name, (low, high) in masks.items():
        array = np.zeros(template.shape, np.uint8)
        array[60:64, 60:64, low:high] = 1
        files.write(template.new_like(array, labels={1: "lesion"}), tmp_path / f"{name}.nii.gz")
    records = [
        make_record("01", "1", 1, template_mask="a.nii.gz"),
        make_record("01", "2", 1, template_mask="b.nii.gz"),
        make_record("02", "1", 1, template_mask="c.nii.gz"),
        make_record("03", "1", 1, template_mask="gone.nii.gz"),
    ]
    found = compute_frequency(make_rows(records, {}), tmp_path)
    assert found and found.people == 2 and found.unread == ["sub-03_ses-1"]
    np.testing.assert_allclose(found.share.array[61, 61, [9, 12, 17, 22, 25]], [0, 0.75, 1, 0.25, 0])
