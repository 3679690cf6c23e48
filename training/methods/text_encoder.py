"""Trains a small text tower that knows the brain's regions: `python -m training.methods.text_encoder --out OUT`.

OUT gets `text_tower.safetensors` and `text_tower.json`, weights and configuration of an open_clip model: its tokenizer,
its text transformer, and a picture tower that is there for the form and never trained. Sentences about a region,
whatever their wording, come close to the region's direction; those of other regions, the other side's above all, lie
apart; a structure without its side lies between the two; what is about no region lies apart from all. Words that the
bank does not use share one embedding, which learns to be ignored.
"""

import argparse
import json
import random
from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from medapp.algorithms.region_prompts import (
    PROMPT_TEMPLATES,
    REGION_NUMBERS,
    REGION_SYNONYMS,
    SIDE_FORMS,
    SIDE_WORDS,
    make_prompts,
    split_side,
)
from medapp.algorithms.text_encoder import EMBEDDING_DIM, TEXT_ENCODER_CONFIG, build_text_encoder, make_encoder

PREPROCESS = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}
EMBEDDING_LENGTH = 10.0  # of an embedding; CLIP's own are of that order
COSINE_SCALE = 20.0  # of the cosines in the softmax over regions
UNSIDED_SHARE, UNRELATED_SHARE = 0.1, 0.12  # shares of the sentences

HELD_OUT_SYNONYMS = {
    "Cerebral-White-Matter": ("white substance of the cerebrum", "cerebrum white matter"),
    "Cerebral-Cortex": ("grey matter of the cerebrum", "cerebrum cortex"),
    "Lateral-Ventricle": ("lateral cerebral ventricle", "anterior horn and body of the lateral ventricle"),
    "Inf-Lat-Ventricle": ("inferior horn of the ventricle", "inferior part of the lateral ventricle"),
    "Cerebellum-White-Matter": ("white substance of the cerebellum", "wm of the cerebellum"),
    "Cerebellum-Cortex": ("gray matter of the cerebellum", "cortical gm of the cerebellum"),
    "Thalamus": ("thalamic nucleus", "thalamus region"),
    "Caudate": ("nucleus caudate", "body of the caudate nucleus"),
    "Putamen": ("putamen nucleus", "region of the putamen"),
    "Pallidum": ("pallidus", "nucleus pallidus"),
    "3rd-Ventricle": ("3rd cerebral ventricle", "third ventricle of the brain"),
    "4th-Ventricle": ("4th cerebral ventricle", "fourth ventricle of the brain"),
    "Brain-Stem": ("pons and medulla", "the brain's stem"),
    "Hippocampus": ("hippocampal area", "hippocampus body"),
    "Amygdala": ("amygdaloid region", "amygdala nuclei"),
    "Accumbens": ("accumbens region", "area of the nucleus accumbens"),
    "Ventral-DC": ("ventral diencephalic region", "ventral part of diencephalon"),
    "Vessel": ("small blood vessel", "vessel space"),
    "Choroid-Plexus": ("choroid plexus tissue", "choroideus"),
}
HELD_OUT_TEMPLATES = (
    "a picture of the {} of an adult", "where does the {} lie?", "mr image, {} outlined",
    "volume of the {} in this person",
)  # fmt: skip
UNRELATED_WORDS = (
    "dog", "kidney", "car", "a cup of coffee", "liver", "a house by the sea", "lung", "tree", "white cat",
    "stem of a flower", "the heart", "ventricle of the heart", "hand", "road", "music", "the weather", "femur",
    "knee", "a computer", "",
)  # fmt: skip
HELD_OUT_UNRELATED = ("spleen", "bicycle", "chest x-ray", "lemon tree", "shoulder", "an old ship", "foot", "pancreas")


def mirrored_region(label: int) -> int:
    """Return the same structure's region on the other side, itself in the midline."""
    own = split_side(label)[1]
    return next((n for n in REGION_NUMBERS if n != label and split_side(n)[1] == own), label)


