"""Which cases a method finds: in a BIDS study by its entities, in a CSV by its columns, in a folder by its files."""

import pytest
from bids_studies import touch_files

from medapp.cohorts.bids_study import Selection, find_cases, parse_filters
from medapp.cohorts.path_list import read_csv_cases, read_folder_cases
from medapp.errors import InputError, OptionError
from medapp.presenters.derivative_names import TEMPLATE_NAME
from medapp.serving import runtime

GLIOMA, MS, STROKE, REGISTRATION = (
    runtime.find_card(name)
    for name in ("segment_glioma_ar2unet", "segment_ms_rsanet", "segment_stroke_raxnet", "register_brain_textscf")
)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return touch_files(
        tmp_path_factory.mktemp("a study") / "with spaces",
        [
            "sub-01/ses-2/anat/sub-01_ses-2_FLAIR.nii.gz",
            "sub-01/ses-2/anat/sub-01_ses-2_acq-3d_T1w.nii.gz",
            "sub-01/ses-2/anat/sub-01_ses-2_ce-gd_T1w.nii.gz",
            "sub-01/ses-10/anat/sub-01_ses-10_FLAIR.nii.gz",
            "sub-02/anat/sub-02_run-1_FLAIR.nii",
            "sub-02/anat/sub-02_run-2_FLAIR.nii",
            "sub-02/anat/sub-02_run-1_T1w.nii.gz",
            "sub-02/anat/sub-02_run-2_T1w.nii.gz",
            "sub-02/anat/sub-02_run-2_FLAIR.json",
            "sub-03/ses-1/func/sub-03_ses-1_task-rest_bold.nii.gz",
            "sub-04/anat/sub-04_acq-a_T1w.nii.gz",
            "sub-04/anat/sub-04_space-orig_desc-brain_T1w.nii.gz",
            "sub-04/anat/sub-04_part-phase_T1w.nii.gz",
            "derivatives/other/sub-01/anat/sub-01_FLAIR.nii.gz",
        ],
    )


def names(cases):
    return [case.name for case in cases if not case.missing]


def test_exams_in_their_order_runs_as_cases_and_what_is_missing(study):
    cases = find_cases(study, GLIOMA, Selection())
    assert names(cases) == ["sub-01_ses-2", "sub-01_ses-10", "sub-02_run-1", "sub-02_run-2"]
    assert {case.name: case.missing for case in cases if case.missing} == {
        "sub-03_ses-1": "no FLAIR was found",
        "sub-04": "no FLAIR was found",
    }
    assert cases[0].folder.as_posix() == "sub-01/ses-2" and cases[0].datatype == "anat" and cases[0].suffix == "FLAIR"


def test_other_inputs_are_of_the_same_exam_and_closest_in_their_entities(study):
    by_name = {case.name: case for case in find_cases(study, GLIOMA, Selection())}
    first = {name: path.name for name, path in by_name["sub-01_ses-2"].images.items()}
    assert first["t1"] == "sub-01_ses-2_acq-3d_T1w.nii.gz" and first["t1ce"] == "sub-01_ses-2_ce-gd_T1w.nii.gz"
    assert set(by_name["sub-01_ses-10"].images) == {"flair"}
    assert by_name["sub-02_run-2"].images["t1"].name == "sub-02_run-2_T1w.nii.gz"


def test_people_exams_and_filters_select(study):
    assert names(find_cases(study, GLIOMA, Selection(participants=["02"]))) == ["sub-02_run-1", "sub-02_run-2"]
    assert names(find_cases(study, GLIOMA, Selection(sessions=["10"]))) == ["sub-01_ses-10"]
    filters = parse_filters(["run=02"], GLIOMA)
    assert names(find_cases(study, GLIOMA, Selection(participants=["02"], filters=filters))) == ["sub-02_run-2"]
    filters = parse_filters(["t1.acq=none"], GLIOMA)
    assert "t1" not in find_cases(study, GLIOMA, Selection(participants=["01"], filters=filters))[0].images
    assert names(find_cases(study, STROKE, Selection(participants=["04"]))) == ["sub-04_acq-a"]
    filters = parse_filters(["desc=brain"], STROKE)
    found = find_cases(study, STROKE, Selection(participants=["04"], filters=filters))
    assert names(found) == ["sub-04_space-orig_desc-brain"]


def test_nobody_and_an_unknown_person_are_refused(study):
    with pytest.raises(OptionError, match="sub-99"):
        find_cases(study, GLIOMA, Selection(participants=["99"]))
    with pytest.raises(InputError, match="FLAIR"):
        find_cases(study, GLIOMA, Selection(participants=["04"]))
    with pytest.raises(OptionError, match="ENTITY=VALUE"):
        parse_filters(["nonsense"], GLIOMA)


def test_the_exam_before_is_the_earlier_scan_by_choice(study):
    plain = find_cases(study, MS, Selection(participants=["01"]))
    assert all("baseline" not in case.images for case in plain)
    first, second = find_cases(study, MS, Selection(participants=["01"], longitudinal=True))
    assert "baseline" not in first.images and second.images["baseline"] == first.images["flair"]


def test_registration_goes_onto_the_template_or_onto_a_person(study):
    onto_template = find_cases(study, REGISTRATION, Selection(participants=["02"]))
    assert [case.fixed for case in onto_template] == [TEMPLATE_NAME] * 2
    assert all(set(case.images) == {"moving"} for case in onto_template)
    onto_person = find_cases(study, REGISTRATION, Selection(fixed="sub-04"))
    assert "sub-04_acq-a" not in names(onto_person)
    assert {case.images["fixed"].name for case in onto_person if not case.missing} == {"sub-04_acq-a_T1w.nii.gz"}
    assert {case.fixed for case in onto_person if not case.missing} == {"sub04"}


def test_csv_has_a_column_for_each_input(tmp_path):
    for name in ("a.nii.gz", "b.nii.gz"):
        (tmp_path / name).write_bytes(b"")
    table = tmp_path / "people.csv"
    table.write_text("participant_id,session_id,flair,t1\nsub-x_1,1,a.nii.gz,b.nii.gz\ny,,gone.nii.gz,\ny,,b.nii.gz,\n")
    cases = read_csv_cases(table, GLIOMA, Selection())
    assert [case.name for case in cases] == ["sub-x1_ses-1", "sub-y_run-1", "sub-y_run-2"]
    assert cases[0].images == {"flair": tmp_path / "a.nii.gz", "t1": tmp_path / "b.nii.gz"}
    assert cases[1].missing == "no file for flair"
    table.write_text("scan\na.nii.gz\n")
    with pytest.raises(InputError, match="column flair"):
        read_csv_cases(table, GLIOMA, Selection())


def test_folder_has_a_case_for_each_image(tmp_path):
    for name in ("Ann/t1.nii.gz", "Bob-2/t1.mgz", "Cyd/1.dcm", "Cyd/2.dcm", "notes.txt", ".hidden.nii"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"")
    cases = read_folder_cases(tmp_path, STROKE, Selection())
    assert [case.name for case in cases] == ["sub-Annt1", "sub-Bob2t1", "sub-Cyd"]
    assert cases[2].images["image"] == tmp_path / "Cyd"
