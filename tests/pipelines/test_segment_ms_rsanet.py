"""Multiple sclerosis: what is found comes back where the patient has it, from any sequences on any grids."""

from functools import partial

import numpy as np
import pytest
import torch
from nibabel.affines import from_matvec
from phantoms import grid
from scipy.spatial.transform import Rotation

from medapp.algorithms import ms_input
from medapp.algorithms.anatomical_priors import TISSUE_TABLE
from medapp.algorithms.head_orientation import OrientedRegions
from medapp.algorithms.mni_template import load_template
from medapp.algorithms.ms_input import INPUT_CHANNELS, NETWORK_STRIDE, Anatomy, prepare_scans, stack_channels
from medapp.algorithms.parcellation import Parcellation
from medapp.analysis.mask_metrics import compute_dice
from medapp.analysis.ms_lesions import PLANE_AXES, project_on_axis
from medapp.errors import InputError
from medapp.imaging.geometry import resample
from medapp.imaging.intensity import correct_bias_field
from medapp.imaging.volume import Grid, Volume
from medapp.networks.rsanet import RSANet
from medapp.pipelines import segment_ms_rsanet as ms
from medapp.pipelines.segment_ms_rsanet import ATTENTION_PLANES, CARD, predict_lesions, segment
from medapp.serving import runtime
from medapp.serving.inference_engine import Engine
from training.core.random_source import RandomSource
from training.data import ms_heads, ms_patches

SETTINGS = CARD.parse_settings({"min_lesion_ml": 0})
SPOT = np.array([28.0, -30.0, 32.0])  # RAS+ mm of the template: white matter on the right


def quiet(fraction: float, stage: str) -> None:
    assert 0 <= fraction <= 1 and stage


class Bright:
    """Stands in for the network: marks what is brighter than any tissue; all rows of blocks draw on the brightest."""

    def __init__(self) -> None:
        self.seen: list[torch.Tensor] = []

    def forward_with_attention(self, x: torch.Tensor):
        assert x.shape[:2] == (1, INPUT_CHANNELS) and x.dtype == torch.float32 and x.isfinite().all()
        assert not any(n % NETWORK_STRIDE for n in x.shape[2:])
        self.seen.append(x)
        bright = (x[0, 0] > 2.5).float()
        weights = []
        for axis in (1, 2, 0):
            rows = bright.movedim(axis, 0).flatten(1).sum(1).unflatten(0, (-1, NETWORK_STRIDE)).sum(1)
            weights.append((rows / rows.sum()).expand(1, len(rows), -1) if rows.any() else torch.eye(len(rows))[None])
        return 20 * (x[:, :1] - 2.5), weights


def ball(centre, radius: float) -> np.ndarray:
    """The template's voxels (X, Y, Z) bool within so many millimetres of a point."""
    x, y, z = (np.float32(n) for n in np.ogrid[tuple(map(slice, load_template().shape))])
    x, y, z = (
        side + corner - c for side, corner, c in zip((x, y, z), load_template().affine[:3, 3], centre, strict=True)
    )
    return x**2 + y**2 + z**2 < radius**2


def lit(*balls: tuple[np.ndarray, float]) -> Volume:
    """The template in the contrast of FLAIR, with balls (centre, radius) that are brighter than all."""
    t1 = load_template().array / load_template().array.max()
    array = t1 * (1.6 - t1)
    for each in balls:
        array[ball(*each)] = 2
    return load_template().new_like(array.astype(np.float32), name="FLAIR")


def truth(centre: np.ndarray, radius: float, onto: Grid) -> np.ndarray:
    mask = load_template().new_like(ball(centre, radius).astype(np.uint8), labels={1: "ball"})
    return resample(mask, onto).array > 0


BOX = (170, 200, 170)  # mm
GRIDS = {
    "LPI": grid((2, 2, 2), flip=(-1, -1, -1), size=BOX),
    "sagittal": grid((4, 1.5, 2), order=(1, 2, 0), flip=(-1, 1, -1), size=BOX),
    "oblique": grid((1.5, 1.5, 5), turn=(18, -10, 12), order=(2, 0, 1), size=BOX),
}


