"""What a browser sends as clicks: answered on the right voxels of the visitor's own result, or refused."""

import base64
import zlib

import nibabel as nib
import numpy as np
import pytest
from ball_masks import AFFINES, ball

from medapp.analysis.mask_metrics import compute_dice
from medapp.errors import InputError
from medapp.presenters import get_presenter
from medapp.result import Provenance, Result
from medapp.serving import runtime
from medapp.ui.proposals import MAX_CLICKS, propose_regions
from medapp.ui.session import Session
from medapp.ui.viewer import volume_files
from medapp.ui.viewer.texture_files import turn_from_ras

NAME = "segment_glioma_ar2unet"


@pytest.fixture
def session():
    def make(affine=AFFINES["oblique"]):
        lesion, centre = ball(affine, 8.0)
        image = lesion.new_like(100 + 300 * lesion.array.astype(np.int16), labels={}, name="FLAIR")
        volumes = {"image": image, "probability": image.new_like((0.3 * lesion.array).astype(np.float32))}
        settings = {"threshold": 0.5, "min_lesion_ml": 0.0}
        presenter = get_presenter(runtime.find_card(NAME))
        result = presenter.recompute(Result(volumes, provenance=Provenance(NAME)), None, settings)
        made.append(Session(result, np.zeros(3), None, image))
        return made[-1], lesion, [float(x) for x in centre]

    made: list[Session] = []
    yield make
    for each in made:
        each.close()


def ask(own: Session, mm: list[float], **more) -> dict:
    clicks = [{"mm": mm, "is_wanted": True}]
    sent = {"case": own.case, "number": 3, "removes": False, "clicks": clicks}
    return propose_regions(own, sent | more)["proposals"]


def unpack_box(answer: dict) -> np.ndarray:
    return np.frombuffer(zlib.decompress(base64.b64decode(answer["voxels"])), np.uint8)


def unpack(answer: dict, grid) -> np.ndarray:
    """The bits of all regions on a grid of the stage."""
    shape = np.array(answer["shape"])
    part = unpack_box(answer).reshape(shape, order="F")
    whole = nib.as_closest_canonical(nib.Nifti1Image(np.zeros(grid.shape, np.uint8), grid.affine)).shape
    turned = np.zeros(whole, np.uint8)
    turned[tuple(slice(a, a + n) for a, n in zip(answer["low"], shape, strict=True))] = part
    return turn_from_ras(turned.ravel(order="F"), grid)


@pytest.mark.parametrize("grid", AFFINES)
def test_the_lesion_at_a_place_comes_back_there(grid, session):
    own, lesion, centre = session(AFFINES[grid])
    answer = ask(own, centre)
    assert (answer["case"], answer["number"], answer["message"]) == (own.case, 3, "")
    shown = unpack(answer, lesion.grid) >> answer["first"] & 1
    assert compute_dice(shown > 0, lesion.array > 0) > 0.99
    first = {name: answer[name] for name in ("low", "shape")}
    first["voxels"] = base64.b64encode(zlib.compress(unpack_box(answer) >> answer["first"] & np.uint8(1))).decode()
    edge = [float(x) for x in np.array(centre) + [6.0, 0.0, 0.0]]
    clicks = [{"mm": centre, "is_wanted": True}, {"mm": edge, "is_wanted": False}]
    less = ask(own, centre, clicks=clicks, shown=first)
    smaller = unpack(less, lesion.grid) >> less["first"] & 1
    at = [tuple(np.rint(lesion.grid.to_index(np.array(mm))).astype(int)) for mm in (centre, edge)]
    assert smaller[at[0]] and not smaller[at[1]] and not (smaller & ~shown & 1).any()


def test_a_coarser_picture_of_a_large_image_gets_coarser_regions(session, monkeypatch):
    own, lesion, centre = session(np.diag([1.0, 1.0, 1.0, 1.0]))
    monkeypatch.setattr(volume_files, "MAX_SIDE", 24)
    grid = volume_files.limit_grid(lesion.grid)
    answer = ask(own, centre)
    shown = unpack(answer, grid) >> answer["first"] & 1
    points = grid.to_mm(np.argwhere(shown))
    assert np.linalg.norm(points.mean(axis=0) - centre) < 1
    assert shown.sum() * grid.voxel_ml == pytest.approx(lesion.array.sum() * lesion.grid.voxel_ml, rel=0.3)


@pytest.mark.parametrize(
    "sent",
    [
        {"case": 3},
        {"number": "3"},
        {"removes": None},
        {"clicks": []},
        {"clicks": "here"},
        {"clicks": [{"mm": [1, 2]}]},
        {"clicks": [{"mm": [1, 2, 1e300]}]},
        {"clicks": [{"mm": [0, 0, 0], "is_wanted": False}]},
        {"clicks": [{"mm": [0, 0, 0]}] * (MAX_CLICKS + 1)},
        {"shown": "all"},
        {"shown": {"low": [0, 0, 0], "shape": [900, 1, 1], "voxels": ""}},
        {"shown": {"low": [0, 0, 0], "shape": [2, 2, 2], "voxels": "AAAA"}},
        {"case": "another"},
    ],
)
def test_what_makes_no_sense_is_refused(sent, session):
    own, _, centre = session()
    with pytest.raises(InputError):
        ask(own, centre, **sent)


def test_nothing_is_proposed_far_away_or_where_nothing_is(session):
    own, _, centre = session()
    for mm in ([900.0, 0.0, 0.0], [centre[0] - 15, centre[1], centre[2]]):
        answer = ask(own, mm)
        assert answer["message"] and "voxels" not in answer
    assert ask(own, centre, removes=True)["message"]
