"""Prompts are the paper's, wordings arrive where they should, and CLIP's space reaches ours or is refused."""

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from medapp.algorithms.region_prompts import (
    REGION_NUMBERS,
    SPOKEN_NAMES,
    list_phrases,
    make_prompts,
    parse_names,
    split_side,
)
from medapp.algorithms.text_encoder import (
    EMBEDDING_DIM,
    TEXT_ENCODER_CONFIG,
    TextEncoder,
    build_text_encoder,
    encode_prompts,
    fit_embedding_map,
    load_clip,
    make_encoder,
    make_sentence_bank,
)
from medapp.errors import InputError, OptionError, WeightsError
from medapp.networks import torchvision_compat

WEIGHTS = Path(__file__).parents[2] / "weights"


@pytest.fixture(scope="module")
def ours() -> TextEncoder:
    net = build_text_encoder()
    net.load_state_dict(load_file(WEIGHTS / "text_tower.safetensors"))
    return make_encoder(net.float())


def cosine(ours: TextEncoder, one: str, other: str) -> float:
    return float(F.cosine_similarity(*ours.encode([one, other]), dim=0))


def test_prompts_are_the_papers():
    said = make_prompts()
    assert len(said) == 35
    assert said[3] == "A magnetic resonance imaging of a left inf lat ventricle in human brain."
    assert said[10] == "A magnetic resonance imaging of a 3rd ventricle in human brain."
    assert said[34] == "A magnetic resonance imaging of a right choroid plexus in human brain."


def test_names_and_template_may_be_changed():
    names = parse_names("Left-Hippocampus = right hippocampus; 13 = brainstem\n right ventral dc=hypothalamus")
    assert names == {14: "right hippocampus", 13: "brainstem", 33: "hypothalamus"}
    said = make_prompts(names, "mri, {}")
    assert said[13] == "mri, right hippocampus" and said[0] == "mri, left cerebral white matter"
    assert parse_names("") == {}


@pytest.mark.parametrize("text", ["left hippocampus", "left knee = x", "36 = x"])
def test_what_cannot_be_edited_is_said(text):
    with pytest.raises(OptionError):
        parse_names(text)


@pytest.mark.parametrize(
    ("names", "template"), [({1: " "}, "{}"), ({1: "x" * 300}, "{}"), ({}, "mri"), ({40: "x"}, "{}")]
)
def test_prompts_refuse(names, template):
    with pytest.raises(OptionError):
        make_prompts(names, template)


def test_the_bank_names_the_sides_apart():
    for label in REGION_NUMBERS:
        side, _ = split_side(label)
        other = {"left": "right", "right": "left"}.get(side)
        assert len(list_phrases(label)) == len(set(list_phrases(label)))
        assert not other or not any(other in phrase for phrase in list_phrases(label))
    assert not set(list_phrases(14)) & set(list_phrases(30))


def test_the_weights_are_open_clips(tmp_path, monkeypatch):
    assert json.loads((WEIGHTS / "text_tower.json").read_text())["model_cfg"] == TEXT_ENCODER_CONFIG
    (tmp_path / "open_clip_config.json").symlink_to(WEIGHTS / "text_tower.json")
    (tmp_path / "open_clip_model.safetensors").symlink_to(WEIGHTS / "text_tower.safetensors")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    torchvision_compat.import_torchvision()
    import open_clip

    by = make_encoder(open_clip.create_model(f"local-dir:{tmp_path}"))
    assert by.dim == EMBEDDING_DIM


def test_wordings_lie_close_and_sides_apart(ours):
    prompt = make_prompts()[13]
    assert cosine(ours, prompt, "T1 scan showing the hippocampal formation on the left") > 0.85
    assert cosine(ours, prompt, "hippocampus, L") > 0.85
    assert cosine(ours, prompt, "cornu ammonis sinister") > 0.85
    assert cosine(ours, prompt, make_prompts()[29]) < 0.3
    assert cosine(ours, prompt, "left amygdala") < 0.3
    assert 0.4 < cosine(ours, prompt, "hippocampus") < 0.9
    assert cosine(ours, prompt, "a photograph of a bicycle") < 0.5


def test_every_bank_sentence_is_nearest_to_its_region(ours):
    said, labels = make_sentence_bank(6, seed=5)
    near = F.normalize(ours.encode(said), dim=1) @ F.normalize(ours.encode(make_prompts()), dim=1).T
    assert (near.argmax(1) + 1 == labels).float().mean() > 0.98


def test_features_begin_with_a_background_at_right_angles(ours):
    text = encode_prompts(ours)
    assert text.shape == (36, EMBEDDING_DIM) and torch.isfinite(text).all()
    assert (F.normalize(text[1:], dim=1) @ text[0]).abs().max() < 1e-4
    assert text[0].norm() == pytest.approx(1, abs=1e-4)


def test_a_bridge_from_a_turned_space_holds_and_crosses(ours):
    turn = torch.linalg.qr(torch.randn(EMBEDDING_DIM, EMBEDDING_DIM, generator=torch.Generator().manual_seed(0)))[0][
        :, :256
    ]
    theirs = TextEncoder("another tower", 256, lambda said: ours.encode(said) @ turn + 3)
    bridge = fit_embedding_map(theirs, ours, 30)
    assert bridge.is_reliable and bridge.residual < 0.2 and bridge.nearest > 0.95
    crossed, own = encode_prompts(theirs, embedding_map=bridge), encode_prompts(ours)
    assert F.cosine_similarity(crossed, own)[1:].min() > 0.95


def test_a_random_open_clip_model_is_measured(ours):
    torchvision_compat.import_torchvision()
    import open_clip

    torch.manual_seed(0)
    text = {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 4, "layers": 2}
    theirs = make_encoder(open_clip.CLIP(96, TEXT_ENCODER_CONFIG["vision_cfg"], text), "a random tower")
    bridge = fit_embedding_map(theirs, ours, 30)
    assert theirs.dim == 96 and 0 < bridge.residual < 1.5
    if not bridge.is_reliable:
        with pytest.raises(InputError, match="a random tower"):
            encode_prompts(theirs, embedding_map=bridge)


def test_a_bridge_from_noise_is_refused(ours):
    def noise(said):
        return torch.stack([torch.randn(32, generator=torch.Generator().manual_seed(hash(s) % 2**31)) for s in said])

    theirs = TextEncoder("noise", 32, noise)
    bridge = fit_embedding_map(theirs, ours, 10)
    assert not bridge.is_reliable
    with pytest.raises(InputError, match="noise does not fit"):
        encode_prompts(theirs, embedding_map=bridge)


def test_a_clip_that_is_not_there_is_said(monkeypatch):
    torchvision_compat.import_torchvision()
    import open_clip

    def absent(*args, **kwargs):
        raise OSError("no connection to https://…")

    monkeypatch.setattr(open_clip, "create_model", absent)
    with pytest.raises(WeightsError, match="ViT-L-14-336"):
        load_clip("vit")


def test_every_region_has_a_spoken_name():
    assert list(SPOKEN_NAMES) == list(REGION_NUMBERS) and SPOKEN_NAMES[14] == "left hippocampus"
