"""What an upload of DICOM holds: scans are told apart or put together as a person would, and a choice is a number."""

import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from dicom_slices import LPS, RAS, assert_refused, multiframe, phantom, save_all, slices
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.uid import SecondaryCaptureImageStorage, generate_uid

from medapp.errors import InputError
from medapp.io import files


def titles(paths: list[Path]) -> list[str]:
    with pytest.raises(files.SeveralSeriesError) as caught:
        files.read(paths)
    assert str(caught.value).endswith(".") and "by its number" in str(caught.value)
    return [series.title for series in caught.value.series]


def moved(datasets: list[Dataset], millimetres: float) -> list[Dataset]:
    """The same slices further along their normal."""
    along = LPS[:3, 2] / np.linalg.norm(LPS[:3, 2]) * millimetres
    for ds in datasets:
        ds.ImagePositionPatient = [float(a + b) for a, b in zip(ds.ImagePositionPatient, along, strict=True)]
    return datasets


def renumbered(datasets: list[Dataset], start: int = 1) -> list[Dataset]:
    """Numbered from the foot up."""
    for n, ds in enumerate(datasets, start=start):
        ds.InstanceNumber = n
    return datasets


def test_slices_that_share_one_uid_are_all_read(tmp_path: Path) -> None:
    volume = files.read(save_all(tmp_path / "s", slices(SOPInstanceUID=generate_uid())))
    np.testing.assert_array_equal(volume.array, phantom())
    np.testing.assert_allclose(volume.affine, RAS, atol=1e-6)


def test_a_slice_uploaded_twice_is_used_once_with_a_remark(tmp_path: Path) -> None:
    again = slices()[2]  # a uid of its own, the same pixels
    series = slices()
    again.SeriesInstanceUID, again.ContentTime = series[0].SeriesInstanceUID, "101112"
    volume = files.read(save_all(tmp_path / "s", [*series, again]))
    np.testing.assert_array_equal(volume.array, phantom())
    assert "1 image was uploaded twice" in volume.remarks[0]


def test_another_image_at_the_same_position_is_not_a_copy(tmp_path: Path) -> None:
    series = slices()
    other = slices(phantom() + 1)[2]
    other.SeriesInstanceUID = series[0].SeriesInstanceUID
    assert_refused(save_all(tmp_path / "s", [*series, other]), "several images")


@pytest.mark.parametrize(
    ("word", "values", "texts"),
    [
        ("EchoTime", (9.0, 90.0), ("echo time 9.0 ms", "echo time 90.0 ms")),
        ("DiffusionBValue", (0.0, 1000.0), ("b-value 0.0", "b-value 1000.0")),
        ("ImageType", (["ORIGINAL", "PRIMARY", "WATER"], ["ORIGINAL", "PRIMARY", "FAT"]), ("kind FAT", "kind WATER")),
        ("AcquisitionNumber", (1, 2), ("acquisition 1", "acquisition 2")),
        ("TemporalPositionIdentifier", (1, 2), ("time point 1", "time point 2")),
        ("FrameReferenceTime", (500.0, 9500.0), ("start 500.0 ms", "start 9500.0 ms")),
        ("AcquisitionTime", ("101010", "111213"), ("acquired at 101010", "acquired at 111213")),
        ("SeriesDescription", ("T1", "T2"), ("T1", "T2")),
        ("SeriesNumber", (5, 6), ("series 5", "series 6")),
    ],
)
@pytest.mark.parametrize("millimetres", [0.0, 1.0, 2.0])
def test_two_scans_under_one_series_uid_are_a_choice(
    tmp_path: Path, word: str, values: tuple, texts: tuple[str, str], millimetres: float
) -> None:
    uid = generate_uid()
    first = renumbered(slices(series=uid, SliceThickness=4.0, **{word: values[0]}))
    second = renumbered(slices(phantom() + 1, series=uid, SliceThickness=4.0, **{word: values[1]}))
    paths = save_all(tmp_path / "s", first + moved(second, millimetres))
    choices = titles(paths)
    assert len(choices) == 2 and all(text in title for text, title in zip(texts, choices, strict=True))
    assert all("6 slices of 9×8" in title for title in choices)
    arrays = [files.read(paths, str(n)).array for n in (1, 2)]
    if texts[0] == "kind FAT":  # sorted by name
        arrays.reverse()
    np.testing.assert_array_equal(arrays[0], phantom())
    np.testing.assert_array_equal(arrays[1], phantom() + 1)


