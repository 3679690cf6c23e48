"""A scene file holds what was seen, and opens to the same; what is no such file is refused with one sentence."""

import json
import shutil
import zipfile
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
from ball_masks import AFFINES

from medapp.analysis.hand_correction import ERASED, PAINTED, make_correction
from medapp.errors import InputError
from medapp.imaging.deformation import Deformation
from medapp.imaging.volume import Volume
from medapp.presenters import get_presenter
from medapp.result import Metric, Provenance, Result
from medapp.serving import runtime
from medapp.ui import workspace
from medapp.ui.scene_files import NOTES, OPENED_NOTE, OTHER_WEIGHTS_NOTE, write_scene_file
from medapp.ui.scene_reader import ImageNeededError, open_scene_file
from medapp.ui.session import Session
from medapp.ui.viewer.view_state import ViewState, parse_view_state

LESIONS, REGISTRATION = "segment_glioma_ar2unet", "register_brain_textscf"
AFFINE = AFFINES["oblique"]
SHAPE = (14, 12, 10)
STATE = ViewState(mm=[1.5, -2, 3], layout="axial", window=[10, 90], hidden=["Reference"])


@pytest.fixture(scope="module")
def sha256() -> str:
    return runtime.find_card(LESIONS).weights.sha256


@pytest.fixture
def keep():
    """Registers sessions, which are closed in the end."""
    kept: list[Session] = []
    yield lambda session: kept.append(session) or session
    for session in kept:
        session.close()


@pytest.fixture
def session(keep, sha256) -> Session:
    """Lesions in a probability, corrected by hand, compared with a reference on another grid."""
    random = np.random.default_rng(0)
    image = Volume(random.integers(0, 900, SHAPE).astype(np.int16), AFFINE, name="FLAIR", remarks=("A remark.",))
    probability = random.random(SHAPE).astype(np.float32) / 3
    probability[2:6, 2:6, 2:6] = 0.9
    hand = np.zeros(SHAPE, np.uint8)
    hand[9:12, 9, 3], hand[2, 2, 2] = PAINTED, ERASED
    volumes = {"image": image, "t1": image.new_like(image.array / np.float32(7), name="T1")}
    volumes |= {"probability": image.new_like(probability, name="probability", remarks=())}
    volumes["correction"] = make_correction(hand, image)
    reference = Volume(np.ones((5, 5, 5), np.uint8), AFFINE @ np.diag([1.5, 1.5, 1.5, 1]), labels={1: "reference"})
    origin = Provenance(LESIONS, weights={"file": "some.safetensors", "sha256": sha256})
    result = Result(volumes, notes=("A note.",), provenance=origin, to_template=np.diag([1.0, 2, 3, 1]))
    presenter = get_presenter(runtime.find_card(LESIONS))
    result = presenter.recompute(result, reference, {"threshold": 0.5, "min_lesion_ml": 0.0})
    return keep(Session(result, np.zeros(3), reference, image))


@pytest.fixture
def file(session, tmp_path):
    return write_scene_file(session, tmp_path / "a.medapp.zip", STATE, with_image=True)


def assert_same(one: Result, other: Result) -> None:
    assert one.volumes.keys() == other.volumes.keys()
    for role, volume in one.volumes.items():
        again = other.volumes[role]
        np.testing.assert_array_equal(volume.array, again.array, err_msg=role)
        np.testing.assert_array_equal(volume.affine, again.affine, err_msg=role)
        assert (volume.labels, volume.name, volume.unit) == (again.labels, again.name, again.unit), role
    assert dict(one.metrics) == dict(other.metrics) and dict(one.settings) == dict(other.settings)
    assert {n: (t.columns, t.rows) for n, t in one.tables.items()} == {
        n: (t.columns, t.rows) for n, t in other.tables.items()
    }


