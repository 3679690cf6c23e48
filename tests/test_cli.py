"""The command line: what it writes, and what it says when it cannot."""

import io
import json
import zipfile

import nibabel as nib
import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

from medapp import examples
from medapp.cli import _texts, main
from medapp.serving import runtime

LESION = next(e for e in examples.of_task("segmentation") if e.reference and set(e.images) == {"flair"})
THREE = next(e for e in examples.of_task("segmentation") if set(e.images) == {"t1", "flair", "t1ce"})
NAME = "segment_glioma_ar2unet"


def test_list_names_methods_inputs_and_options(capsys):
    assert main(["list"]) == 0
    said = capsys.readouterr().out
    assert all(word in said for word in (NAME, "flair", "threshold"))


def test_flair_alone_writes_what_is_promised(tmp_path, capsys):
    out = tmp_path / "out"
    assert (
        main(
            [
                "run",
                NAME,
                str(LESION.images["flair"]),
                "--out",
                str(out),
                "--reference",
                str(LESION.reference),
                "--device",
                "cpu",
            ]
        )
        == 0
    )
    facts = json.loads((out / "result.json").read_text())
    assert {"pipeline", "metrics", "tables", "weights", "device", "seconds", "peak_memory_mb", "versions"} <= set(facts)
    assert {"file", "sha256", "source"} <= set(facts["weights"])  # those of the regions too, if they were asked
    assert all(set(metric) == {"value", "unit"} for metric in facts["metrics"].values())
    assert facts["metrics"]["dice"]["value"] > 0.5 and facts["seconds"] > 0 and facts["peak_memory_mb"] > 50
    image = nib.load(LESION.images["flair"])
    for name in ("mask.nii.gz", "probability.nii.gz"):
        written = nib.load(out / name)
        assert written.shape == image.shape
        np.testing.assert_allclose(written.affine, image.affine, atol=1e-4)
    assert set(np.unique(np.asarray(nib.load(out / "mask.nii.gz").dataobj))) == {0, 1}


def test_three_sequences_in_the_order_pre_flair_post_and_an_option(tmp_path):
    paths = [str(THREE.images[n]) for n in ("t1", "flair", "t1ce")]
    assert main(["run", NAME, *paths, "--out", str(tmp_path), "--set", "threshold=0.7"]) == 0
    facts = json.loads((tmp_path / "result.json").read_text())
    assert facts["metrics"]["threshold"]["value"] == 0.7
    assert not any("No pre-contrast" in note for note in facts["notes"])


def test_former_names_of_inputs_and_options_are_taken_with_a_note(tmp_path, capsys):
    new = [str(LESION.images["flair"]), "--set", f"t1={LESION.images['flair']}", "--set", "min_lesion_ml=2"]
    old = [str(LESION.images["flair"]), "--pre", str(LESION.images["flair"]), "--set", "smallest=2"]
    for name, arguments in (("new", new), ("old", old)):
        assert main(["run", NAME, *arguments, "--out", str(tmp_path / name), "--quiet"]) == 0
        lines = capsys.readouterr().err.splitlines()
        notes = [line for line in lines if "looks like" not in line]  # a FLAIR in the place of T1
        assert len(notes) == (2 if name == "old" else 0)
    assert all(line.startswith("note: ") for line in notes) and "t1" in "".join(notes) and "min_lesion_ml" in notes[0]
    first, second = (json.loads((tmp_path / name / "result.json").read_text()) for name in ("new", "old"))
    assert first["settings"] == second["settings"] and first["metrics"] == second["metrics"]
    flair = str(LESION.images["flair"])
    assert main(["run", NAME, flair, "--t1", flair, "--pre", flair, "--out", str(tmp_path / "both")]) == 2
    assert "t1 is given twice" in capsys.readouterr().err


def broken(tmp_path):
    path = tmp_path / "broken.nii.gz"
    path.write_bytes(b"\x1f\x8b nothing")
    return str(path)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (lambda t: [NAME, "nowhere.nii"], "no file"),
        (lambda t: [NAME, broken(t)], "broken.nii.gz"),
        (lambda t: ["segment_nothing", str(LESION.images["flair"])], "segment_nothing"),
        (lambda t: [NAME, str(LESION.images["flair"]), "--set", "threshold=7"], "threshold"),
        (lambda t: [NAME, str(LESION.images["flair"]), "--set", "colour=red"], "colour"),
        (lambda t: [NAME, str(LESION.images["flair"]), str(LESION.images["flair"])], "2"),
    ],
)
def test_bad_input_is_exit_code_2_and_one_sentence(arguments, words, tmp_path, capsys):
    assert main(["run", *arguments(tmp_path), "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err.strip()
    assert words in said and "\n" not in said and "Traceback" not in said
    assert not (tmp_path / "out").exists()


def test_a_name_or_a_text_of_any_length_is_no_fault(capsys, tmp_path):
    endless = "a" * 5000
    assert main(["run", "segment_glioma_ar2unet", endless, "--out", str(tmp_path)]) == 2
    assert "There is no file aaa" in capsys.readouterr().err
    card = runtime.load_cards()["register_brain_textscf"]
    landmarks = "1 2 3 4 5 6\n" * 2000
    assert _texts(card, {"landmarks": landmarks}) == {"landmarks": landmarks}


def test_a_series_is_chosen_by_its_number_for_each_input(tmp_path, capsys):
    uid = generate_uid()
    box, names = tmp_path / "study.zip", {1: "Ax FLAIR", 2: "Ax T1"}
    image = np.asarray(nib.load(LESION.images["flair"]).dataobj)[..., ::3].astype(np.int16)
    with zipfile.ZipFile(box, "w") as archive:
        for number, name in names.items():
            for k in range(image.shape[2]):
                ds = Dataset()
                ds.file_meta = FileMetaDataset()
                ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
                ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = MRImageStorage
                ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = generate_uid()
                ds.SeriesInstanceUID = ds.StudyInstanceUID = ds.FrameOfReferenceUID = uid
                ds.Modality, ds.SeriesNumber, ds.SeriesDescription, ds.InstanceNumber = "MR", number, name, k + 1
                ds.ImagePositionPatient, ds.ImageOrientationPatient = [0, 0, 6.0 * k], [1, 0, 0, 0, 1, 0]
                ds.PixelSpacing, ds.SliceThickness = [1, 1], 6
                ds.Columns, ds.Rows = image.shape[:2]
                ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
                ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 1
                ds.PixelData = np.ascontiguousarray(image[..., k].T).tobytes()
                raw = io.BytesIO()
                ds.save_as(raw, enforce_file_format=True)
                archive.writestr(f"{number}/{k}.dcm", raw.getvalue())
    run = ["run", NAME, str(box), "--device", "cpu", "--quiet", "--out"]
    assert main([*run, str(tmp_path / "none")]) == 2
    said = capsys.readouterr().err.splitlines()
    assert "--series flair=NUMBER" in said[0]
    assert [line.split(",")[0] for line in said[1:]] == ["  1. Ax FLAIR", "  2. Ax T1"]
    for n, choice in enumerate(("2", "flair=2")):
        assert main([*run, str(tmp_path / str(n)), "--series", choice]) == 0
        assert {"mask.seg.dcm", "mask.nii.gz"} <= {path.name for path in (tmp_path / str(n)).iterdir()}
    assert main([*run, str(tmp_path / "none"), "--series", "9"]) == 2
    assert main([*run, str(tmp_path / "none"), "--series", "t9=1"]) == 2
    said = capsys.readouterr().err
    assert "no series 9" in said and "no input 't9'" in said