def test_two_scans_that_differ_only_in_their_instance_numbers(tmp_path: Path) -> None:
    uid = generate_uid()
    paths = save_all(
        tmp_path / "s", renumbered(slices(series=uid)) + renumbered(slices(phantom() + 1, series=uid), start=7)
    )
    assert "pass 1 of 2" in titles(paths)[0]
    np.testing.assert_array_equal(files.read(paths, "2").array, phantom() + 1)


def test_a_scan_acquired_in_two_packages_is_one(tmp_path: Path) -> None:
    one = slices(SliceThickness=4.0)
    for k, ds in enumerate(one):
        ds.AcquisitionNumber, ds.AcquisitionTime = 1 + k % 2, f"10101{k % 2}"
    np.testing.assert_array_equal(files.read(save_all(tmp_path / "s", one)).array, phantom())
    blocks = slices()
    for k, ds in enumerate(blocks):
        ds.AcquisitionNumber, ds.SeriesNumber = 1 + k // 3, 3 + k // 3
    np.testing.assert_array_equal(files.read(save_all(tmp_path / "b", blocks)).array, phantom())


def test_frames_of_two_echoes_in_one_enhanced_file(tmp_path: Path) -> None:
    ds = multiframe([0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4, 5])
    for n, group in enumerate(ds.PerFrameFunctionalGroupsSequence):
        echo = Dataset()
        echo.EffectiveEchoTime = 10.0 if n < 6 else 80.0
        group.MREchoSequence = [echo]
    paths = save_all(tmp_path / "s", [ds])
    assert [title.count("echo time") for title in titles(paths)] == [1, 1]
    volume = files.read(paths, "2")
    np.testing.assert_array_equal(volume.array, phantom() * np.arange(1, 7))
    assert volume.headers[0].SourceImageSequence[0].ReferencedFrameNumber == 7


def scout(**changes: object) -> list[Dataset]:
    """Three coronal images of other places, unflagged."""
    lps = np.diag([0.9, 1.7, 4.0, 1.0])
    lps[:3, :3] = np.column_stack([[-0.9, 0, 0], [0, 0, -1.7], [0, 4.0, 0]])
    return slices(phantom()[..., :3], lps, SeriesNumber=1, **changes)


def test_a_scout_is_excluded_by_its_name_or_flag_with_a_remark(tmp_path: Path) -> None:
    scan = save_all(tmp_path / "scan", slices())
    for name, changes in {
        "named": {"SeriesDescription": "Scout_3plane"},
        "protocol": {"ProtocolName": "AAHead localizer"},
        "flagged": {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]},
    }.items():
        paths = scan + save_all(tmp_path / name, scout(**changes))
        volume = files.read(paths)
        np.testing.assert_array_equal(volume.array, phantom())
        assert "Ignored: 3 slices of 9×8, coronal (series 1), a " in volume.remarks[-1]
        assert "3plane" not in volume.remarks[-1], "what a person wrote goes into no result"
        if name != "flagged":  # what was set aside comes last
            assert files.read(paths, "2").shape == (9, 8, 3)
        shutil.rmtree(tmp_path / name)


def test_a_scout_that_looks_like_a_scan_is_offered_as_a_choice(tmp_path: Path) -> None:
    paths = save_all(tmp_path / "s", slices()) + save_all(tmp_path / "s", scout(SeriesDescription="Head"))
    choices = titles(paths)
    assert choices == [
        "1. Head, 3 slices of 9×8, coronal (series 1)",
        "2. Ax FLAIR, 6 slices of 9×8, oblique axial (series 3)",
    ]
    np.testing.assert_array_equal(files.read(paths, "2").array, phantom())
    with pytest.raises(InputError, match="no series 3 "):
        files.read(paths, "3")