@pytest.fixture
def plain(monkeypatch):
    """No network for the regions, which are one: the brain."""

    def all_in_one(net, head, *, brain_net, progress):
        inside = head.array > 0.05 * head.array.max()
        labels = head.new_like(inside.astype(np.uint8), labels={1: "Left-Cerebral-White-Matter"})
        return OrientedRegions(Parcellation(labels, head), head.affine, 1)

    monkeypatch.setattr(ms_input, "find_regions", all_in_one)


@pytest.fixture
def still(monkeypatch):
    """Nobody moved."""
    monkeypatch.setattr(ms, "register_rigid", lambda moving, fixed, within=None: np.eye(4))


def run(net, *volumes, **more):
    return segment(net, *volumes, get_network=lambda name: None, progress=quiet, **SETTINGS | more)


@pytest.mark.parametrize("name", GRIDS)
def test_found_where_it_lies_and_drawn_on_where_it_lies(name, plain):
    scan = resample(lit((SPOT, 9)), GRIDS[name])
    result = run(Bright(), scan)
    assert all(volume.grid.is_same(scan.grid) for volume in result.volumes.values())
    assert compute_dice(result.volumes["mask"].array > 0, truth(SPOT, 9, scan.grid)) > 0.8
    for plane, axis in PLANE_AXES.items():
        values = np.array(result.tables[f"attention_{plane}"].rows, float)
        at, weights = values[:, 0], values[:, 1:]
        np.testing.assert_allclose(weights.sum(1), 1, atol=1e-3)
        assert abs(at @ weights[0] - project_on_axis(scan.grid, axis, SPOT)) < 6, plane
    assert not any("No brain" in note for note in result.notes)


def test_a_t1_on_another_grid_comes_to_lie_on_the_flair(plain):
    motion = from_matvec(Rotation.from_euler("y", 10, degrees=True).as_matrix(), (15, 0, 0))
    away = load_template().new_like(load_template().array, affine=motion @ load_template().affine, name="T1")
    t1 = resample(away, Grid((130, 60, 150), from_matvec([[-1.5, 0, 0], [0, 0, 1.5], [0, 3.2, 0]], (110, -140, -85))))
    net = Bright()
    result = run(net, resample(lit((SPOT, 6)), GRIDS["LPI"]), t1)
    carried = np.linalg.inv(result.volumes["t1"].affine @ np.linalg.inv(t1.affine))
    points = load_template().grid.to_mm(np.argwhere(load_template().array > 0)[::9973])
    assert np.linalg.norm((points @ (carried - motion)[:3, :3].T) + (carried - motion)[:3, 3], axis=1).max() < 1.5
    assert any("T1: rotated by 10°" in note for note in result.notes)
    flair, t1, t2 = net.seen[0][0, :3]
    inside = flair > -3
    assert torch.corrcoef(torch.stack([flair[inside], t1[inside]]))[0, 1] > 0.5 and not t2.any()


def test_missing_sequences_are_zeros_in_their_own_channels(plain, still):
    scan = lit((SPOT, 6))
    for given, there in (
        ((None, None), (0,)),
        ((scan, None), (0, 1)),
        ((None, scan), (0, 2)),
        ((scan, scan), (0, 1, 2)),
    ):
        net = Bright()
        run(net, scan, *given)
        assert [n for n in range(3) if net.seen[0][0, n].any()] == list(there)


def test_an_earlier_scan_is_compared_like_with_like(plain):
    same, new, gone = SPOT, SPOT * (-1, 1, 1), SPOT * (1, -1, 1)
    now = resample(lit((same, 8), (new, 5)), GRIDS["LPI"])
    moved = from_matvec(Rotation.from_euler("zx", (6, -4), degrees=True).as_matrix(), (5, -7, 4))
    then = lit((same, 5), (gone, 5))
    then = resample(then.new_like(then.array, affine=moved @ then.affine, name="Earlier"), GRIDS["oblique"])
    net = Bright()
    result = run(net, now, None, now, then)
    assert len(net.seen) == 2 and not any(x[0, 1:3].any() for x in net.seen)
    rows = result.tables["change"].rows
    assert [row[1] for row in rows] == ["new", "enlarging", "gone"]
    for row, centre in zip(rows, (new, same, gone), strict=True):
        np.testing.assert_allclose(row[-3:], centre, atol=3)
    assert result.volumes["change"].grid.is_same(now.grid)
    assert any("comparable" in note for note in result.notes)


