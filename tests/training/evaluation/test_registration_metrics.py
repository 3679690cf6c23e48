"""The evaluation of registration: figures from the true labels, peers in the right direction, tables of methods."""

import csv
from importlib.util import find_spec

import numpy as np
import pytest
from scipy import ndimage

from medapp.imaging.brain_labels import CLASS_NAMES
from medapp.imaging.deformation import Deformation
from medapp.imaging.volume import Volume
from medapp.result import Provenance, Result
from medapp.serving import runtime
from training.core import score_tables
from training.core.case import TRUE_REGIONS, Case
from training.data.labelled_brains import VALIDATION_SCANS
from training.evaluation import evaluate, registration_metrics, registration_peers, scores
from training.methods import register_brain_textscf

SHIFT = 3  # mm by which the moving phantom lies further along the first axis
OBLIQUE = np.array([[0.0, 0, 1, -9], [1, 0, 0, 4], [0, -1, 0, 7], [0, 0, 0, 1]])


def parcelled(shift: int = 0) -> Volume:
    """Both thalami and white matters, numbered as in Neuromorphometrics."""
    labels = np.zeros((32, 24, 20), np.int16)
    for number, x in ((45, 4), (60, 9), (59, 15), (44, 20)):
        labels[x + shift : x + shift + 5, 6:18, 5:15] = number
    return Volume(labels, OBLIQUE, labels={1: "any"})


def moved(mm: float) -> Deformation:
    """A shift along the first axis of the phantom."""
    grid = parcelled().grid
    vectors = mm * OBLIQUE[:3, 0][:, None, None, None] * np.ones((1, *grid.shape))
    return Deformation(vectors, OBLIQUE)


def blobs() -> np.ndarray:
    """(48, 40, 36) from 0 to 1, textured, black at the edge."""
    grain = np.random.default_rng(3).normal(size=(48, 40, 36))
    texture = sum(s**1.5 * ndimage.gaussian_filter(grain, s) for s in (1.5, 3))
    there = np.zeros(grain.shape)
    there[8:-8, 8:-8, 8:-8] = 1
    image = (0.6 + 0.25 * texture / texture.std()) * ndimage.gaussian_filter(there, 1.5)
    return image.clip(0, 1).astype(np.float32)


def test_the_right_field_scores_full_marks():
    fixed, truth, other = (parcelled(s) for s in (0, 0, SHIFT))
    right = registration_metrics.score_field(moved(SHIFT), np.eye(4), fixed, truth, other)
    assert right["dice"] == right["dice_regions"] == 1 and right["hd95"] == right["folding"] == right["sdlogj"] == 0
    none = registration_metrics.score_field(moved(0), np.eye(4), fixed, truth, other)
    assert none["dice"] == pytest.approx(0.4, abs=1e-3) and none["hd95"] == pytest.approx(SHIFT)
    back = registration_metrics.score_field(moved(-SHIFT), np.eye(4), fixed, truth, other)
    assert back["dice"] == 0


def test_the_affine_comes_after_the_field():
    fixed, truth, other = (parcelled(s) for s in (0, 0, SHIFT))
    affine = np.eye(4)
    affine[:3, 3] = SHIFT * OBLIQUE[:3, 0]
    assert registration_metrics.score_field(moved(0), affine, fixed, truth, other)["dice"] == 1


def test_a_label_that_is_nowhere_else_counts_as_missed():
    truth = np.repeat(np.arange(4), 5)
    assert registration_metrics.label_dice(np.where(truth == 3, 2, truth), truth).tolist() == pytest.approx(
        [1, 2 / 3, 0]
    )


def test_folds_are_found_where_the_brain_is():
    field = moved(0)
    vectors = field.vectors.copy()
    vectors[:, 10] = -3 * OBLIQUE[:3, 0][:, None, None]
    row = registration_metrics.score_field(
        Deformation(vectors, OBLIQUE), np.eye(4), parcelled(), parcelled(), parcelled()
    )
    assert 0 < row["folding"] < 20 and row["sdlogj"] > 1


@pytest.mark.parametrize("name", sorted(set(registration_peers.PEERS) - {"syn", "syn-quick"}))
def test_peers_go_from_fixed_to_moving_points(name):
    if not find_spec(registration_peers.PEERS[name].module):
        pytest.skip(f"{registration_peers.PEERS[name].module} is not installed")
    fixed = blobs()
    moving = np.roll(fixed, (2, -1), (0, 2))
    flow, cost = registration_peers.run_peer(name, fixed, moving)
    assert flow.shape == (3, *fixed.shape) and flow.dtype == np.float32
    inside = (slice(None), *(slice(14, n - 14) for n in fixed.shape))
    middle = np.median(flow[inside].reshape(3, -1), 1)
    assert np.abs(middle - (2, 0, -1)).max() < 0.6, middle
    assert cost.seconds > 0 and cost.cpu_seconds > 0


def test_peers_are_chosen_by_name():
    everything = registration_peers.choose_peers(("all",))
    assert "demons" in everything, "SimpleITK is the app's own"
    assert registration_peers.choose_peers(("demons",)) == ("demons",) and registration_peers.choose_peers(()) == ()
    with pytest.raises(ValueError, match="elastix"):
        registration_peers.choose_peers(("demons", "elastix"))