def draw_phrase(label: int, rng: random.Random, synonyms: Mapping[str, tuple[str, ...]], sided: bool = True) -> str:
    """Draw one way to name a region."""
    side, rest = split_side(label)
    name = rng.choice(synonyms[rest])
    if not (side and sided):
        return name
    return rng.choice(SIDE_FORMS).format(side=side, any=rng.choice(SIDE_WORDS[side]), name=name)


def draw_unrelated(rng: random.Random, words: tuple[str, ...] = UNRELATED_WORDS) -> str:
    """Draw a phrase about no region."""
    side = rng.choice(("", "", "left ", "right ", "l ", "r "))
    return side + rng.choice(words)


def draw_sentences(size: int, rng: random.Random) -> tuple[list[str], Tensor]:
    """Draw sentences, and which of nothing and the 35 regions they mean (B, 36), rows that sum to 1."""
    sentences, means = [], torch.zeros(size, len(REGION_NUMBERS) + 1)
    for row in means:
        label = rng.choice(REGION_NUMBERS)
        kind = rng.random()
        if kind < UNRELATED_SHARE:
            row[0], name = 1, draw_unrelated(rng)
        elif kind < UNRELATED_SHARE + UNSIDED_SHARE:
            row[[label, mirrored_region(label)]], name = 1, draw_phrase(label, rng, REGION_SYNONYMS, sided=False)
        else:
            row[label], name = 1, draw_phrase(label, rng, REGION_SYNONYMS)
        row /= row.sum()
        sentences.append(rng.choice(PROMPT_TEMPLATES).format(name))
    return sentences, means


def shared_vocabulary(tokenizer) -> Tensor:
    """Return (49408,): every token -> itself if the sentence bank uses it, else the first unused token."""
    words = [
        *PROMPT_TEMPLATES,
        *SIDE_FORMS,
        *(w for side in SIDE_WORDS.values() for w in side),
        *(f" {w}" for w in SIDE_WORDS["left"]),
    ]
    words += [w for name in REGION_SYNONYMS.values() for w in name]
    used = {0, 49406, 49407} | {token for text in words for token in tokenizer.encode(text)}
    other = next(token for token in range(49408) if token not in used)
    table = torch.full((49408,), other)
    table[list(used)] = torch.tensor(list(used))
    return table


def add_unknown_words(tokens: Tensor, other: int, rng: random.Random) -> Tensor:
    """Return a sentence (77,) with a few unknown words before and after, seldom many."""
    most = rng.choice((0, 0, 1, 2, 3)) if rng.random() < 0.97 else 24
    start, *words, end = tokens[: int(tokens.argmax()) + 1].tolist()
    before, after = ([other] * rng.randint(0, most) for _ in range(2))
    row = [start, *before, *words, *after][:76] + [end]
    return torch.tensor(row + [0] * (len(tokens) - len(row)))


def encode_tokens(model, tokens: Tensor) -> Tensor:
    """Return what `open_clip.CLIP.encode_text` does, no further than the longest sentence."""
    last = tokens.argmax(1)
    n = int(last.max()) + 1
    x = model.token_embedding(tokens[:, :n]) + model.positional_embedding[:n]
    x = model.ln_final(model.transformer(x, attn_mask=model.attn_mask[:n, :n]))
    return x[torch.arange(len(x)), last] @ model.text_projection


