"""Every hostile file is refused in one sentence, soon, in little memory, and without a word of what is in it."""

import resource
import threading
import time
from pathlib import Path

import detached  # noqa: F401  (adds its cases)
import numpy as np
import pytest
from corpus import CASES, SECRET, WHOLE, dicom, meta, nifti, nrrd, put, saved

from medapp import limits
from medapp.errors import InputError
from medapp.io import files, validation
from medapp.io.dicom import pixels

SECONDS = 2  # of this process's time, which does not grow on a busy machine
MEGABYTES = 700


@pytest.fixture(scope="module", autouse=True)
def bounded():
    """No more memory than now and some; beyond that there is a MemoryError, which no test forgives."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEGABYTES * 1024**2, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.mark.parametrize("name", CASES)
def test_every_hostile_file_is_refused_in_one_sentence(name: str, tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    (tmp_path / "up").mkdir()
    paths = CASES[name](tmp_path / "up")
    began = time.process_time()
    with pytest.raises(InputError) as caught:
        files.read(paths, colour=True)
    message = str(caught.value)
    assert time.process_time() - began < SECONDS
    assert message.endswith(".") and message.isprintable() and len(message) < 400 and str(tmp_path) not in message
    assert not set(message) & set("<>/\\")
    assert SECRET not in message + "".join(capfd.readouterr())


@pytest.mark.parametrize("name", WHOLE)
def test_the_complete_files_are_read(name: str, tmp_path: Path) -> None:
    assert files.read(put(name, WHOLE[name], tmp_path)).array.size


def test_nothing_that_is_read_identifies_the_patient(tmp_path: Path, capfd: pytest.CaptureFixture, recwarn) -> None:
    odd = {"PatientName": SECRET * 99, "SeriesDescription": SECRET * 99, "StudyDate": SECRET, "Units": SECRET * 9}
    ds = dicom(**odd)
    ds.add_new(0x00091001, "LO", SECRET)
    slices = [ds, dicom(**odd, ImagePositionPatient=[0, 0, 2])]
    kept = []
    for n, paths in enumerate((saved(*slices), lambda folder: put("a.nii", nifti(), folder))):
        (tmp_path / str(n)).mkdir()
        volume = files.read(paths(tmp_path / str(n)))
        kept += [str(header) for header in volume.headers] + [volume.name, *volume.remarks]
        written = files.write(volume, tmp_path / f"out{n}.nii")
        assert SECRET.encode() not in written.read_bytes()
    assert SECRET not in " ".join(kept) + "".join(capfd.readouterr()) + " ".join(str(w.message) for w in recwarn)


def test_patient_elements_are_removed_on_reading(tmp_path: Path) -> None:
    (path,) = saved(dicom())(tmp_path)
    opened = pixels.read_dataset(path)
    assert "PatientName" not in opened and "PatientID" not in opened


def test_missing_compressed_data_is_not_filled_with_memory(tmp_path: Path) -> None:
    for name in ("z.mha", "z.nrrd"):
        whole = put(name, WHOLE[name], tmp_path)
        np.testing.assert_array_equal(files.read(whole).array.ravel("F"), np.arange(27))
        for end in range(1, 20):
            put(name, WHOLE[name][:-end], tmp_path)
            try:
                np.testing.assert_array_equal(files.read(whole).array.ravel("F"), np.arange(27))
            except InputError:
                continue


def test_free_text_and_unknown_fields_do_not_reach_itk(tmp_path: Path) -> None:
    long = "x" * 5000
    for name, data in {
        "a.mha": meta(f"Comment = {long}", f"Name = {long}", "ObjectSubType ="),
        "a.nrrd": nrrd(f"content: {long}", f"who:={SECRET}", f"# {SECRET}"),
    }.items():
        assert files.read(put(name, data, tmp_path)).shape == (3, 3, 3)


def test_reading_stops_at_the_time_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validation.time, "monotonic", iter(range(0, 10**6, limits.MAX_READ_SECONDS + 1)).__next__)
    with pytest.raises(InputError, match="seconds to read"):
        files.read(put("a.zip", WHOLE["a.zip"], tmp_path))


def test_parallel_reads_do_not_mix(tmp_path: Path) -> None:
    values: dict[int, set] = {n: set() for n in range(4)}

    def read(n: int) -> None:
        (tmp_path / str(n)).mkdir()
        paths = put("scan.nii", nifti(voxels=np.full(432, n, "<i2").tobytes()), tmp_path / str(n))
        for _ in range(10):
            values[n] |= set(np.unique(files.read(paths).array).tolist())

    threads = [threading.Thread(target=read, args=(n,)) for n in values]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert values == {n: {n} for n in values}
