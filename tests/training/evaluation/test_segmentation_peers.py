"""Other networks in a method's place: those of a comparison answer as the method does, anything else is refused."""

import numpy as np
import pytest

from medapp.errors import OptionError
from medapp.imaging.volume import Volume
from medapp.serving import runtime
from training.core.case import Case
from training.evaluation import scores
from training.evaluation.segmentation_peers import load_peer, run_peers
from training.studies.compare import main

GLIOMA, STROKE = "segment_glioma_ar2unet", "segment_stroke_raxnet"


@pytest.fixture(scope="module")
def comparison(tmp_path_factory):
    out = tmp_path_factory.mktemp("gates")
    main(["glioma-gates", "--smoke", "--out", str(out)])
    return out


@pytest.fixture(scope="module")
def case():
    rng = np.random.default_rng(3)
    image = rng.normal(100, 5, (64, 64, 4)).astype(np.float32)
    image[:4] = 0
    image[20:30, 20:30] += 60
    affine = np.diag([-3.0, -3.0, 5.0, 1])
    truth = (image > 140).astype(np.uint8)
    return Case("one", "phantoms", "", (None, Volume(image, affine), None), Volume(truth, affine, labels={1: "x"}))


def test_a_peer_answers_in_the_place_of_the_methods_network(comparison, case):
    card = runtime.find_card(GLIOMA)
    folder = comparison / "u-net" / "seed0"
    found = run_peers(GLIOMA, case, card.parse_settings({}), (str(folder),))
    assert list(found) == ["U-Net"]
    result = found["U-Net"].result
    ours = runtime.run(GLIOMA, *case.volumes)
    assert result.volumes["probability"].shape == case.truth.shape
    assert not np.allclose(result.volumes["probability"].array, ours.volumes["probability"].array)

    scorer = scores.find_scorer(card, (str(folder),))
    rows = scorer.rows(case, ours, card.parse_settings({}), (str(folder),))
    assert [row["group"] for row in rows] == ["ours", "U-Net"]
    assert set(scorer.methods) <= set(rows[0]) | set(rows[1])


def test_in_one_plane_of_the_strokes_the_others_stay(tmp_path):
    main(["stroke-networks", "--smoke", "--out", str(tmp_path)])
    peer = load_peer(tmp_path / "u-net" / "seed0", STROKE)
    assert peer.part == "axial"
    kinds = {plane: type(peer.engine.net[plane]).__name__ for plane in ("axial", "coronal", "sagittal")}
    assert kinds == {"axial": "UNet", "coronal": "RAXNet", "sagittal": "RAXNet"}


def test_what_is_no_peer_is_refused(comparison, tmp_path):
    with pytest.raises(OptionError, match="such as OUT/u-net/seed0"):
        load_peer(tmp_path, GLIOMA)
    with pytest.raises(OptionError, match="not for segment_stroke_raxnet"):
        load_peer(comparison / "u-net" / "seed0", STROKE)