def test_an_earlier_scan_of_a_part_is_told(plain, still):
    scan = resample(lit((SPOT, 6)), GRIDS["LPI"])
    half = Volume(scan.array[:, :, :45], scan.affine, name="Earlier FLAIR")
    assert any("count as new" in note for note in run(Bright(), scan, None, None, half).notes)


def test_without_a_brain_the_whole_head_is_seen_and_no_place_told(monkeypatch):
    def nothing(net, head, *, brain_net, progress):
        return OrientedRegions(Parcellation(head.new_like(np.zeros(head.shape, np.uint8)), head), head.affine, 0)

    monkeypatch.setattr(ms_input, "find_regions", nothing)
    result = run(Bright(), resample(lit((SPOT, 9)), GRIDS["LPI"]))
    assert any("No brain was found" in note for note in result.notes)
    assert result.doubt == "Not a FLAIR scan of a whole head?"
    assert compute_dice(result.volumes["mask"].array > 0, truth(SPOT, 9, GRIDS["LPI"])) > 0.8
    assert result.tables["lesions"].rows[0][-1] == ""


def test_the_real_regions_tell_the_place():
    scan = resample(lit((np.array([20.0, -48.0, 24.0]), 6), (np.array([8.0, -60.0, -36.0]), 4)), GRIDS["LPI"])
    get_network = partial(runtime.load_network, CARD, "cpu", {})
    result = segment(Bright(), scan, get_network=get_network, progress=quiet, **SETTINGS)
    found = {row[-1] for row in result.tables["lesions"].rows}
    assert found == {"periventricular", "infratentorial"}


def test_regions_are_found_in_what_the_network_sees(monkeypatch, still):
    brightest = []

    def found(net, head, *, brain_net=None, progress):
        brightest.append(round(float(head.array.max())))
        labels = head.new_like((head.array > 0).astype(np.uint8), labels={1: "any"})
        return OrientedRegions(Parcellation(labels, head), head.affine, 1)

    monkeypatch.setattr(ms_input, "find_regions", found)
    flair = resample(lit((SPOT, 6)), GRIDS["LPI"])
    for baseline in (None, flair):
        run(Bright(), flair, flair.new_like(5 * flair.array), None, baseline)
    assert brightest == [10, 2], "T1, unless FLAIR alone is looked at since there is an earlier one"


def test_windows_give_what_one_pass_gives(monkeypatch):
    x = np.random.default_rng(0).normal(size=(INPUT_CHANNELS, 48, 80, 64)).astype(np.float32)
    whole, weights = predict_lesions(Bright(), x)
    assert len(weights) == len(ATTENTION_PLANES)
    for name, value in (("MAX_WHOLE_VOXELS", 1000), ("WINDOW_SIDE", 32), ("WINDOW_OVERLAP", 16)):
        monkeypatch.setattr(ms, name, value)
    shares: list[float] = []
    parts, none = predict_lesions(Bright(), x, shares.append)
    np.testing.assert_allclose(parts, whole, atol=1e-4)
    assert none == [] and len(shares) > 8 and shares == sorted(shares)


def test_the_network_gives_its_attention_through_the_engine():
    torch.manual_seed(0)
    net = RSANet(1, 3, 4, (8, 16, 32, 64), block=2).eval()
    x = np.random.default_rng(0).normal(size=(3, 48, 64, 32)).astype(np.float32)
    with torch.inference_mode():
        found, weights = predict_lesions(net, x)
        served, seen = predict_lesions(Engine(net, "cpu"), x)
    assert [w.shape for w in weights] == [(4, 4), (2, 2), (3, 3)]
    np.testing.assert_allclose(served, found, atol=0.03)
    for own, other in zip(weights, seen, strict=True):
        np.testing.assert_allclose(own.sum(1), 1, rtol=1e-5)
        assert own.shape == other.shape and other.dtype == np.float32


