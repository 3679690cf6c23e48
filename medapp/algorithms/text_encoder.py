"""From prompts to the embeddings that TextSCF takes, by a text tower of ours or by CLIP across a linear bridge.

Towers are open_clip's (Radford et al. 2021, arXiv:2103.00020). The network is trained on embeddings of ours; CLIP's
reach its space by ridge regression from sentences that both have read, and only if sentences kept aside arrive well.
"""

import random
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medapp.algorithms.region_prompts import PROMPT_TEMPLATES, REGION_NUMBERS, fill_template, list_phrases, make_prompts
from medapp.errors import InputError, WeightsError
from medapp.networks import torchvision_compat
from medapp.networks.textscf import make_background_embedding

EMBEDDING_DIM = 768  # of the embeddings: the width of CLIP ViT-L/14
TEXT_ENCODER_CONFIG: dict[str, Any] = {
    "embed_dim": EMBEDDING_DIM,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 32, "patch_size": 32},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 4, "layers": 4},
}
"""Our tower, in the words of open_clip; the picture tower is there for the form."""

CLIP_MODELS = {"vit": "ViT-L-14-336", "res": "RN50x64"}  # the paper's, in the words of open_clip
ENCODING_BATCH = 128  # sentences at a time
SENTENCES_PER_REGION = 160  # sentences of the bank from which a bridge is built
RIDGE_STRENGTHS = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)  # over the mean variance of a feature
MAX_RESIDUAL = 0.6  # on held-out sentences, above which a map is rejected
MIN_NEAREST_SHARE = 0.9  # of held-out sentences nearest to their own region, below which it is rejected


class TextEncoder(NamedTuple):
    """`encode` turns sentences into embeddings (N, dim) float32, not normalised."""

    name: str
    dim: int
    encode: Callable[[Sequence[str]], Tensor]


class EmbeddingMap(NamedTuple):
    """A linear way from one space of embeddings to another, and how well it holds for sentences kept aside.

    `residual` is the root mean square error over that of guessing the mean, `nearest` the share of sentences that
    arrive nearest to their own region's prompt.
    """

    matrix: Tensor  # (theirs, ours)
    centre: Tensor  # (theirs,)
    shift: Tensor  # (ours,)
    residual: float
    nearest: float

    def transform(self, x: Tensor) -> Tensor:
        return (x - self.centre) @ self.matrix + self.shift

    @property
    def is_reliable(self) -> bool:
        return self.residual <= MAX_RESIDUAL and self.nearest >= MIN_NEAREST_SHARE


def build_text_encoder() -> nn.Module:
    """Our text tower without its weights, an `open_clip.CLIP`."""
    torchvision_compat.import_torchvision()
    import open_clip  # here, for it is slow to import and prompts that were embedded before do without

    return open_clip.CLIP(**TEXT_ENCODER_CONFIG)


def make_encoder(net: nn.Module, name: str = "our text tower") -> TextEncoder:
    """An open_clip model with CLIP's own tokenizer as an encoder; nothing is fetched."""
    torchvision_compat.import_torchvision()
    from open_clip import SimpleTokenizer

    tokenizer = SimpleTokenizer(context_length=net.context_length)

    @torch.no_grad()
    def encode(sentences: Sequence[str]) -> Tensor:
        device = next(net.parameters()).device
        parts = [tokenizer(list(sentences[n : n + ENCODING_BATCH])) for n in range(0, len(sentences), ENCODING_BATCH)]
        return torch.cat([net.encode_text(part.to(device)).float() for part in parts])

    net.eval()
    return TextEncoder(name, encode(["brain"]).shape[1], encode)


def load_clip(kind: str) -> TextEncoder:
    """The paper's CLIP, "vit" (ViT-L/14 at 336 pixels) or "res" (RN50x64), from the Hugging Face cache or the Hub.

    Raises WeightsError if it cannot be had.
    """
    torchvision_compat.import_torchvision()
    import open_clip

    name = CLIP_MODELS[kind]
    try:
        net = open_clip.create_model(name, pretrained="openai")
    except Exception as error:  # of the Hub, of the connection, of the file: their texts may hold addresses
        raise WeightsError(
            f"CLIP {name} is not on this computer and could not be fetched from the Hub: check the connection and "
            "HF_HUB_OFFLINE, or use our own text tower, which is always there."
        ) from error
    net.visual = nn.Identity()  # pictures are not looked at
    return make_encoder(net, f"CLIP {name}")


def encode_prompts(by: TextEncoder, said: Sequence[str] | None = None, bridge: EmbeddingMap | None = None) -> Tensor:
    """The network's text (36, d): the background's vector, then the 35 prompts' embeddings, by default the paper's.

    Raises InputError for a bridge that does not hold.
    """
    text = by.encode(said or make_prompts())
    if bridge:
        if not bridge.is_reliable:
            raise InputError(
                f"{by.name} cannot steer these weights: sentences kept aside arrive in the network's space with an "
                f"error of {bridge.residual:.0%} (at most {MAX_RESIDUAL:.0%}), {bridge.nearest:.0%} of them nearest "
                f"to their own region (at least {MIN_NEAREST_SHARE:.0%}). Use our own text tower."
            )
        text = bridge.transform(text)
    return torch.cat([make_background_embedding(text)[None], text])


def make_sentence_bank(per_region: int = SENTENCES_PER_REGION, seed: int = 0) -> tuple[list[str], Tensor]:
    """Sentences about every region, in the prompts' and in other words, and the regions (N,) they are about."""
    dice = random.Random(seed)
    said = [
        (fill_template(name, template), label)
        for label in REGION_NUMBERS
        for name, template in zip(
            dice.choices(list_phrases(label), k=per_region), dice.choices(PROMPT_TEMPLATES, k=per_region), strict=True
        )
    ]
    said += list(zip(make_prompts(), REGION_NUMBERS, strict=True))
    return [s for s, _ in said], torch.tensor([label for _, label in said])


def fit_embedding_map(
    theirs: TextEncoder, ours: TextEncoder, per_region: int = SENTENCES_PER_REGION, seed: int = 0
) -> EmbeddingMap:
    """Ridge regression from one encoder's embeddings to another's over the bank.

    Of the bank's sentences a fifth is kept aside: half of it chooses the ridge, the other half judges.
    """
    said, labels = make_sentence_bank(per_region, seed)
    x, y = theirs.encode(said).double(), ours.encode(said).double()
    group = torch.randperm(len(said), generator=torch.Generator().manual_seed(seed)) % 10
    group[-len(REGION_NUMBERS) :] = 0  # the prompts themselves are always learned
    learn, choose, judge = group < 8, group == 8, group == 9
    centre, shift = x[learn].mean(0), y[learn].mean(0)
    a, b = x[learn] - centre, y[learn] - shift
    gram, cross = a.T @ a, a.T @ b
    scale = gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)

    def error(matrix: Tensor, rows: Tensor) -> float:
        missed = (x[rows] - centre) @ matrix + shift - y[rows]
        return float(missed.square().sum().sqrt() / (y[rows] - shift).square().sum().sqrt())

    matrix = min((torch.linalg.solve(gram + r * scale, cross) for r in RIDGE_STRENGTHS), key=lambda m: error(m, choose))
    exact = F.normalize(y[-len(REGION_NUMBERS) :], dim=1)
    arrived = F.normalize((x[judge] - centre) @ matrix + shift, dim=1) @ exact.T
    nearest = (arrived.argmax(1).cpu() + 1 == labels[judge]).float().mean()
    return EmbeddingMap(matrix.float(), centre.float(), shift.float(), error(matrix, judge), float(nearest))