def test_the_pair_is_found_again_in_the_result():
    classes = parcelled().new_like(np.where(parcelled().array > 0, 2, 0), labels={2: CLASS_NAMES[2]})
    affine = np.eye(4)
    affine[:3, 3] = SHIFT * OBLIQUE[:3, 0]
    gone = classes.new_like(np.roll(classes.array, SHIFT, 0))
    volumes = {"fixed_prepared": classes, "moving_prepared": classes, "labels": classes, "moving_labels": gone}
    pair = registration_metrics.prepared_pair(Result(volumes, affine=affine))
    assert np.array_equal(pair.moving_regions.array, pair.fixed_regions.array) and pair.fixed_regions.array.any()


def test_with_true_labels_there_is_ours_alone():
    truth = parcelled()
    origin = Provenance("register_brain_textscf", seconds=9.0, peak_memory_mb=900.0)
    result = Result({"warped": truth}, moved(SHIFT), affine=np.eye(4), provenance=origin)
    case = Case("a-b", "phantom", TRUE_REGIONS, (truth, truth, truth, None), truth, {}, parcelled(SHIFT))
    scorer = scores.find_scorer(runtime.find_card("register_brain_textscf"))
    (row,) = scorer.rows(case, result, {"refine": True}, ("greedy",))
    assert scorer is scores.REGISTRAR and set(scorer.figures) <= set(row)
    assert row["group"] == "ours" and row["dice"] == 1 and row["job_seconds"] == 9 and row["seconds"] is None


def test_methods_are_compared_pair_by_pair():
    rows = [
        {"patient": str(n), "group": group, "condition": condition, "dice": 0.5 + 0.01 * n + more}
        for n in range(8)
        for group, condition, more in (("ours", "predicted", 0.0), ("greedy", "predicted", -0.05 - 0.001 * n))
    ]
    rows.append({"patient": "0", "group": "ours", "condition": "true-labels", "dice": 0.6})
    text = score_tables.method_table(rows, ("dice",))
    assert "| ours | 8 | 0.535 ± 0.025 |" in text and "| greedy | 8 | -0.054 (0.0078) |" in text
    assert "| ours, true-labels | 1 | +0.100 (1) |" in text


def test_rows_are_read_as_they_were_written(tmp_path):
    row = {"patient": "1001-1009", "group": "greedy", "condition": "predicted", "dice": 0.5, "job_seconds": None}
    with (tmp_path / "cases.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, row.keys())
        writer.writeheader()
        writer.writerow(row)
    assert (
        score_tables.read_rows(tmp_path / "cases.csv") == [row] and score_tables.read_rows(tmp_path / "none.csv") == []
    )


@pytest.mark.skipif("register_brain_textscf" not in runtime.load_cards(), reason="no weights yet")
def test_the_command_writes_its_tables_and_adds_to_them(tmp_path, monkeypatch):
    def served(name: str, *volumes: Volume | None, **options: str) -> Result:
        origin = Provenance("register_brain_textscf", seconds=9.0)
        return Result({"warped": volumes[0]}, moved(SHIFT), affine=np.eye(4), provenance=origin)

    def called(*more: str) -> str:
        command = ["evaluate", "register_brain_textscf", str(tmp_path), "--out", str(tmp_path), *more]
        monkeypatch.setattr("sys.argv", [*command, "--condition", TRUE_REGIONS])
        evaluate.main()
        return (tmp_path / "summary.md").read_text()

    phantoms = {name: parcelled(SHIFT * (name == "1009")) for name in register_brain_textscf.TEST_SCANS}
    (tmp_path / register_brain_textscf.LAYOUT).touch()
    monkeypatch.setattr(evaluate.runtime, "run", served)
    monkeypatch.setattr(register_brain_textscf, "list_scans", lambda data: sorted(phantoms))
    monkeypatch.setattr(register_brain_textscf, "read_scan", lambda data, name: (phantoms[name], phantoms[name]))
    assert "| ours | 1 | 1.000 ± 0.000 |" in called("--pairs", "1")
    kept = (tmp_path / "cases.csv").read_text()
    (tmp_path / "cases.csv").write_text(kept + kept.splitlines()[1].replace("ours", "greedy").replace("1.0", "0.5"))
    text = called("--pairs", "2", "--more")
    assert "| ours | 2 |" in text and "| greedy | 1 | 0.500 ± 0.000 |" in text


def test_every_pair_is_of_two_people_and_the_first_hold_everyone(monkeypatch):
    names = [*register_brain_textscf.TEST_SCANS, *VALIDATION_SCANS]
    monkeypatch.setattr(register_brain_textscf, "list_scans", lambda data: sorted(names))
    monkeypatch.setattr(register_brain_textscf, "read_scan", lambda data, name: (parcelled(), parcelled()))
    pairs = list(dict.fromkeys(case.patient for case in register_brain_textscf.read_cases(None, "test")))
    assert len(pairs) == 12 and pairs[:4] == ["1001-1009", "1009-1014", "1014-1017", "1017-1001"]