GREY = np.arange(8000.0).reshape(20, 20, 20)


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (Volume(np.zeros((20, 20, 20)), np.eye(4)), "empty"),
        (Volume(np.zeros((9, 9, 9, 3), np.uint8), np.eye(4)), "colour"),
        (Volume(GREY, np.eye(4), unit="HU"), "CT"),
        (Volume(GREY, np.eye(4), unit="Bq/ml"), "PET"),
        (Volume(GREY[:, :, :1], np.eye(4)), "whole head"),
    ],
)
def test_what_cannot_work_is_refused_in_words(image, said):
    for given in ((image,), (Volume(GREY, np.eye(4)), image), (Volume(GREY, np.eye(4)), None, None, image)):
        with pytest.raises(InputError, match=said):
            run(Bright(), *given)


def test_the_card_is_hidden_until_there_are_weights():
    assert (CARD.name in runtime.load_cards()) == bool(CARD.weights.sha256.strip("0"))
    assert CARD.weights.sha256.strip("0") or "Weights to come" in CARD.trained_on
    assert all(option.live for option in CARD.options)
    assert sum(p.numel() for p in CARD.build().parameters()) < 7_000_000


def test_sequences_come_in_order_and_an_earlier_scan_by_name(tmp_path):
    assert CARD.arrange_inputs(["f"]) == ("f", None, None, None)
    assert CARD.arrange_inputs(["f", "a", "b"]) == ("f", "a", "b", None)
    with pytest.raises(InputError, match="takes"):
        CARD.arrange_inputs([])


def test_what_is_served_is_what_was_trained(monkeypatch):
    monkeypatch.setattr(ms_patches, "CLINICAL_SHARE", 0)
    monkeypatch.setattr(ms_patches, "simulate_sequences", lambda images, *_, **__: (images, False))
    chance, shape = np.random.default_rng(0), (32, 48, 32)
    flair, t1 = (chance.integers(40, 250, shape).astype(np.float32) for _ in "ab")
    flair[0, 0, 0] = t1[0, 0, 0] = 0
    regions = chance.integers(1, 36, shape).astype(np.uint8)
    grid = Grid(shape, from_matvec(np.eye(3), (-20, -30, -10)))
    scans = {role: Volume(array, grid.affine) for role, array in (("flair", flair), ("t1", t1))}
    monkeypatch.setattr(ms_input, "template_transform", lambda regions: np.diag([1.1, 1.1, 1.1, 1]))
    view = prepare_scans(scans, Anatomy(regions, np.ones(shape, bool)), grid)
    places = [
        torch.from_numpy(1.1 * mm).float() for mm in grid.to_mm(np.indices(shape).reshape(3, -1).T).T.reshape(3, *shape)
    ]
    white = TISSUE_TABLE[0][regions]
    images = {
        role: torch.from_numpy(correct_bias_field(array, white)) for role, array in (("flair", flair), ("t1", t1))
    }
    none = torch.zeros(shape)
    found = dict.fromkeys(images, torch.from_numpy(regions))
    sight = ms_heads.PatientView(images, none, none == 0, found, places, none, none)
    trained = ms_patches.make_patch(sight, RandomSource(1)).x.numpy()
    assert trained[:3].any((1, 2, 3)).tolist() == [True, True, False] and trained[3:].any((1, 2, 3)).all()
    np.testing.assert_allclose(stack_channels(view.images, view.maps), trained, atol=1e-4)


def test_values_that_filters_leave_below_black_change_nothing():
    chance, shape = np.random.default_rng(0), (32, 48, 32)
    array = chance.integers(40, 250, shape).astype(np.float32)
    array[0, 0, :2] = 0
    ringing = array.copy()
    ringing[0, 0, 0] = -90
    anatomy = Anatomy(chance.integers(1, 36, shape).astype(np.uint8), np.ones(shape, bool))
    views = [prepare_scans({"flair": Volume(a, np.eye(4))}, anatomy, Grid(shape, np.eye(4))) for a in (array, ringing)]
    np.testing.assert_array_equal(views[0].images["flair"], views[1].images["flair"])
