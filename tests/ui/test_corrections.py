"""What a browser sends as a correction: laid on the right voxels of the visitor's own result, or refused."""

import base64
import zlib
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
from ball_masks import AFFINES
from nibabel.affines import from_matvec

from medapp.analysis.hand_correction import ERASED, PAINTED
from medapp.errors import InputError
from medapp.imaging.volume import Volume
from medapp.presenters import get_presenter
from medapp.result import Provenance, Result
from medapp.serving import runtime
from medapp.ui import corrections
from medapp.ui.corrections import correct_session, unpack_voxels
from medapp.ui.session import Session
from medapp.ui.viewer import volume_files
from medapp.ui.viewer.texture_files import turn_from_ras, turn_to_ras

NAME = "segment_glioma_ar2unet"
GRIDS = AFFINES | {
    "thick, sagittal": from_matvec(np.array([[0, 0, 6.5], [-1, 0, 0], [0, -0.9, 0]]), (-60, 40, 30)),
    "nearly 45 degrees": nib.affines.from_matvec(nib.eulerangles.euler2mat(0.78, 0.1, 0.79) * [1, 1.2, 3], (1, 2, 3)),
}


def pack(voxels: np.ndarray) -> str:
    return base64.b64encode(zlib.compress(voxels.tobytes())).decode()


def as_sent(array: np.ndarray, affine: np.ndarray) -> str:
    """As the browser holds them: x fastest, axes towards R, A and S."""
    return pack(turn_to_ras(array, affine).ravel(order="F"))


@pytest.fixture
def session():
    def make(affine=AFFINES["oblique"], name=NAME):
        image = Volume(np.ones((14, 12, 10), np.int16), affine, name="FLAIR")
        probability = np.zeros(image.shape, np.float32)
        probability[2:6, 2:6, 2:6] = 0.9
        volumes = {"image": image, "probability": image.new_like(probability)}
        settings = {"threshold": 0.5, "min_lesion_ml": 0.0}
        presenter = get_presenter(runtime.find_card(name))
        result = presenter.recompute(Result(volumes, provenance=Provenance(name)), None, settings)
        made.append(Session(result, np.zeros(3), None, image))
        return made[-1]

    made: list[Session] = []
    yield make
    for each in made:
        each.close()


@pytest.mark.parametrize("grid", GRIDS)
def test_what_is_painted_at_a_place_is_there_in_the_file(grid, session, tmp_path):
    affine = GRIDS[grid]
    own = session(affine)
    voxel, erased = (9, 8, 3), (4, 4, 4)
    mm = own.result.volumes["image"].grid.to_mm(np.array(voxel))
    array = np.zeros((14, 12, 10), np.uint8)
    array[voxel], array[erased] = PAINTED, ERASED
    ras = nib.as_closest_canonical(nib.Nifti1Image(array, affine))  # another's way to turn it
    text = as_sent(array, affine)
    if grid != "nearly 45 degrees":  # there NiiVue, whose way ours is, decides otherwise than nibabel
        assert text == pack(np.asarray(ras.dataobj).ravel(order="F"))
    np.testing.assert_array_equal(
        turn_from_ras(turn_to_ras(array, affine).ravel(order="F"), own.result.volumes["image"].grid), array
    )
    correct_session(own, {"case": own.case, "strokes": 3, "voxels": text})
    own.result.write_files(tmp_path, ("mask", "correction"))
    written = nib.load(tmp_path / "corrected_mask.nii.gz")
    mask = np.asarray(written.dataobj)
    at = np.rint(nib.affines.apply_affine(np.linalg.inv(written.affine), mm)).astype(int)
    assert mask[tuple(at)] == 1 and mask[erased] == 0 and mask.sum() == 64 and own.strokes == 3
    correct_session(own, {"case": own.case, "strokes": 4, "voxels": ""})
    assert not own.result.is_corrected and own.result.volumes["mask"].array.sum() == 64


def test_a_coarser_picture_of_a_large_image_marks_the_voxels_below(session, monkeypatch):
    own = session(np.diag([1.0, 1, 1, 1]))
    monkeypatch.setattr(volume_files, "MAX_SIDE", 7)
    grid = volume_files.limit_grid(own.result.volumes["image"].grid)
    assert max(grid.shape) <= 7
    array = np.zeros(grid.shape, np.uint8)
    array[5, 4, 4] = PAINTED
    correct_session(own, {"case": own.case, "strokes": 1, "voxels": as_sent(array, grid.affine)})
    painted = np.argwhere(own.result.volumes["correction"].array == PAINTED)
    assert 8 <= len(painted) <= 12
    distance = np.abs(own.result.volumes["image"].grid.to_mm(painted) - grid.to_mm(np.array([5, 4, 4])))
    assert distance.max() <= max(grid.spacing) / 2 + 0.5


@pytest.mark.parametrize(
    "sent",
    [
        {},
        {"strokes": -1},
        {"strokes": True},
        {"strokes": 1e3},
        {"case": 3},
        {"voxels": 7},
        {"voxels": ["a"]},
        {"voxels": "!" * 40},
        {"voxels": base64.b64encode(b"no zlib").decode()},
        {"voxels": pack(np.zeros(14 * 12 * 10 - 1, np.uint8))},
        {"voxels": pack(np.zeros(14 * 12 * 10 + 1, np.uint8))},
        {"voxels": pack(np.zeros(2_000_000, np.uint8))},
        {"voxels": pack(np.full(14 * 12 * 10, 3, np.uint8))},
        {"voxels": "A" * (corrections.MAX_TEXT_LENGTH + 4)},
    ],
)
def test_what_makes_no_sense_is_refused_and_changes_nothing(sent, session):
    own = session()
    before = own.result
    whole = {"case": own.case, "strokes": 1, "voxels": as_sent(np.zeros((14, 12, 10), np.uint8), AFFINES["oblique"])}
    with pytest.raises(InputError):
        correct_session(own, whole | sent if sent else {})
    assert own.result is before and own.strokes == 0


def test_another_result_and_a_method_without_a_mask_are_refused(session):
    own, other = session(), session()
    text = as_sent(np.ones((14, 12, 10), np.uint8), AFFINES["oblique"])
    with pytest.raises(InputError, match="no longer shown"):
        correct_session(own, {"case": other.case, "strokes": 1, "voxels": text})
    own.result = replace(own.result, provenance=Provenance("segment_anatomy_unet"))
    with pytest.raises(InputError, match="cannot be corrected"):
        correct_session(own, {"case": own.case, "strokes": 1, "voxels": text})
    assert not own.result.is_corrected and not other.result.is_corrected


def test_no_more_is_unpacked_than_the_image_has_voxels(session):
    bomb = base64.b64encode(zlib.compress(b"\0" * 400_000_000, 9)).decode()
    assert len(bomb) < corrections.MAX_TEXT_LENGTH
    image = session().result.volumes["image"]
    with pytest.raises(InputError, match="as many voxels"):
        unpack_voxels(bomb, image.grid, image)