def test_what_was_seen_is_there_again_and_follows_another_threshold(session, file, keep):
    opened = keep(open_scene_file(file))
    assert_same(session.result, opened.result)
    assert opened.result.notes == (*session.result.notes, OPENED_NOTE)
    assert opened.result.provenance.weights == session.result.provenance.weights
    np.testing.assert_array_equal(opened.result.to_template, session.result.to_template)
    assert opened.state == STATE and opened.mm.tolist() == [1.5, -2, 3] and opened.case != session.case
    presenter = get_presenter(runtime.find_card(LESIONS))
    settings = {"threshold": 0.25, "min_lesion_ml": 0.1}
    moved, again = (presenter.recompute(each.result, each.reference, settings) for each in (session, opened))
    assert_same(moved, again)
    assert moved.metrics["volume"] != session.result.metrics["volume"]


def test_notes_of_an_opening_are_not_heaped_up(file, keep, tmp_path):
    opened = keep(open_scene_file(file))
    second = keep(open_scene_file(write_scene_file(opened, tmp_path / "b.zip", STATE, with_image=True)))
    assert [note for note in second.result.notes if note in NOTES] == [OPENED_NOTE]


def test_without_the_image_it_holds_no_image_and_takes_only_the_same_one(session, tmp_path, keep):
    path = write_scene_file(session, tmp_path / "a.zip", STATE, with_image=False)
    with zipfile.ZipFile(path) as archive:
        names = {name.removesuffix(".nii.gz") for name in archive.namelist()}
    assert "probability" in names and not names & {"image", "own_image", "t1"}
    with pytest.raises(ImageNeededError, match="FLAIR"):
        open_scene_file(path)
    image = session.result.volumes["image"]

    def save(array, affine=AFFINE):
        nib.save(nib.Nifti1Image(array, affine), tmp_path / "image.nii.gz")
        return [tmp_path / "image.nii.gz"]

    with pytest.raises(InputError, match="other values"):
        open_scene_file(path, save(np.maximum(image.array, 1)))
    with pytest.raises(InputError, match="another size"):
        open_scene_file(path, save(image.array, AFFINE + np.eye(4, k=3)))
    opened = keep(open_scene_file(path, save(image.array.astype(np.float32))))  # the same image in another type
    np.testing.assert_array_equal(opened.result.volumes["image"].array, image.array)
    left = replace(
        session.result, volumes={r: v for r, v in session.result.volumes.items() if r not in ("t1", "image")}
    )
    assert_same(left, replace(opened.result, volumes={r: v for r, v in opened.result.volumes.items() if r != "image"}))


def test_a_registration_keeps_its_deformation_and_cannot_do_without_the_image(tmp_path, keep):
    image = Volume(np.arange(np.prod(SHAPE), dtype=np.float32).reshape(SHAPE), AFFINE, name="Fixed")
    field = Deformation(np.random.default_rng(1).normal(size=(3, *SHAPE)).astype(np.float32), AFFINE)
    volumes = {role: image for role in ("fixed", "moving", "warped", "aligned")}
    settings = {"landmarks": ((1.0, 2.0, 3.0, 4.0, 5.0, 6.0),), "refine": True}
    result = Result(
        volumes, field, None, np.diag([1, 1, 1.1, 1]), {"ncc": Metric(float("nan"))}, settings=settings,
        provenance=Provenance(REGISTRATION, weights={"sha256": "0" * 64}),
    )  # fmt: skip
    own = keep(Session(result, np.zeros(3)))
    with pytest.raises(InputError, match="with the image"):
        write_scene_file(own, tmp_path / "a.zip", ViewState(), with_image=False)
    path = write_scene_file(own, tmp_path / "a.zip", ViewState(), with_image=True)
    with zipfile.ZipFile(path) as archive:
        assert sum("fixed" in name or "moving" in name or "own" in name for name in archive.namelist()) == 1, "once"
    opened = keep(open_scene_file(path))
    np.testing.assert_array_equal(opened.result.deformation.vectors, field.vectors)
    np.testing.assert_array_equal(opened.result.affine, result.affine)
    assert opened.result.settings == settings and opened.result.metrics["ncc"].value is None
    assert OTHER_WEIGHTS_NOTE in opened.result.notes


def rewrite(file, path, change):
    """A scene file with another record, or other files, as `change(record, files)` makes them."""
    with zipfile.ZipFile(file) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    record = json.loads(files.pop("scene.json"))
    content = change(record, files)
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
        if content is not False:
            archive.writestr("scene.json", content if isinstance(content, str) else json.dumps(record))
    return path