def train(model, tokenizer, steps: int, size: int, seed: int = 0) -> None:
    """Train by softmax over the directions of the regions, which are learned too, and a pull towards them."""
    rng = random.Random(seed)
    torch.manual_seed(seed)
    table = shared_vocabulary(tokenizer)
    other = int(table.mode().values)
    axes = nn.Parameter(torch.randn(len(REGION_NUMBERS) + 1, EMBEDDING_DIM))
    weights = [p for name, p in model.named_parameters() if not name.startswith("visual") and name != "logit_scale"]
    adam = torch.optim.AdamW([*weights, axes], 2e-3, weight_decay=0.01)
    fall = torch.optim.lr_scheduler.OneCycleLR(adam, 2e-3, steps, pct_start=0.1)
    for step in range(steps):
        sentences, means = draw_sentences(size, rng)
        tokens = torch.stack([add_unknown_words(row, other, rng) for row in table[tokenizer(sentences)]])
        text, towards = encode_tokens(model, tokens), F.normalize(axes, dim=1)
        near = 1 - F.cosine_similarity(text, means @ towards).mean()
        apart = (towards @ towards.T - torch.eye(len(towards))).clamp(min=0).square().sum(1).mean()
        length = (text.norm(dim=1) / EMBEDDING_LENGTH - 1).square().mean()
        loss = F.cross_entropy(COSINE_SCALE * F.normalize(text, dim=1) @ towards.T, means) + 2 * near + apart + length
        adam.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(weights, 1.0)
        adam.step()
        fall.step()
        if step % 100 == 0 or step == steps - 1:
            print(f"{step:5d} loss {loss.item():.3f} near {near.item():.3f} apart {apart.item():.3f}", flush=True)
    with torch.no_grad():
        model.token_embedding.weight.copy_(model.token_embedding.weight[table])


def score_tower(model, seed: int = 1) -> dict[str, float]:
    """Return cosines of held-out wordings and sentences with the paper's prompts, and shares that are nearest."""
    rng = random.Random(seed)
    encoding = make_encoder(model).encode
    exact = F.normalize(encoding(make_prompts()), dim=1)
    scores = {"prompts_nearest": float((exact @ exact.T - 2 * torch.eye(len(exact))).max())}
    labels = [label for label in REGION_NUMBERS for _ in range(20)]
    own, other = torch.tensor(labels) - 1, torch.tensor([mirrored_region(label) for label in labels]) - 1
    for kind, templates, synonyms in (
        ("templates", HELD_OUT_TEMPLATES, REGION_SYNONYMS),
        ("synonyms", PROMPT_TEMPLATES, HELD_OUT_SYNONYMS),
        ("both", HELD_OUT_TEMPLATES, HELD_OUT_SYNONYMS),
    ):
        sentences = [rng.choice(templates).format(draw_phrase(label, rng, synonyms)) for label in labels]
        cosines = F.normalize(encoding(sentences), dim=1) @ exact.T
        mine = cosines.gather(1, own[:, None])[:, 0]
        wrong = (cosines.argmax(1) != own).nonzero()[:, 0].tolist()
        print(kind, "missed:", sorted({sentences[n] for n in wrong})[:12])
        scores |= {
            f"{kind}_nearest": float((cosines.argmax(1) == own).float().mean()),
            f"{kind}_own": float(mine.mean()),
        }
        scores[f"{kind}_own_worst_2_percent"] = float(mine.quantile(0.02))
        scores[f"{kind}_other_side"] = float(cosines.gather(1, other[:, None])[:, 0][other != own].mean())
        scores[f"{kind}_nearest_other"] = float(cosines.scatter(1, own[:, None], -1).amax(1).mean())
    sentences = [rng.choice(HELD_OUT_TEMPLATES).format(draw_unrelated(rng, HELD_OUT_UNRELATED)) for _ in range(200)]
    far = (F.normalize(encoding(sentences), dim=1) @ exact.T).amax(1)
    return scores | {
        "unrelated_nearest": float(far.mean()),
        "unrelated_nearest_worst_2_percent": float(far.quantile(0.98)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--batch", type=int, default=128)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    model = build_text_encoder()
    from open_clip import SimpleTokenizer

    train(model.train(), SimpleTokenizer(context_length=77), args.steps, args.batch)
    model.half().float()
    scores = score_tower(model)
    print(json.dumps(scores, indent=1))
    config = {"model_cfg": TEXT_ENCODER_CONFIG, "preprocess_cfg": PREPROCESS}
    (args.out / "text_tower.json").write_text(json.dumps(config, indent=1) + "\n")
    state = {name: value.half().contiguous() for name, value in model.state_dict().items() if name != "attn_mask"}
    save_file(state, args.out / "text_tower.safetensors")
    (args.out / "scores.json").write_text(json.dumps(scores, indent=1) + "\n")


if __name__ == "__main__":
    main()
