"""Uploads are read in another process: the same images, the same errors, and a crash takes nothing with it."""

import os
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
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
def temporary_folder(tmp_path_factory, monkeypatch) -> Iterator[Path]:
    """No process of other tests, and a temporary folder of this test alone."""
    sandbox.stop()
    folder = tmp_path_factory.mktemp("temporary")
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    sandbox.stop()


@pytest.fixture
def scan(tmp_path) -> Path:
    array = np.random.default_rng(0).integers(0, 900, (12, 14, 9)).astype(np.int16)
    nib.save(
        nib.Nifti1Image(array, np.array([[0, 2, 0, 5], [-1, 0, 0, 7], [0, 0.1, 3, -9], [0, 0, 0, 1.0]])),
        tmp_path / "a.nii.gz",
    )
    return tmp_path / "a.nii.gz"


def reader_pids() -> list[int]:
    return [reader.process.pid for reader in sandbox.idle_readers]


def test_an_image_is_the_same_as_without_the_sandbox_and_one_process_serves_all(scan):
    expected, volume = files.read([scan], name="T1"), sandbox.read([scan], name="T1")
    np.testing.assert_array_equal(volume.array, expected.array)
    np.testing.assert_array_equal(volume.affine, expected.affine)
    assert (volume.name, volume.unit, volume.remarks) == ("T1", expected.unit, expected.remarks)
    before = reader_pids()
    assert len(before) == 1 and os.getpid() not in before
    ct = [get_testdata_file("CT_small.dcm")]
    assert sandbox.read(ct).unit == files.read(ct).unit == "HU"
    assert len(sandbox.read(ct).headers) == len(files.read(ct).headers) > 0
    assert reader_pids() == before


def test_errors_are_the_same_as_without_the_sandbox(tmp_path):
    (tmp_path / "a.txt").write_text("no image")
    for number in range(2):
        ds = dcmread(get_testdata_file("CT_small.dcm"))
        ds.SeriesInstanceUID, ds.SOPInstanceUID = generate_uid(), generate_uid()
        ds.save_as(tmp_path / f"{number}.dcm")
    for paths, kind in (([tmp_path / "a.txt"], InputError), ([tmp_path], SeveralSeriesError)):
        with pytest.raises(kind) as expected:
            files.read(paths)
        with pytest.raises(kind) as caught:
            sandbox.read(paths)
        assert type(caught.value) is kind and str(caught.value) == str(expected.value)
        assert getattr(caught.value, "series", ()) == getattr(expected.value, "series", ())


def read_with_stopped_process(scan: Path, kill: int | None) -> InputError:
    """Return the error of a read whose process is stopped, and then killed with a signal if there is one."""
    sandbox.start()
    (pid,) = reader_pids()
    os.kill(pid, signal.SIGSTOP)
    (sandbox.idle_readers[0].folder / "half unpacked").write_text("a patient")
    errors: list[InputError] = []

    def call() -> None:
        with pytest.raises(InputError) as caught:
            sandbox.read([scan])
        errors.append(caught.value)

    caller = threading.Thread(target=call)
    caller.start()
    while sandbox.idle_readers:  # until the call has taken the process
        time.sleep(0.01)
    if kill:
        os.kill(pid, kill)
    caller.join(30)
    assert not reader_pids()
    return errors[0]


def test_a_process_that_crashes_is_replaced_and_leaves_nothing(scan, temporary_folder):
    assert "read safely" in str(read_with_stopped_process(scan, signal.SIGKILL))
    assert not list(temporary_folder.iterdir())
    assert sandbox.read([scan]).shape == (12, 14, 9)


def test_a_process_that_hangs_is_not_waited_for(scan, temporary_folder, monkeypatch):
    monkeypatch.setattr(sandbox, "REPLY_TIMEOUT", 0.5)
    assert "longer than" in str(read_with_stopped_process(scan, None))
    assert not list(temporary_folder.iterdir())


def test_uploads_are_read_side_by_side_but_not_all_at_once(scan):
    callers = [threading.Thread(target=sandbox.read, args=([scan],)) for _ in range(6)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(60)
    assert 1 <= len(reader_pids()) <= sandbox.MAX_PARALLEL_READS


def test_a_process_has_a_memory_limit_and_ends_with_the_page(scan):
    sandbox.read([scan])
    (reader,) = sandbox.idle_readers
    limits = Path(f"/proc/{reader.process.pid}/limits").read_text()
    assert limits.split("Max address space")[1].split()[0] == str(sandbox.MEMORY_LIMIT)
    reader.process.stdin.close()  # as when the page is killed
    assert reader.process.wait(10) == 0