def put(*keys_and_value):
    """A change of the record: the last of these at the place that the others lead to."""
    *keys, last, value = keys_and_value

    def change(record, files):
        for key in keys:
            record = record[key]
        record[last] = value

    return change


CHANGES = {
    "no record": (lambda record, files: False, "no scene file"),
    "another zip": (lambda record, files: '{"a": 1}', "no scene file"),
    "a list": (lambda record, files: "[]", "no scene file"),
    "no JSON": (lambda record, files: "{", "damaged"),
    "nested": (lambda record, files: "[" * 200_000, "damaged"),
    "long": (lambda record, files: " " * (17 * 1024**2), "damaged"),
    "later version": (put("version", 2), "version 2"),
    "no version": (put("version", "1"), "damaged"),
    "method": (put("facts", "pipeline", "segment_everything"), "a method that"),
    "threshold": (put("facts", "settings", "threshold", float("nan")), "damaged"),
    "settings": (put("facts", "settings", "min_lesion_ml", {"a": 1}), "damaged"),
    "affine": (put("volumes", "image", "affine", [[0.0] * 4] * 4), "damaged"),
    "moved": (put("volumes", "probability", "affine", np.diag([2.0, 2, 2, 1]).tolist()), "damaged"),
    "path": (put("volumes", "image", "file", "../image.nii.gz"), "damaged"),
    "missing file": (put("volumes", "image", "file", "elsewhere.nii.gz"), "damaged"),
    "unknown field": (put("volumes", "image", "more", 1), "damaged"),
    "role": (put("volumes", "<script>", None), "damaged"),
    "view": (put("view", "mm", [1, 2]), "damaged"),
    "table": (put("facts", "tables", "lesions", "rows", [[{"a": 1}]]), "damaged"),
    "no image": (lambda record, files: record["volumes"].pop("image") and None, "damaged"),
    "no image file": (lambda record, files: files.update({"image.nii.gz": b"\x80\x04K\x01."}), "not an image"),
    "cut voxels": (
        lambda record, files: files.update({"image.nii.gz": files["image.nii.gz"][:-40]}),
        "damaged|truncated",
    ),
    "leads out": (lambda record, files: files.update({"../../image.nii.gz": b""}), "leads out"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_is_damaged_or_foreign_is_refused_and_leaves_nothing(change, file, tmp_path):
    before = set(workspace.results_folder().iterdir())
    alter, words = CHANGES[change]
    with pytest.raises(InputError, match=words):
        open_scene_file(rewrite(file, tmp_path / "other.zip", alter))
    assert set(workspace.results_folder().iterdir()) == before


def test_a_file_that_is_cut_off_or_something_else_is_refused(file, tmp_path):
    whole = file.read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"GIF89a", whole[30:]):
        (tmp_path / "cut.zip").write_bytes(content)
        with pytest.raises(InputError):
            open_scene_file(tmp_path / "cut.zip")


def test_no_name_of_a_file_and_no_header_goes_into_it(session, tmp_path, keep):
    headers = ({"PatientName": "Doe^Jane"},)
    volumes = {r: v.new_like(v.array, headers=headers) for r, v in session.result.volumes.items()}
    own = keep(Session(replace(session.result, volumes=volumes), np.zeros(3)))
    path = write_scene_file(own, tmp_path / "a.zip", STATE, with_image=True)
    shutil.unpack_archive(path, tmp_path / "all")
    record = (tmp_path / "all" / "scene.json").read_text()
    assert "Doe" not in record and str(own.folder) not in record
    assert "no DICOM" in " ".join(keep(open_scene_file(path)).result.notes)


@pytest.mark.parametrize(
    "sent",
    [None, [], "a", {"mm": [1, 2]}, {"mm": [1, 2, float("nan")]}, {"mm": [1, 2, 1e9]}, {"mm": ["a", 1, 2]}, {"t": 2},
     {"layout": "a" * 500}, {"hidden": ["a"] * 1000}, {"path": "/etc/passwd"}, {"window": [None, 3]}],
)  # fmt: skip
def test_a_view_that_makes_no_sense_is_refused(sent):
    with pytest.raises(InputError):
        parse_view_state(sent)
