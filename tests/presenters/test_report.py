"""The report and the bundle of a small made-up result."""

import errno
import json
import re
import zipfile
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from pydicom.dataset import Dataset

from medapp.analysis.lesions import measure_lesions
from medapp.imaging.volume import Volume
from medapp.presenters import PRESENTERS, report
from medapp.result import NOT_A_DIAGNOSIS, Provenance, Result

LESIONS = PRESENTERS["lesions"]
NASTY = "<script>alert('&')</script>"
VOID = {"meta", "img", "link", "br", "line", "rect", "polyline"}


class Page(HTMLParser):
    """Reads a page and remembers its tags; fails on a tag that closes what is not open."""

    def __init__(self) -> None:
        super().__init__()
        self.open, self.tags, self.words = [], [], ""

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words += data


def render(result: Result, *about) -> str:
    return report.render_report(result, LESIONS, *about)


def save(result: Result, folder):
    return report.save_with_report(result, LESIONS, folder, "A method")


def read(text: str) -> Page:
    page = Page()
    page.feed(text)
    page.close()
    assert not page.open
    return page


@pytest.fixture(scope="module")
def result() -> Result:
    rng = np.random.default_rng(0)
    affine = np.diag([-3.0, -3.0, 4.0, 1.0])
    image = np.zeros((40, 44, 24), np.float32)
    image[8:32, 8:36, 4:20] = rng.uniform(100, 200, (24, 28, 16))
    probability = np.zeros_like(image)
    probability[12:18, 12:18, 8:12] = 0.9
    probability[24:26, 24:26, 14] = 0.7
    flair = Volume(image, affine, name="FLAIR <1>", remarks=("secret.nii",))
    volumes = {"image": flair, "probability": flair.new_like(probability, name="probability")}
    origin = Provenance(
        "segment_test", {"sha256": "ab" * 32, "source": NASTY}, "cpu", "fp32", "torch", 3.21, 512.0, {"medapp": "0"}
    )
    return measure_lesions(Result(volumes, notes=(NASTY,), provenance=origin, settings={"way": NASTY}), 0.5)


def test_the_page_is_whole_and_loads_nothing(result):
    text = render(result, "A method", {"Licence": NASTY})
    page = read(text)
    assert page.tags[0] == ("html", {"lang": "en"})
    assert all(a["src"].startswith("data:image/png;base64,") for tag, a in page.tags if tag == "img")
    assert not any("href" in a or tag in ("script", "link", "iframe") for tag, a in page.tags)
    assert not re.search(r"https?://|url\(|@import", text)


def test_text_from_outside_is_escaped(result):
    text = render(result, NASTY, {NASTY: NASTY})
    assert "<script" not in text
    assert read(text).words.count(NASTY) >= 6
    assert "secret" not in text


def test_the_page_says_all_that_matters(result):
    words = read(render(result, "A method")).words
    for said in (
        NOT_A_DIAGNOSIS,
        "A method",
        "FLAIR <1>",
        "40 × 44 × 24",
        "3 × 3 × 4",
        "LPS",
        "segment_test",
        "ab" * 32,
        "3.2 s",
        "512 MB",
    ):
        assert said in words, said
    assert words.index(NOT_A_DIAGNOSIS) < words.index("Lesion volume") < words.index("Provenance")
    assert result.tables["lesions"].about in words
    assert f"{result.metrics['volume'].value} ml" in words


def test_pictures_and_tables_can_be_read_aloud(result):
    page = read(render(result, "A method"))
    assert all(a["alt"] for tag, a in page.tags if tag == "img")
    assert all(a["aria-label"] for tag, a in page.tags if tag == "svg")
    assert all(a["scope"] in ("row", "col") for tag, a in page.tags if tag == "th")
    assert sum(tag == "img" for tag, _ in page.tags) == 2


def test_a_reference_is_compared_and_its_absence_is_not_mentioned(result):
    assert "reference" not in read(render(result, "A method")).words.lower()
    words = read(render(measure_lesions(result, 0.5, reference=result.volumes["mask"]), "A method")).words
    assert "Comparison with the reference" in words and "Dice" in words


def test_a_result_without_lesions_a_flat_one_and_a_bare_image_have_reports_too(result):
    empty = measure_lesions(result, 0.99)
    assert "No lesion at this threshold" in read(render(empty, "A method")).words
    flat = {role: v.new_like(v.array[:, :, 9:10]) for role, v in result.volumes.items()}
    read(render(replace(result, volumes=flat), "A method"))
    coloured = Volume(np.full((30, 20, 1, 3), 90, np.uint8), np.diag([-1.0, -1, 1, 1]))
    assert "Result" not in read(render(Result({"image": coloured}), "A method")).words