def test_a_series_with_images_in_three_planes_is_excluded(tmp_path: Path) -> None:
    deep = np.concatenate([phantom(), phantom()], axis=2)
    turns = [np.eye(3), np.array([[0, 0, 1], [1, 0, 0], [0, 1, 0]]), np.array([[1, 0, 0], [0, 0, 1], [0, 1, 0]])]
    uid = generate_uid()
    planes = [
        ds
        for turn in turns
        for ds in slices(phantom()[..., :2], nib.affines.from_matvec(turn * 4.0), uid, SeriesDescription="Head")
    ]
    volume = files.read(save_all(tmp_path / "s", slices(deep)) + save_all(tmp_path / "p", planes))
    assert volume.shape == (9, 8, 12) and "Ignored" in volume.remarks[-1]


def test_slices_with_separate_series_uids_form_one_stack(tmp_path: Path) -> None:
    one = slices()
    for ds in one:
        ds.SeriesInstanceUID = generate_uid()
    volume = files.read(save_all(tmp_path / "s", one) + save_all(tmp_path / "t", scout(SeriesDescription="Scout")))
    np.testing.assert_array_equal(volume.array, phantom())
    assert "6 series of one slice each form one stack" in volume.remarks[0] and len(volume.headers) == 6


def test_pictures_beside_the_scan_are_excluded(tmp_path: Path) -> None:
    picture = slices(np.zeros((9, 8, 1), np.uint16))[0]
    picture.SOPClassUID = SecondaryCaptureImageStorage
    for word in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
        del picture[word]
    paths = save_all(tmp_path / "s", [*slices(), picture]) + [Path(get_testdata_file("SC_rgb_rle.dcm"))]
    volume = files.read(paths)
    np.testing.assert_array_equal(volume.array, phantom())
    assert "Ignored" in volume.remarks[-1]


def test_one_odd_image_in_a_full_series_is_excluded(tmp_path: Path) -> None:
    deep = np.concatenate([phantom(), phantom()], axis=2)
    uid = generate_uid()
    odd = slices(phantom()[:7, :6, :1], series=uid)
    volume = files.read(save_all(tmp_path / "s", slices(deep, series=uid) + odd))
    np.testing.assert_array_equal(volume.array, deep)
    assert "1 slice of 7×6" in volume.remarks[-1]


def at(steps: list[float]) -> list[Dataset]:
    """Slices so many steps of 4 mm from the first."""
    out = slices(np.repeat(phantom()[..., :1], len(steps), axis=2) + np.arange(len(steps), dtype=np.uint16) * 7)
    for ds, k in zip(out, steps, strict=True):
        ds.ImagePositionPatient = [float(x) for x in LPS[:3, 3] + k * LPS[:3, 2]]
    return out


@pytest.mark.parametrize(
    ("steps", "depth"),
    [
        ([0, 1, 2, 3, 4, 6, 8, 10, 12], 13),  # twice as far from the middle on
        ([0, 2, 4, 6, 7, 8, 9], 10),
        ([0, 1, 2, 4, 6, 8, 9, 10], 11),
        ([0, 1, 2, 3, 4.5, 6, 7.5], None),  # no multiple
        ([0, 1, 2, 3, 4, 5.5], None),
    ],
)
def test_varying_spacing_is_resampled_evenly_from_true_positions(
    tmp_path: Path, steps: list[float], depth: int | None
) -> None:
    volume = files.read(save_all(tmp_path / "s", at(steps)))
    assert "distance between slices changes" in volume.remarks[0] and "missing" not in " ".join(volume.remarks)
    assert depth is None or volume.shape[2] == depth
    assert len(volume.headers) == volume.shape[2]
    where = volume.grid.to_mm(np.array([[0, 0, k] for k in range(volume.shape[2])]))
    along = (where - nib.affines.apply_affine(RAS, (0, 0, 0))) @ (RAS[:3, 2] / np.linalg.norm(RAS[:3, 2])) / 4.0
    expected = np.interp(along, steps, phantom()[0, 0, 0] + 7.0 * np.arange(len(steps)))
    np.testing.assert_allclose(volume.array[0, 0], expected, atol=0.51)
    assert along[0] == pytest.approx(0, abs=1e-6) and along[-1] == pytest.approx(steps[-1])


