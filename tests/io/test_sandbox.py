"""Uploads are read in another process: the same images, the same words, and nothing falls with a reader that falls."""

import os
import signal
import tempfile
import threading
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.uid import generate_uid

from medapp.errors import InputError
from medapp.io import files, sandbox
from medapp.io.dicom.series_reader import SeveralSeriesError


@pytest.fixture(autouse=True)
def fresh():
    sandbox.stop()
    yield
    sandbox.stop()


@pytest.fixture
def scan(tmp_path) -> Path:
    array = np.random.default_rng(0).integers(0, 900, (12, 14, 9)).astype(np.int16)
    nib.save(
        nib.Nifti1Image(array, np.array([[0, 2, 0, 5], [-1, 0, 0, 7], [0, 0.1, 3, -9], [0, 0, 0, 1.0]])),
        tmp_path / "a.nii.gz",
    )
    return tmp_path / "a.nii.gz"


def readers() -> list[int]:
    return [reader.process.pid for reader in sandbox._idle]


def left() -> set[str]:
    return {p.name for p in Path(tempfile.gettempdir()).glob("medapp-*")}


def test_an_image_is_what_it_is_when_read_here_and_one_process_reads_all(scan):
    here, there = files.read([scan], name="T1"), sandbox.read([scan], name="T1")
    np.testing.assert_array_equal(there.array, here.array)
    np.testing.assert_array_equal(there.affine, here.affine)
    assert (there.name, there.unit, there.remarks) == ("T1", here.unit, here.remarks)
    before = readers()
    assert len(before) == 1 and os.getpid() not in before
    ct = [get_testdata_file("CT_small.dcm")]
    assert sandbox.read(ct).unit == files.read(ct).unit == "HU"
    assert len(sandbox.read(ct).headers) == len(files.read(ct).headers) > 0
    assert readers() == before


def test_refusals_and_choices_are_told_in_the_same_words(tmp_path):
    (tmp_path / "a.txt").write_text("no image")
    for number in range(2):
        ds = dcmread(get_testdata_file("CT_small.dcm"))
        ds.SeriesInstanceUID, ds.SOPInstanceUID = generate_uid(), generate_uid()
        ds.save_as(tmp_path / f"{number}.dcm")
    for paths, kind in (([tmp_path / "a.txt"], InputError), ([tmp_path], SeveralSeriesError)):
        with pytest.raises(kind) as here:
            files.read(paths)
        with pytest.raises(kind) as there:
            sandbox.read(paths)
        assert type(there.value) is kind and str(there.value) == str(here.value)
        assert getattr(there.value, "series", ()) == getattr(here.value, "series", ())


def felled(scan: Path, blow: int | None) -> InputError:
    """What is said when the process is at a standstill, and then hit, while it reads."""
    sandbox.start()
    (pid,) = readers()
    os.kill(pid, signal.SIGSTOP)
    (sandbox._idle[0].folder / "half unpacked").write_text("a patient")
    said: list[InputError] = []

    def call() -> None:
        with pytest.raises(InputError) as caught:
            sandbox.read([scan])
        said.append(caught.value)

    caller = threading.Thread(target=call)
    caller.start()
    if blow:
        os.kill(pid, blow)
    caller.join(30)
    assert not readers()
    return said[0]


def test_a_reader_that_falls_is_replaced_and_leaves_nothing(scan):
    before = left()
    assert "read safely" in str(felled(scan, signal.SIGKILL))
    assert left() == before
    assert sandbox.read([scan]).shape == (12, 14, 9)


def test_a_reader_that_hangs_is_not_waited_for(scan, monkeypatch):
    before = left()
    monkeypatch.setattr(sandbox, "REPLY_TIMEOUT", 0.5)
    assert "longer than" in str(felled(scan, None))
    assert left() == before


def test_uploads_are_read_side_by_side_but_not_all_at_once(scan):
    callers = [threading.Thread(target=sandbox.read, args=([scan],)) for _ in range(6)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(60)
    assert 1 <= len(readers()) <= sandbox.MAX_PARALLEL_READS


def test_a_reader_has_a_limit_of_memory_and_ends_with_the_page(scan):
    sandbox.read([scan])
    (reader,) = sandbox._idle
    limits = Path(f"/proc/{reader.process.pid}/limits").read_text()
    assert limits.split("Max address space")[1].split()[0] == str(sandbox.MEMORY_LIMIT)
    reader.process.stdin.close()  # as when the page is killed
    assert reader.process.wait(10) == 0
