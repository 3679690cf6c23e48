"""Made-up MS: lesions in white matter, none in brains without, the same from the same seed; training that resumes."""

import csv
from functools import partial

import nibabel as nib
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from medapp.algorithms.ms_input import INPUT_CHANNELS
from medapp.imaging.brain_labels import MIRROR_CLASSES
from medapp.imaging.volume import Volume
from medapp.networks.rsanet import RSANet
from medapp.pipelines.segment_ms_rsanet import CARD
from medapp.result import Result
from training.core.random_source import RandomSource
from training.data import glioma_flair, ms_heads, ms_patches, ms_patients
from training.data.brain_tissues import TISSUE_CLASS
from training.data.labelled_brains import MARGIN, STEP_MM, LabelledScan
from training.data.ms_exams import Exam
from training.data.ms_lesions import (
    NUCLEI,
    WHITE,
    draw_specks,
    fit_to_mni,
    paint_lesions,
    plant_lesions,
    synthesize_ms_flair,
    thin_lesions,
)
from training.data.random_pose import Pose
from training.evaluation import evaluate
from training.methods import segment_ms_rsanet

SIZE = (32, 32, 32)


def phantom() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A ball of white matter under a cortex, two ventricles in it: tissue uint8, T1 (white 1), depth in mm."""
    side = 48 + 2 * MARGIN
    x, y, z = np.indices((side,) * 3) - (side - 1) / 2
    radius = np.sqrt(x**2 + y**2 + z**2)
    right = x > 0
    tissue = np.where(radius < 22, np.where(right, 21, 2), 0)
    tissue = np.where(radius < 18, np.where(right, 20, 1), tissue)
    hollow = np.sqrt((2 * x) ** 2 + y**2 + z**2)
    tissue = np.where(hollow < 8, np.where(right, 22, 3), tissue)
    t1 = np.select([np.isin(tissue, (1, 20)), np.isin(tissue, (2, 21)), np.isin(tissue, (3, 22))], [1, 0.68, 0.3], 0)
    return tissue.astype(np.uint8), t1.astype(np.float32), np.maximum(hollow - 8, 0) / 1.5


@pytest.fixture(scope="module")
def head() -> ms_patients.TransplantBrain:
    tissue, t1, depth = phantom()
    radius = np.sqrt(((np.indices(tissue.shape) - (tissue.shape[0] - 1) / 2) ** 2).sum(0))
    distance = (np.maximum(radius - 22, 0) / STEP_MM).clip(0, 255)
    lesions = np.argwhere((np.indices(tissue.shape) % 12 < 5).all(0) & WHITE.numpy()[tissue])
    arrays = ((t1 * 200).astype(np.uint8), tissue, distance.astype(np.uint8))
    scan = LabelledScan(*(torch.from_numpy(a) for a in arrays))
    shallow = torch.from_numpy((depth / STEP_MM).clip(0, 255).astype(np.uint8))
    return ms_patients.TransplantBrain(
        scan, shallow, {"patient01": torch.from_numpy(lesions.astype(np.int16))}, torch.eye(4)
    )


def test_lesions_are_pushed_into_white_matter_and_cut_to_the_brain():
    tissue, _, depth = phantom()
    rough = np.zeros(tissue.shape, bool)
    middle = tissue.shape[0] // 2
    rough[middle + 19 : middle + 24, middle - 3 : middle + 3, middle - 3 : middle + 3] = True  # cortex and beyond
    lesions = plant_lesions(rough, tissue, depth, RandomSource(0))
    white = WHITE.numpy()[tissue]
    assert lesions.any()
    assert (lesions & white).sum() > 0.7 * lesions.sum()
    assert not (lesions & (np.isin(tissue, (0, 3, 22)))).any()
    assert not plant_lesions(np.zeros_like(rough), tissue, depth, RandomSource(0)).any()


def test_a_brain_is_found_in_its_place():
    tissue = np.zeros((160, 190, 160), np.uint8)
    tissue[11:80, 5:180, 10:153], tissue[80:149, 5:180, 10:153] = 1, 20
    for number, centre in NUCLEI.items():
        for side, sign in ((number, -1), (MIRROR_CLASSES[number], 1)):
            x, y, z = np.array(centre) * (sign, 1, 1) + (80, 109, 75)
            tissue[x - 1 : x + 2, y - 1 : y + 2, z - 1 : z + 2] = side
    expected = np.eye(4)
    expected[:3, 3] = (-80, -109, -75)
    np.testing.assert_allclose(fit_to_mni(tissue) @ (50, 60, 90, 1), expected @ (50, 60, 90, 1), atol=4)


@pytest.mark.parametrize("seed", range(6))
def test_lesions_are_brighter_than_white_matter_in_flair_and_not_in_t1(seed):
    tissue, t1, depth = (torch.from_numpy(a) for a in phantom())
    soft = torch.zeros(t1.shape)
    soft[58:66, 44:52, 44:52] = 1
    soft *= WHITE[tissue.long()]
    rng = RandomSource(seed)
    bare = {"flair": synthesize_ms_flair(t1, tissue, depth.float(), rng), "t1": t1, "t2": t1}
    images = paint_lesions(bare, soft, rng)
    white = WHITE[tissue.long()] & (soft == 0)
    assert images["flair"][soft > 0.5].median() > 1.1 * images["flair"][white].median()
    assert images["t1"][soft > 0.5].median() <= 1.05 * images["t1"][white].median()
    assert paint_lesions(bare, torch.zeros_like(soft), rng) is bare


def test_loads_vary_and_specks_keep_to_their_room():
    soft = torch.zeros(40, 40, 40)
    soft[::8, ::8, ::8] = 1
    counts = {int(thin_lesions(soft, RandomSource(seed)).sum()) for seed in range(8)}
    assert len(counts) > 4 and max(counts) <= int(soft.sum())
    room = torch.zeros(40, 40, 40, dtype=torch.bool)
    room[:20] = True
    found = torch.stack([draw_specks(room, RandomSource(seed)) for seed in range(5)])
    assert found.any() and not found[:, 20:].any()


def test_the_same_seed_gives_the_same_patch(head):
    first, second = (ms_heads.draw_made_up(head, SIZE, RandomSource(7)) for _ in range(2))
    torch.testing.assert_close(first, second)
    shown = ms_patches.make_patch(first, RandomSource(1))
    assert shown.x.shape == (INPUT_CHANNELS, *SIZE) and shown.x.isfinite().all()
    torch.testing.assert_close(shown, ms_patches.make_patch(second, RandomSource(1)))


def test_a_brain_without_lesions_stays_without(head):
    free = head._replace(transplants={"none": torch.zeros(0, 3, dtype=torch.int16)})
    assert not any(ms_heads.draw_made_up(free, SIZE, RandomSource(seed)).target.any() for seed in range(6))


def test_sequences_are_missing_as_when_served(head):
    given = set()
    for seed in range(20):
        x = ms_patches.make_patch(ms_heads.draw_made_up(head, SIZE, RandomSource(seed)), RandomSource(seed)).x
        given.add(tuple(bool(image.any()) for image in x[:3]))
    assert all(flair for flair, _, _ in given) and {(True, False, False), (True, True, False)} <= given


def test_regions_are_as_a_network_finds_them(head):
    tissue = head.scan.tissue
    seen = Pose([torch.from_numpy(a).float() for a in np.indices(tissue.shape)], False)
    lesion = torch.zeros(tissue.shape)
    lesion[40:60, 40:60, 40:60] = 1
    found = [ms_heads.perturb_regions(tissue, seen, lesion, RandomSource(seed)) for seed in range(8)]
    wrong = torch.stack([f != tissue for f in found])
    assert 0.001 < wrong[:, lesion == 0].float().mean() < 0.05, "borders are a little off"
    shares = sorted(float(w[lesion > 0].float().mean()) for w in wrong)
    assert shares[0] < 0.1 and shares[-1] > 0.3, "and some lesions are taken for something else"


@pytest.fixture
def small(monkeypatch, head):
    class PhantomSource:
        def __init__(self, *_):
            pass

        def sample(self, rng, size=SIZE):
            return ms_patches.make_patch(ms_heads.draw_made_up(head, SIZE, rng), rng)

    monkeypatch.setattr(segment_ms_rsanet, "PatchSource", PhantomSource)
    monkeypatch.setattr(segment_ms_rsanet, "WHOLE_BRAIN", SIZE)
    parts = {"train": [], "validation": ["1007"], "test": []}
    monkeypatch.setattr(segment_ms_rsanet, "split_scans", lambda names: parts)
    monkeypatch.setattr(segment_ms_rsanet, "load_brain", lambda *_: head)
    monkeypatch.setattr(
        segment_ms_rsanet, "build_network", partial(RSANet, 1, INPUT_CHANNELS, None, (8, 16, 32), block=2)
    )
    monkeypatch.setattr(segment_ms_rsanet, "made_up_exams", lambda head, seed: exams(head))


def exams(head: ms_patients.TransplantBrain) -> list[Exam]:
    """Seen as when served, but for the regions, which no network has to find."""
    view = ms_heads.draw_made_up(head, SIZE, RandomSource(0))
    x, lesion = ms_patches.make_patch(view, RandomSource(0)).x.numpy().astype(np.float16), view.target.numpy() > 0.5
    truths = (Volume(array.astype(np.uint8), np.eye(4), labels={1: "lesion"}) for array in (lesion, lesion & False))
    return [Exam(kind, x, truth.grid, truth) for kind, truth in zip(("made", "free"), truths, strict=True)]


def test_a_few_voxels_taken_for_lesion_count_where_there_is_none():
    logits, none = torch.full((1, 40, 40, 40), -6.0), torch.zeros(1, 40, 40, 40)
    known = none < 1
    before = segment_ms_rsanet.segmentation_loss(logits, none, known)
    logits[:, :4, :4, :4] = 3.0  # a thousandth of the patch
    logits.requires_grad_()
    after = segment_ms_rsanet.segmentation_loss(logits, none, known)
    after.backward()
    assert after > before + 0.25
    wrong, rest = logits.grad[:, :4, :4, :4], logits.grad[:, 4:]
    assert wrong.min() > 100 * rest.abs().mean(), "and are pushed down before all others"
    there = torch.zeros(1, 40, 40, 40)
    there[:, 10:20, 10:20, 10:20] = 1
    assert segment_ms_rsanet.segmentation_loss(40 * there - 20, there, known) < 1e-3


def test_one_small_lesion_counts_as_much_as_a_large_one():
    target = torch.zeros(2, 40, 40, 40)
    target[0, :5, :5, :5] = 1
    target[1, :25, :25, :25] = 1
    known = torch.ones_like(target, dtype=torch.bool)

    def lost(missed: int) -> float:
        logits = 40 * target - 20
        logits[missed] = -20.0
        return float(segment_ms_rsanet.segmentation_loss(logits, target, known, weight=0.0))

    assert 0.3 < lost(0) <= lost(1) < 0.51
    known[0, :5, :5, :5] = False
    assert lost(0) < 1e-3, "nothing is learned from what is not known"


def test_a_stopped_training_goes_on_as_if_nothing_had_happened(small, tmp_path):
    run = ["--data", str(tmp_path), "--every", "2", "--steps", "4", "--out"]
    segment_ms_rsanet.main([*run, str(tmp_path / "whole")])
    segment_ms_rsanet.main([*run, str(tmp_path / "halves"), "--minutes", "1e-9"])  # a step at a time
    for _ in range(3):
        segment_ms_rsanet.main([*run, str(tmp_path / "halves"), "--minutes", "1e-9"])
    whole, halves = (load_file(tmp_path / name / "last.safetensors") for name in ("whole", "halves"))
    for key, value in whole.items():
        assert value.dtype == torch.float16 or key.endswith("num_batches_tracked")
        torch.testing.assert_close(value, halves[key])
    with (tmp_path / "halves" / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["2", "4"]
    assert {"made_dice", "made_f1", "free_ml"} <= set(rows[0])
    for folder in ("whole", "halves"):
        logged = EventAccumulator(str(tmp_path / folder)).Reload()
        assert [(e.step, e.value) for e in logged.Scalars("loss")] == [
            (int(row["step"]), pytest.approx(float(row["loss"]))) for row in rows
        ]


def test_who_is_left_out_is_seen_in_no_way(tmp_path, monkeypatch):
    (tmp_path / "ms").mkdir()
    for name in ("openms_p07", "openms_p19", "mslesseg_P14_T1", "mslesseg_P14_T2", "mslesseg_P18_T1"):
        (tmp_path / "ms" / f"{name}_flair.nii.gz").touch()
    bank = {f"patient{n:02}": np.zeros((1, 3), np.int16) for n in (7, 8)}
    monkeypatch.setattr(ms_patches, "read_mask_bank", lambda _: bank)
    monkeypatch.setattr(ms_patches, "load_patient", lambda _, name, bank: name)
    clinic = ms_patches.PatchSource(tmp_path, [], ["p07", "P14"], gliomas=False)
    assert set(clinic.patients) == {"p19", "P18"} and clinic.without & set(bank) == {"patient07"}


def test_lesions_are_painted_into_real_white_matter_and_gliomas_are_not_known():
    shape = (60, 60, 60)
    white = torch.zeros(shape, dtype=torch.uint8)
    white[10:50, 10:50, 10:50] = 255
    unknown = torch.zeros(shape, dtype=torch.uint8)
    unknown[10:20, 10:50, 10:50] = 255
    plot = torch.tensor(np.argwhere(np.ones((14, 14, 14))) + 25, dtype=torch.int16)
    none = torch.zeros(shape, dtype=torch.uint8)
    flair = white // 2 + 20
    real = ms_patients.RealPatient(
        "x",
        flair,
        none,
        none,
        white,
        unknown,
        ms_patients.lesion_points(none),
        {"flair": white // 255},
        {"a": plot},
        None,
        none,
    )
    seen = [ms_heads.draw_real(real, (48, 48, 48), RandomSource(seed)) for seed in range(6)]
    with_lesions = [view[:3] for view in seen if view.target.any()]
    assert 0 < len(with_lesions) < 6, "some are left without"
    for images, target, known in with_lesions:
        assert set(images) == {"flair"} and known.any() and not known.all()
        assert images["flair"][target > 0.9].mean() > 1.15 * images["flair"][(target == 0) & known].median()
        assert not target[~known].any()


def test_large_and_small_lesions_have_one_spot_each():
    lesions = torch.zeros(20, 20, 20, dtype=torch.uint8)
    lesions[2:12, 2:12, 2:12] = 255
    lesions[15, 15, 15] = 255
    spots = ms_patients.lesion_points(lesions)
    assert (
        spots.shape == (2, 3) and (lesions[tuple(spots.T)] == 255).all() and spots.max() == 15 and spots[0].max() < 12
    )


def test_a_stack_of_pictures_is_a_volume_that_lies_as_patients_do(tmp_path, monkeypatch):
    for number in (3, 6, 9, *range(10, 30), 32, 47):
        picture = np.zeros((64, 64, 3), np.uint8)
        picture[4:60, 4:60] = 100
        picture[4:30, 4:30, 1] = 200 if number >= 20 else 150  # the front of the patient's right, brighter above
        Image.fromarray(picture).save(tmp_path / f"{number:03}.jpg", quality=95)
    drawn = np.zeros((64, 64), np.uint8)
    drawn[4:30, 4:30] = 255
    Image.fromarray(drawn).save(tmp_path / "025_mask.png")
    files, step = glioma_flair.longest_slab(tmp_path)
    assert step == pytest.approx(glioma_flair.HEAD_HEIGHT / 50) and [int(f.stem) for f in files][-1] == 32
    assert glioma_flair.interpolate_volumes(tmp_path) is None, "too low a slab for regions to be found in it"
    monkeypatch.setattr(glioma_flair, "LEAST_HEIGHT", 60)
    found = glioma_flair.interpolate_volumes(tmp_path)
    assert found["flair"].shape == found["glioma"].shape == (240, 240, 90)
    index = np.argwhere(found["flair"].array > 120)
    where = found["flair"].grid.to_mm(index)
    middle = found["flair"].grid.to_mm((np.array(found["flair"].shape) - 1) / 2)
    assert where[:, 0].mean() > middle[0] + 20 and where[:, 1].mean() > middle[1] + 20
    assert found["flair"].array[180, 180, -5] > found["flair"].array[180, 180, 5]
    assert found["glioma"].array[180, 180].max() > 0.9 and found["glioma"].array[40].max() < 0.1


def test_the_evaluation_knows_the_trainings_folder_and_takes_its_cases(tmp_path, monkeypatch):
    monkeypatch.setattr(segment_ms_rsanet, "read_cases", lambda data, part: iter([part]))
    monkeypatch.setattr(evaluate.patient_folder, "read_cases", lambda card, data, subject: iter(["anyone's"]))
    assert [*evaluate.select_cases(CARD, tmp_path, "test", "")[1]] == ["anyone's"]
    (tmp_path / "ms").mkdir()
    (tmp_path / "ms" / "openms_p07_flair.nii.gz").touch()
    assert [*evaluate.select_cases(CARD, tmp_path, "test", "")[1]] == ["test"]


def test_people_of_a_clinic_keep_their_slices_and_are_not_scanned_again(tmp_path, monkeypatch):
    tissue, t1, _ = phantom()
    inner = (slice(MARGIN, -MARGIN),) * 3
    lesion = np.zeros(tissue.shape, bool)
    lesion[56:62, 44:50, 48:54] = True  # a slice
    flair = (100 * np.where(lesion, 1.5, (t1 > 0) * 1.0))[inner]
    affine = np.diag([1.0, 1, 6, 1])
    thick = {role: a.reshape(48, 48, 8, 6).mean(3) for role, a in (("flair", flair), ("mask", lesion[inner] * 1.0))}
    (tmp_path / "ms_thick").mkdir()
    for role, array in (("flair", thick["flair"]), ("mask", (thick["mask"] > 0.4).astype(np.uint8))):
        nib.save(nib.Nifti1Image(array.astype(np.float32), affine), tmp_path / "ms_thick" / f"clinic_7_{role}.nii.gz")
    labels = Volume(TISSUE_CLASS.numpy()[tissue[inner]], np.diag([1.0, 1, 1, 1]), labels={1: "any"})
    monkeypatch.setattr(ms_patients.runtime, "run", lambda name, image: Result({"labels": labels}))
    monkeypatch.setattr(ms_patients, "parcellation_cache", lambda data: tmp_path)
    monkeypatch.setattr(ms_patients, "transplant_lesions", lambda *_: {})
    assert ms_patients.list_clinical(tmp_path) == ["clinic_7"]
    for _ in range(2):  # made, then from the cache
        real = ms_patients.load_clinical(tmp_path, "clinic_7")
    assert real.patient == "7" and real.slice_mm == pytest.approx(6) and len(real.lesion_points) == 1
    inside, white = real.lesions > 200, real.white > 200
    assert inside.any() and real.flair[inside].float().mean() > 1.2 * real.flair[white & ~inside].float().mean()
    view = ms_heads.draw_real(real, SIZE, RandomSource(0))
    assert view.is_scanned
    patch = ms_patches.make_patch(view, RandomSource(1))
    assert patch.x[0].any() and not patch.x[1:3].any()
    torch.testing.assert_close(patch.target, view.target)