def test_two_stretches_with_nothing_between_them_are_refused(tmp_path: Path) -> None:
    assert_refused(save_all(tmp_path / "s", at([0, 1, 2, 9, 10, 11])), "6 slices are missing")


def test_numbers_and_uids_do_not_depend_on_the_order_of_files(tmp_path: Path) -> None:
    uid = generate_uid()
    both = renumbered(slices(series=uid, EchoTime=10)) + renumbered(slices(phantom() + 1, series=uid, EchoTime=20))
    for seed in range(4):
        paths = save_all(tmp_path / str(seed), both, seed=seed)
        with pytest.raises(files.SeveralSeriesError) as caught:
            files.read(paths)
        for name in ("2", caught.value.series[1].uid):
            np.testing.assert_array_equal(files.read(paths, name).array, phantom() + 1)
        with pytest.raises(files.SeveralSeriesError):  # the series uid alone names both
            files.read(paths, uid)


def test_slices_at_one_position_are_not_a_choice_of_single_slices(tmp_path: Path) -> None:
    for name, changes in {"numbers": {}, "times": {"word": "AcquisitionTime"}}.items():
        series = renumbered(slices(ImagePositionPatient=[0, 0, 0]))
        for k, ds in enumerate(series):
            if changes:
                ds.AcquisitionTime = f"10101{k}"
        assert_refused(save_all(tmp_path / name, series), "several images")


def test_time_points_of_one_slice_are_a_choice(tmp_path: Path) -> None:
    uid = generate_uid()
    points = [slices(phantom()[..., :1] + n, series=uid, TemporalPositionIdentifier=n)[0] for n in (1, 2, 3)]
    paths = save_all(tmp_path / "s", points)
    assert [title.split(", ")[3].split(" (")[0] for title in titles(paths)] == [f"time point {n}" for n in (1, 2, 3)]
    np.testing.assert_array_equal(files.read(paths, "2").array, phantom()[..., :1] + 2)


def test_many_directions_at_one_b_value_are_distinguished_by_their_order(tmp_path: Path) -> None:
    uid = generate_uid()
    paths = save_all(tmp_path / "s", renumbered(slices(series=uid, DiffusionBValue=0.0)))
    for n in range(1, 4):
        paths += save_all(
            tmp_path / str(n), renumbered(slices(phantom() + n, series=uid, DiffusionBValue=1000.0), start=1 + 6 * n)
        )
    assert [title.count("b-value 1000.0, pass") for title in titles(paths)] == [0, 1, 1, 1]
    np.testing.assert_array_equal(files.read(paths, "3").array, phantom() + 2)


def test_the_same_uids_in_two_folders_with_other_pixels_are_two_scans(tmp_path: Path) -> None:
    first = renumbered(slices())
    paths = save_all(tmp_path / "a", first)
    for ds in first:
        ds.PixelData = bytes(np.frombuffer(ds.PixelData, np.uint16) + np.uint16(1))
    paths += save_all(tmp_path / "b", first, seed=1)
    assert len(titles(paths)) == 2
    np.testing.assert_array_equal(files.read(paths, "1").array, phantom())
    np.testing.assert_array_equal(files.read(paths, "2").array, phantom() + 1)


def test_a_dicomdir_beside_the_images_is_ignored(tmp_path: Path) -> None:
    paths = save_all(tmp_path / "s", slices()) + [Path(get_testdata_file("DICOMDIR"))]
    np.testing.assert_array_equal(files.read(paths).array, phantom())
