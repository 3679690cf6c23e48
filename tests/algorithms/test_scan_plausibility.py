"""A scan of another contrast, of no head, or of half a brain is doubted; a usual one is not."""

import nibabel as nib
import numpy as np
import pytest
from nibabel.affines import from_matvec

from medapp.algorithms import scan_plausibility as doubts
from medapp.algorithms.head_orientation import has_head_layout
from medapp.algorithms.scan_plausibility import doubt_scan, guess_contrast
from medapp.algorithms.template_regions import TEMPLATE_REGIONS
from medapp.imaging.brain_labels import CLASS_NAMES, split_side
from medapp.imaging.volume import Volume
from medapp.pipelines import segment_glioma_ar2unet as glioma
from medapp.presenters import PRESENTERS
from medapp.result import Metric, Result
from medapp.ui import html

AFFINE = np.diag([2.0, 2, 2, 1])
LOOKS = {  # white, grey, fluid
    "T1": (100, 75, 25),
    "FLAIR": (100, 115, 20),
    "T2": (60, 80, 200),
}


def classes(scale: float = 1.0) -> np.ndarray:
    """Every region of the template, `scale` times as large, in no order that makes sense, among background."""
    counts = np.rint(scale * TEMPLATE_REGIONS.ml.ravel() * 1000 / 8).astype(int)
    array = np.zeros((120, 100, 60), np.uint8)
    array.ravel()[: counts.sum()] = np.repeat(np.arange(1, len(CLASS_NAMES)), counts)
    return array


def scan(look: str, labels: np.ndarray) -> Volume:
    white, grey, fluid = LOOKS[look]
    bright = np.full(len(CLASS_NAMES), grey)
    bright[0] = 0
    for number, name in enumerate(CLASS_NAMES):
        bright[number] = {"Cerebral-White-Matter": white, "Lateral-Ventricle": fluid}.get(
            split_side(name)[1], bright[number]
        )
    noise = np.random.default_rng(0).normal(0, 3, labels.shape) * (labels > 0)
    return Volume((bright[labels] + noise).astype(np.float32), AFFINE, name=look)


@pytest.mark.parametrize("look", LOOKS)
def test_the_contrast_is_told_by_the_order_of_the_tissues(look):
    labels = classes()
    assert guess_contrast(scan(look, labels).array, labels) == look
    assert guess_contrast(scan(look, labels).array - 500, labels) == look
    assert guess_contrast(np.ones(labels.shape), labels) == ""


@pytest.mark.parametrize(("look", "wanted"), [("T1", "FLAIR"), ("T2", "FLAIR"), ("FLAIR", "T1"), ("T2", "T1")])
def test_another_contrast_is_doubted(look, wanted):
    labels = classes()
    regions = Volume(labels, AFFINE)
    doubts = doubt_scan(scan(look, labels), regions, wanted)
    assert doubts.question == f"Not a {wanted} scan of a brain?"
    assert f"looks like {look}" in doubts.warnings[0] and f"Upload the {wanted} scan" in doubts.warnings[0]
    assert doubt_scan(scan(wanted, labels), regions, wanted) == ("", ())
    assert doubt_scan(scan(look, labels), regions) == ("", ())


@pytest.mark.parametrize(
    ("scale", "said"), [(0.0, "no brain was found"), (0.01, "plausible size"), (1.3, "unusual for an adult")]
)
def test_what_is_no_whole_head_is_doubted(scale, said):
    labels = classes(scale)
    doubts = doubt_scan(scan("T1", labels), Volume(labels, AFFINE), "T1")
    assert doubts.question == "Not a T1 scan of a whole head?" and said in doubts.warnings[0]


def test_a_cut_brain_is_not_doubted_for_its_size():
    labels = classes(0.3)
    assert doubt_scan(scan("T1", labels), Volume(labels, AFFINE), "T1", cut=True) == ("", ())


@pytest.mark.parametrize(("look", "much", "doubted"), [("T2", True, True), ("FLAIR", True, False), ("T1", False, True)])
def test_a_finding_on_another_contrast_is_doubted(look, much, doubted, monkeypatch):
    labels = classes()
    head, regions = scan(look, labels), Volume(labels, AFFINE)
    monkeypatch.setattr(glioma, "parcellate_coarsely", lambda net, image: (head, regions))
    monkeypatch.setattr(glioma, "has_head_layout", lambda regions: True)
    seen = found(head, much)
    assert (seen.metrics["volume"].value > glioma.SMALL_VOLUME_ML) == much
    assert bool(seen.doubt) == doubted and any(f"looks like {look}" in w for w in seen.warnings) == doubted


