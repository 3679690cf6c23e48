"""Prompts are the paper's, wordings arrive where they should, and CLIP's space reaches ours or is refused."""

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from medapp.algorithms.region_prompts import REGIONS, SPOKEN, edited, phrases, prompts, structure
from medapp.algorithms.text_encoder import CONFIG, DIM, Encoder, bank, build_bridge, clip, encoder, features, tower
from medapp.errors import InputError, OptionError, WeightsError
from medapp.networks import _torchvision

WEIGHTS = Path(__file__).parents[2] / "weights"


@pytest.fixture(scope="module")
def ours() -> Encoder:
    net = tower()
    net.load_state_dict(load_file(WEIGHTS / "text_tower.safetensors"))
    return encoder(net.float())


def cosine(ours: Encoder, one: str, other: str) -> float:
    return float(F.cosine_similarity(*ours.encode([one, other]), dim=0))


def test_prompts_are_the_papers():
    said = prompts()
    assert len(said) == 35
    assert said[3] == "A magnetic resonance imaging of a left inf lat ventricle in human brain."
    assert said[10] == "A magnetic resonance imaging of a 3rd ventricle in human brain."
    assert said[34] == "A magnetic resonance imaging of a right choroid plexus in human brain."


def test_names_and_template_may_be_changed():
    names = edited("Left-Hippocampus = right hippocampus; 13 = brainstem\n right ventral dc=hypothalamus")
    assert names == {14: "right hippocampus", 13: "brainstem", 33: "hypothalamus"}
    said = prompts(names, "mri, {}")
    assert said[13] == "mri, right hippocampus" and said[0] == "mri, left cerebral white matter"
    assert edited("") == {}


@pytest.mark.parametrize("text", ["left hippocampus", "left knee = x", "36 = x"])
def test_what_cannot_be_edited_is_said(text):
    with pytest.raises(OptionError):
        edited(text)


@pytest.mark.parametrize(
    ("names", "template"), [({1: " "}, "{}"), ({1: "x" * 300}, "{}"), ({}, "mri"), ({40: "x"}, "{}")]
)
def test_prompts_refuse(names, template):
    with pytest.raises(OptionError):
        prompts(names, template)


def test_the_bank_names_the_sides_apart():
    for label in REGIONS:
        side, _ = structure(label)
        other = {"left": "right", "right": "left"}.get(side)
        assert len(phrases(label)) == len(set(phrases(label)))
        assert not other or not any(other in phrase for phrase in phrases(label))
    assert not set(phrases(14)) & set(phrases(30))


def test_the_weights_are_open_clips(tmp_path, monkeypatch):
    assert json.loads((WEIGHTS / "text_tower.json").read_text())["model_cfg"] == CONFIG
    (tmp_path / "open_clip_config.json").symlink_to(WEIGHTS / "text_tower.json")
    (tmp_path / "open_clip_model.safetensors").symlink_to(WEIGHTS / "text_tower.safetensors")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    _torchvision.ready()
    import open_clip

    by = encoder(open_clip.create_model(f"local-dir:{tmp_path}"))
    assert by.dim == DIM


def test_wordings_lie_close_and_sides_apart(ours):
    prompt = prompts()[13]
    assert cosine(ours, prompt, "T1 scan showing the hippocampal formation on the left") > 0.85
    assert cosine(ours, prompt, "hippocampus, L") > 0.85
    assert cosine(ours, prompt, "cornu ammonis sinister") > 0.85
    assert cosine(ours, prompt, prompts()[29]) < 0.3
    assert cosine(ours, prompt, "left amygdala") < 0.3
    assert 0.4 < cosine(ours, prompt, "hippocampus") < 0.9
    assert cosine(ours, prompt, "a photograph of a bicycle") < 0.5


def test_every_bank_sentence_is_nearest_to_its_region(ours):
    said, labels = bank(6, seed=5)
    near = F.normalize(ours.encode(said), dim=1) @ F.normalize(ours.encode(prompts()), dim=1).T
    assert (near.argmax(1) + 1 == labels).float().mean() > 0.98


def test_features_begin_with_a_background_at_right_angles(ours):
    text = features(ours)
    assert text.shape == (36, DIM) and torch.isfinite(text).all()
    assert (F.normalize(text[1:], dim=1) @ text[0]).abs().max() < 1e-4
    assert text[0].norm() == pytest.approx(1, abs=1e-4)


def test_a_bridge_from_a_turned_space_holds_and_crosses(ours):
    turn = torch.linalg.qr(torch.randn(DIM, DIM, generator=torch.Generator().manual_seed(0)))[0][:, :256]
    theirs = Encoder("another tower", 256, lambda said: ours.encode(said) @ turn + 3)
    bridge = build_bridge(theirs, ours, 30)
    assert bridge.good and bridge.residual < 0.2 and bridge.nearest > 0.95
    crossed, own = features(theirs, bridge=bridge), features(ours)
    assert F.cosine_similarity(crossed, own)[1:].min() > 0.95


def test_a_random_open_clip_model_is_measured(ours):
    _torchvision.ready()
    import open_clip

    torch.manual_seed(0)
    text = {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 4, "layers": 2}
    theirs = encoder(open_clip.CLIP(96, CONFIG["vision_cfg"], text), "a random tower")
    bridge = build_bridge(theirs, ours, 30)
    assert theirs.dim == 96 and 0 < bridge.residual < 1.5
    if not bridge.good:
        with pytest.raises(InputError, match="a random tower"):
            features(theirs, bridge=bridge)


def test_a_bridge_from_noise_is_refused(ours):
    def noise(said):
        return torch.stack([torch.randn(32, generator=torch.Generator().manual_seed(hash(s) % 2**31)) for s in said])

    theirs = Encoder("noise", 32, noise)
    bridge = build_bridge(theirs, ours, 10)
    assert not bridge.good
    with pytest.raises(InputError, match="noise cannot steer"):
        features(theirs, bridge=bridge)


def test_a_clip_that_is_not_there_is_said(monkeypatch):
    _torchvision.ready()
    import open_clip

    def absent(*args, **kwargs):
        raise OSError("no connection to https://…")

    monkeypatch.setattr(open_clip, "create_model", absent)
    with pytest.raises(WeightsError, match="ViT-L-14-336"):
        clip("vit")


def test_every_region_has_a_spoken_name():
    assert list(SPOKEN) == list(REGIONS) and SPOKEN[14] == "left hippocampus"
