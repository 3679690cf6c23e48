"""Scans that brain extraction learns from: the brain is where they say, whatever surrounds it."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from training.core.random_source import RandomSource
from training.data import brain_heads, brain_patches
from training.data.brain_heads import (
    FAR_MM,
    STEP_MM,
    Head,
    close_mask,
    encode_distance,
    signed_distance,
    ventricle_push,
)
from training.data.brain_patches import TrainingPatch, simulate_coarse_answer
from training.data.brain_scans import FieldOfView, draw_field_of_view, simulate_head, widen_ventricles
from training.data.head_shells import (
    AIR,
    CORD,
    DURA,
    FLUID,
    HALF_BOX,
    TISSUES,
    VESSEL,
    draw_brightness,
    draw_tissues,
    render_tissues,
)
from training.methods.segment_brain_unet import extraction_loss

HALVES = np.array([40, 52, 38])


def head(step: int = 2, around: tuple[str, ...] = (), whole: bool = False) -> Head:
    """An ellipsoid of cortex round white matter round a ventricle."""
    shape = 2 * (HALVES + 20)
    mm = np.moveaxis(np.indices(shape // step) * step + (step - 1) / 2, 0, -1) - (shape - 1) / 2
    away = np.linalg.norm(mm / HALVES, axis=-1)
    tissue = np.select([away < 0.3, away < 0.8, away < 1], [3, 1, 2], 44 if whole else 0).astype(np.uint8)
    image = np.select([away < 0.3, away < 0.8, away < 1], [40, 200, 130], 60 if whole else 0).astype(np.uint8)
    brain = away < 1
    others = {who: torch.full((80, 100, 110), 90, dtype=torch.uint8) for who in around}
    inner = (ndimage.distance_transform_edt(brain) * step / STEP_MM).clip(0, 255).astype(np.uint8)
    arrays = (torch.from_numpy(a) for a in (image, tissue, encode_distance(signed_distance(brain) * step), inner))
    middle = torch.tensor((shape - 1) / 2, dtype=torch.float32)
    half = torch.tensor(HALVES, dtype=torch.float32)
    return Head(
        *arrays, torch.zeros(3, 20, 25, 20), others, step, whole, middle, half, middle - half * torch.tensor([0, 0, 1])
    )


def test_closing_fills_furrows_and_hollows_and_adds_nothing_else():
    box = np.zeros((50, 60, 50), bool)
    box[10:40, 10:50, 10:40] = True
    brain = box.copy()
    brain[24:27, 10:50, 30:40] = False  # a furrow of 3 mm
    brain[15:20, 15:20, 15:20] = False  # a hollow
    brain[28:40, 10:50, 20:30] = False  # too wide to be filled
    filled = close_mask(brain)
    assert filled[25, 30, 33] and filled[17, 17, 17] and not filled[36, 30, 25]
    assert (filled >= brain).all() and (filled <= box).all()
    assert np.array_equal(close_mask(box), box)


def test_the_distance_is_zero_at_the_faces():
    mask = np.zeros((5, 5, 9), bool)
    mask[:, :, :4] = True
    assert np.allclose(signed_distance(mask)[2, 2], np.arange(9) - 3.5)
    assert np.allclose(FAR_MM - encode_distance(signed_distance(mask)) * STEP_MM, signed_distance(mask), atol=STEP_MM)


def test_ventricles_are_pushed_wider():
    tissue = np.ones((64, 64, 64), np.uint8)
    tissue[24:40, 24:40, 24:40] = 3
    it = head()._replace(push=torch.from_numpy(ventricle_push(tissue)))
    places = [p.float() for p in torch.meshgrid(*(torch.arange(64.0),) * 3, indexing="ij")]
    there = widen_ventricles(it, places, 4.0)
    moved = there[0][:, 32, 32] - places[0][:, 32, 32]
    assert moved[44] < -1, "right of it tissue from further inside is seen"
    assert moved[20] > 1, "and left of it too"
    assert abs(float(moved[32])) < 1


@pytest.mark.parametrize("way", ["made up", "none", "average", "whole"])
def test_the_brain_is_where_the_scan_says(way):
    it = head(around=("average",), whole=way == "whole")
    for seed in range(6):
        rng = RandomSource(seed)
        image, far = simulate_head(
            it, draw_field_of_view(it, 2.0, rng, cut=0), rng, "" if way == "whole" else way, coarse=0.0
        )
        assert image.shape == far.shape and image.isfinite().all() and image.min() >= 0
        ml = float((far < 0).sum()) * 8 / 1000
        whole_ml = 4 / 3 * np.pi * HALVES.prod() / 1000
        assert 0.3 * whole_ml < ml < 2 * whole_ml
        if way == "none":
            assert image[far > 8].float().mean() < 0.35 * image[far < -2].float().mean()


def test_the_same_luck_makes_the_same_scan():
    it = head()
    view = FieldOfView((40, 50, 40), 2.0, it.middle)
    first, second = (simulate_head(it, view, RandomSource(5), "made up") for _ in range(2))
    assert torch.equal(first.image, second.image) and torch.equal(first.far, second.far)


def test_a_field_of_view_holds_the_brain_unless_it_is_cut():
    it = head()
    for seed in range(20):
        view = draw_field_of_view(it, 2.0, RandomSource(seed), cut=0)
        reach = torch.tensor(view.size) * view.spacing / 2
        assert (view.centre - reach <= it.middle - it.half + 1).all()
        assert (view.centre + reach >= it.middle + it.half - 1).all()
    cut = [draw_field_of_view(it, 2.0, RandomSource(seed), cut=1.0) for seed in range(20)]
    assert any((v.centre - torch.tensor(v.size) > it.middle - it.half + 2).any() for v in cut)


def test_a_made_up_head_has_fluid_round_the_brain_a_cord_below_it_and_air_around():
    axes = [torch.arange(-120, 120, 3.0), torch.arange(-130, 140, 3.0), torch.arange(-190, 110, 3.0)]
    places = torch.meshgrid(*axes, indexing="ij")
    away = sum((p / h) ** 2 for p, h in zip(places, HALF_BOX, strict=True)).sqrt()
    far = (away - 1) * float(HALF_BOX.min())
    for seed in range(4):
        tissue, outside = draw_tissues(places, far, (0.0, -20.0, -66.0), RandomSource(seed))
        assert tissue.shape == far.shape and int(tissue.max()) < len(TISSUES)
        shell = (far > 0) & (far < 0.4) & (places[2] > 0)
        assert torch.isin(tissue[shell], torch.tensor([FLUID, DURA, VESSEL])).float().mean() > 0.95
        assert (tissue[(places[2] > 90) & (far > 30)] == AIR).all()
        assert (tissue[outside > 25] == AIR).all()
        low = places[2] < -100
        assert 0.02 < float((tissue[low] != AIR).float().mean()) < 0.6, "a neck"
        assert (tissue[low] == CORD).any()


@pytest.mark.parametrize("kind", ["t1", "t2", "flair", "any"])
def test_tissues_are_as_bright_as_their_kind_of_image_has_them(kind):
    bright = torch.stack([draw_brightness(kind, RandomSource(seed)) for seed in range(40)]).mean(0)
    assert (bright >= 0).all()
    if kind != "any":
        assert bright[AIR] < 0.1 and (bright[FLUID] > 1) == (kind == "t2")
    tissue = torch.full((8, 8, 8), FLUID, dtype=torch.uint8)
    assert abs(float(render_tissues(tissue, bright, RandomSource(0)).mean() / bright[FLUID]) - 1) < 0.2


def test_what_the_coarse_network_might_say_is_about_right():
    far = (torch.arange(48.0) - 24)[:, None, None].expand(48, 48, 48).contiguous()
    off = torch.stack(
        [(simulate_coarse_answer(far, RandomSource(seed)) + far)[8:40].abs().mean() for seed in range(20)]
    )
    assert 0.3 < float(off.mean()) < 4 and float(off.max()) < 12


def test_the_loss_is_lowest_for_the_distance_itself():
    far = (torch.arange(32.0) - 16)[:, None, None].expand(32, 32, 32).contiguous()
    lesson = TrainingPatch(torch.zeros(1, 32, 32, 32), far, torch.ones(32, 32, 32, dtype=torch.bool))
    right = float(extraction_loss(-far / 3, lesson, 3.0))
    for wrong in (-far / 3 + 0.5, -far / 3 - 0.5, -far, torch.zeros_like(far)):
        assert float(extraction_loss(wrong, lesson, 3.0)) > right
    nothing = lesson._replace(known=far < 10)
    assert float(extraction_loss(torch.where(far < 10, -far / 3, 99.0), nothing, 3.0)) < right + 0.1


@pytest.mark.parametrize("part", ["coarse", "fine"])
def test_a_lesson_fits_the_network(part):
    it = head(step={"coarse": 2, "fine": 1}[part])
    lesson = getattr(brain_patches, f"draw_{part}_patch")(it, RandomSource(3))
    stride = brain_patches.NETWORK_STRIDES[part]
    assert lesson.x.shape[0] == {"coarse": 1, "fine": 2}[part] and lesson.x.shape[1:] == lesson.far.shape
    assert not any(n % stride for n in lesson.far.shape)
    assert lesson.x.isfinite().all() and (lesson.far < 0).any() and (lesson.far > 0).any()
    lessons = [lesson, *(getattr(brain_patches, f"draw_{part}_patch")(it, RandomSource(seed)) for seed in range(4, 10))]
    assert not all(each.known.all() for each in lessons), "some images end within what is shown"
    for each in lessons:
        assert (each.far[~each.known] == FAR_MM).all()
        assert each.known.all() or (each.x[-1][~each.known] == each.x[-1].min()).all()


def test_clusters_part_dark_from_bright():
    values = np.concatenate([np.full(500, 10.0), np.full(500, 100.0), np.full(500, 200.0)])
    low, high = brain_heads.kmeans_borders(values + np.random.default_rng(0).normal(0, 3, 1500), 3)
    assert 40 < low < 70 and 130 < high < 170
