"""Files in and out: the bright voxel stays where it is in the patient, and what cannot be read is refused in words."""

import gzip
from contextlib import suppress
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from oblique import AFFINE, BRIGHT, assert_refused, bright_mm, phantom, save_nifti, save_zip, sitk_image
from PIL import Image

from medapp.errors import InputError
from medapp.io import files


@pytest.mark.parametrize(
    "name", ["a.nii", "a.nii.gz", "a.mgz", "a.mgh", "a.nrrd", "a.nhdr", "a.mha", "a.mhd", "a.zip", "noext"]
)
def test_every_format_puts_the_bright_voxel_at_the_same_millimetres(tmp_path: Path, name: str) -> None:
    path, array = tmp_path / name, phantom()
    if name.startswith("a.n") and "i" in name:
        save_nifti(path, array)
    elif ".mg" in name:
        nib.save(nib.MGHImage(array, AFFINE), path)
    elif name == "a.zip":
        save_zip(
            path,
            **{
                "study/scan.nii.gz": save_nifti(tmp_path / "in.nii.gz", array).read_bytes(),
                "__MACOSX/._scan.nii.gz": b"x",
            },
        )
    elif name == "noext":
        path.write_bytes(save_nifti(tmp_path / "in.nii.gz", array).read_bytes())
    else:
        sitk.WriteImage(sitk_image(array), path)
    paths = (
        [p for p in tmp_path.iterdir() if p.stem == path.stem and p.suffix != ".zip"]
        if name in ("a.nhdr", "a.mhd")
        else [path]
    )
    volume = files.read(paths, name="T1")
    assert volume.name == "T1" and volume.array.dtype == np.int16 and not volume.remarks and not volume.headers
    np.testing.assert_allclose(bright_mm(volume), nib.affines.apply_affine(AFFINE, BRIGHT), atol=1e-3)
    np.testing.assert_array_equal(np.sort(volume.array, axis=None), np.sort(array, axis=None))
    np.testing.assert_allclose(sorted(volume.spacing), sorted([0.9, 1.7, 4.0]), atol=1e-4)


def test_a_folder_stands_for_its_files(tmp_path: Path) -> None:
    save_nifti(tmp_path / "a.nii", phantom())
    (tmp_path / "a.json").write_text("{}")
    assert files.read([tmp_path]).shape == (9, 8, 6)


def test_truncated_files_are_refused(tmp_path: Path) -> None:
    whole = save_nifti(
        tmp_path / "a.nii", np.random.default_rng(0).integers(0, 9999, (40, 40, 9)).astype(np.int16)
    ).read_bytes()
    packed = gzip.compress(whole)
    for name, data in {
        "short.nii": whole[:-100], "stub.nii": whole[:200], "cut.nii.gz": packed[:-2000], "head.nii.gz": packed[:40],
        "few.nii.gz": gzip.compress(whole[:-100]), "crc.nii.gz": packed[:-8] + b"12345678",
    }.items():  # fmt: skip
        (tmp_path / name).write_bytes(data)
        assert_refused(tmp_path / name, words="truncated|damaged|not an image")


def test_a_header_that_announces_too_much_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    header = nib.Nifti1Header()
    header.set_data_shape((30000, 30000, 30000))
    for name, data in {
        "a.nii": header.binaryblock,
        "a.nii.gz": gzip.compress(header.binaryblock + bytes(2000)),
    }.items():
        (tmp_path / name).write_bytes(data)
        assert_refused(tmp_path / name, words="too large.*30000 × 30000 × 30000")


def test_files_that_are_not_images_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("hello")
    (tmp_path / "empty.nii").write_bytes(b"")
    (tmp_path / "junk.mha").write_bytes(bytes(range(256)) * 9)
    (tmp_path / "<b>x\x07\u202e.nii").write_bytes(b"not an image" * 100)
    assert_refused(tmp_path / "a.txt", words="a.txt is not an image")
    assert_refused(tmp_path / "empty.nii", words="not an image")
    assert_refused(tmp_path / "junk.mha", words="damaged|could not be read")
    assert_refused(tmp_path / "<b>x\x07\u202e.nii", words="^_b_x.nii is not an image")
    assert_refused(tmp_path / "gone.nii", words="does not exist")
    one, two = save_nifti(tmp_path / "1.nii", phantom()), save_nifti(tmp_path / "2.nii", phantom())
    assert_refused(one, two, words="2 images .*1.nii, 2.nii.*one of them")
    with pytest.raises(InputError, match="No file"):
        files.read([])


def test_damaged_bytes_never_raise_another_error(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    save_nifti(tmp_path / "a.nii", phantom())
    nib.save(nib.MGHImage(phantom(), AFFINE), tmp_path / "a.mgh")
    for name in ("a.nrrd", "a.mha"):
        sitk.WriteImage(sitk_image(phantom()), tmp_path / name)
    for name in ("a.png", "a.tif", "a.jpg"):
        Image.fromarray(phantom()[..., 0].astype(np.uint8)).save(tmp_path / name)
    for name in ("a.nii", "a.mgh", "a.nrrd", "a.mha", "a.png", "a.tif", "a.jpg"):
        whole = np.frombuffer((tmp_path / name).read_bytes(), np.uint8)
        for _ in range(40):
            damaged = whole.copy()
            damaged[rng.integers(0, min(len(whole), 400), 4)] = rng.integers(0, 256, 4)
            (tmp_path / f"bad{name[1:]}").write_bytes(damaged)
            with suppress(InputError):
                files.read([tmp_path / f"bad{name[1:]}"], colour=True)