def test_regions_that_do_not_lie_as_in_a_head_are_doubted(monkeypatch):
    labels = np.zeros((100, 120, 100), np.uint8)
    affine = from_matvec(2 * np.eye(3), [-100, -130, -80])
    at = np.rint(nib.affines.apply_affine(np.linalg.inv(affine), TEMPLATE_REGIONS.mm)).astype(int)
    there = [number for number in range(1, len(CLASS_NAMES)) if TEMPLATE_REGIONS.ml[number - 1] > 0]
    for order, as_head in ((there, True), (np.random.default_rng(1).permutation(there), False)):
        labels[:] = 0
        for number, place in zip(order, there, strict=True):
            labels[tuple(slice(n - 1, n + 2) for n in at[place - 1])] = number
        assert has_head_layout(Volume(labels, affine)) == as_head


@pytest.mark.parametrize("much", [True, False])
def test_what_lies_as_in_no_head_is_doubted_however_much_was_found(much, monkeypatch):
    mixed = classes()
    head = scan("FLAIR", mixed)
    monkeypatch.setattr(glioma, "parcellate_coarsely", lambda net, image: (head, Volume(mixed, AFFINE)))
    seen = found(head, much)
    assert seen.doubt == "Not a FLAIR scan of a whole head?" and "do not lie as in a head" in seen.warnings[0]


@pytest.mark.parametrize(("share", "doubted"), [(1, False), (0.05, True)])
def test_a_head_whose_regions_have_odd_sizes_is_taken_for_one_unless_it_is_tiny(share, doubted, monkeypatch):
    mixed = classes()
    head, tiny = scan("FLAIR", mixed), AFFINE @ np.diag([*[share ** (1 / 3)] * 3, 1])
    monkeypatch.setattr(glioma, "parcellate_coarsely", lambda net, image: (head, Volume(mixed, tiny)))
    monkeypatch.setattr(glioma, "has_head_layout", lambda regions: True)
    monkeypatch.setattr(doubts, "count_plausible_regions", lambda ml: 5)
    seen = found(head, much=False)
    assert bool(seen.doubt) == doubted


def found(head: Volume, much: bool):
    """What the glioma method makes of a scan in which its network finds all or nothing."""
    return glioma.segment(
        lambda x: x[:, :1] * 0 + (5.0 if much else -5.0), None, head, None,
        progress=lambda *_: None, threshold=0.5, min_lesion_ml=0.5, get_network=lambda name: None,
    )  # fmt: skip


def test_a_few_slices_are_said_not_to_be_checked():
    head = scan("T1", classes())
    seen = glioma.segment(
        lambda x: x[:, :1] * 0 - 5.0, None, head.new_like(head.array[:, :, :4]), None,
        progress=lambda *_: None, threshold=0.5, min_lesion_ml=0.5, get_network=lambda name: None,
    )  # fmt: skip
    assert glioma.FEW_SLICES_NOTE in seen.notes and not seen.doubt


def test_the_doubt_takes_the_place_of_nothing_found():
    nothing = {"lesions": Metric(0), "volume": Metric(0.0, "ml"), "left_out": Metric(0)}
    result = Result({}, metrics=nothing, settings={"min_lesion_ml": 1.0})
    assert "Nothing found" in html.summarize_result(result, PRESENTERS["lesions"].headline(result))
    doubted = Result({}, metrics=nothing, settings={"min_lesion_ml": 1.0}, doubt="Not a FLAIR scan of a brain?")
    assert html.summarize_result(doubted, PRESENTERS["lesions"].headline(doubted)).startswith(
        "Not a FLAIR scan of a brain?"
    )
    assert "Nothing found" not in html.summarize_result(doubted, PRESENTERS["lesions"].headline(doubted))


def test_warnings_stand_in_a_box_before_the_notes():
    page = html.render_headline("3 ml", ["a note"], ["<b>wrong</b>"])
    assert page.index("med-warning") < page.index("&lt;b&gt;wrong") < page.index("a note")
    assert "med-warning" not in html.render_headline("3 ml", ["a note"])
    assert Result({}, warnings=("look",), doubt="Not a CT?").facts()["warnings"] == ["look"]