def test_the_bundle_holds_the_files_the_report_and_a_legend(result, tmp_path):
    path = save(result, tmp_path / "new").archive
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        ends = ("mask.nii.gz", "probability.nii.gz", "lesions.csv", "result.json", "report.html")
        assert names == [*(f"segment_test_{end}" for end in ends), "README.txt"]
        legend = archive.read("README.txt").decode()
        assert all(name in legend for name in names[:-1])
        assert "space of the input image" in legend and NOT_A_DIAGNOSIS in legend
        assert "a table of the result" not in legend
        read(archive.read("segment_test_report.html").decode())
        archive.extract("segment_test_mask.nii.gz", tmp_path)
    from medapp.io import files

    back = files.read([tmp_path / "segment_test_mask.nii.gz"])
    assert back.grid.is_same(result.volumes["image"].grid)
    assert np.array_equal(back.array > 0, result.volumes["mask"].array > 0)


def broken(*args, **more):
    raise KeyError("Secret^Jane")


@pytest.mark.parametrize(
    ("writer", "lost"),
    [
        ("medapp.io.files.write_dicom_seg", "mask.seg.dcm"),
        ("medapp.io.nifti.write", "mask.nii.gz"),
        ("medapp.result.Table.csv", "lesions.csv"),
    ],
)
def test_a_file_that_cannot_be_written_costs_the_others_nothing(result, tmp_path, monkeypatch, writer, lost, caplog):
    header = Dataset()
    header.Modality = "MR"
    mask = replace(result.volumes["mask"], headers=(header,))
    whole = replace(result, volumes={**result.volumes, "mask": mask})
    if writer != "medapp.io.files.write_dicom_seg":  # of a header that is none, it cannot be written either
        monkeypatch.setattr("medapp.io.files.write_dicom_seg", lambda volume, path, **how: path.write_bytes(b"SEG"))
    monkeypatch.setattr(writer, broken)
    noted, written, _ = whole.write_files(tmp_path / "out", ("mask", "probability"))
    names = {path.name for path in written}
    every = {"mask.nii.gz", "mask.seg.dcm", "probability.nii.gz", "lesions.csv", "result.json"}
    gone = {"mask.nii.gz", "probability.nii.gz"} if lost == "mask.nii.gz" else {lost}
    assert names == every - gone == {path.name for path in (tmp_path / "out").iterdir()}
    assert [note.split()[0] for note in noted.notes[len(whole.notes) :]] == sorted(gone)
    kept = json.loads((tmp_path / "out" / "result.json").read_text())
    assert kept["notes"] == list(noted.notes) and "Secret" not in caplog.text + str(kept)
    saved = save(whole, tmp_path / "r")
    assert [note.split()[0] for note in saved.notes] == sorted(gone)
    with zipfile.ZipFile(saved.archive) as archive:
        assert f"{lost} could not be written" in archive.read("README.txt").decode()
        assert f"{lost} could not be written" in archive.read("segment_test_report.html").decode()
        assert f"segment_test_{lost}" not in archive.namelist()


def test_a_report_that_cannot_be_drawn_costs_the_files_nothing(result, tmp_path, monkeypatch):
    monkeypatch.setattr(report, "render_report", broken)
    with zipfile.ZipFile(save(result, tmp_path / "r").archive) as archive:
        assert "segment_test_mask.nii.gz" in archive.namelist()
        assert "report.html could not be drawn" in archive.read("README.txt").decode()


def test_a_full_disk_and_a_closed_folder_are_not_hidden(result, tmp_path, monkeypatch):
    def full(*args):
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr("medapp.io.files.write", full)
    with pytest.raises(OSError, match="full"):
        result.write_files(tmp_path)


def test_what_has_not_changed_is_not_written_again(result, tmp_path, monkeypatch):
    first = save(result, tmp_path / "first")
    writes = []
    monkeypatch.setattr(
        "medapp.io.files.write", lambda volume, path: writes.append(path.name) or path.write_bytes(b"x")
    )
    moved = LESIONS.recompute(result, None, {"threshold": 0.8, "min_lesion_ml": 0.0})
    second = report.save_with_report(moved, LESIONS, tmp_path / "second", "A method", earlier=first.written)
    assert writes == ["segment_test_mask.nii.gz"] and {f.name for f in first.files} == {f.name for f in second.files}
    kept, linked = (saved.archive.parent / "segment_test_probability.nii.gz" for saved in (first, second))
    assert kept.samefile(linked) and linked.stat().st_size > 100
