"""Text encoder: from prompts to the embeddings that TextSCF takes, by our own encoder or by CLIP and a linear map.

The encoders are open_clip's (Radford et al. 2021, arXiv:2103.00020). The network is trained on embeddings of our own;
CLIP's are taken to their space by ridge regression on sentences that both have encoded, and only if held-out sentences
arrive well.
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
"""Our text encoder, configured as open_clip does; its image encoder is not used."""

CLIP_MODELS = {"vit": "ViT-L-14-336", "res": "RN50x64"}  # the paper's, by the names of open_clip
ENCODING_BATCH = 128  # sentences at a time
SENTENCES_PER_REGION = 160  # of the bank, from which an embedding map is fitted
RIDGE_STRENGTHS = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)  # relative to the mean variance of a feature
MAX_RESIDUAL = 0.6  # on held-out sentences, above which a map is rejected
MIN_NEAREST_SHARE = 0.9  # of held-out sentences nearest to their own region, below which it is rejected


class TextEncoder(NamedTuple):
    """`encode` turns sentences into embeddings (N, dim) float32, not normalised."""

    name: str
    dim: int
    encode: Callable[[Sequence[str]], Tensor]


class EmbeddingMap(NamedTuple):
    """A linear map from one embedding space to another, and how well it holds for held-out sentences.

    `residual` is the root mean square error over that of predicting the mean, `nearest` the share of sentences that
    arrive nearest to their own region's prompt.
    """

    matrix: Tensor  # (theirs, ours)
    centre: Tensor  # (theirs,)
    shift: Tensor  # (ours,)
    residual: float
    nearest: float

    def transform(self, x: Tensor) -> Tensor:
        """Map embeddings (N, theirs) to (N, ours)."""
        return (x - self.centre) @ self.matrix + self.shift

    @property
    def is_reliable(self) -> bool:
        """Whether the map holds well enough to be used."""
        return self.residual <= MAX_RESIDUAL and self.nearest >= MIN_NEAREST_SHARE


def build_text_encoder() -> nn.Module:
    """Build our text encoder without its weights, an `open_clip.CLIP`."""
    torchvision_compat.import_torchvision()
    import open_clip  # here, since it is slow to import and seldom needed

    return open_clip.CLIP(**TEXT_ENCODER_CONFIG)


def make_encoder(net: nn.Module, name: str = "medapp's own text encoder") -> TextEncoder:
    """Make an encoder of an open_clip model and CLIP's own tokenizer; nothing is downloaded."""
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
    """Load the paper's CLIP, "vit" (ViT-L/14 at 336 pixels) or "res" (RN50x64), from the Hugging Face cache or the Hub.

    Raises WeightsError if that fails.
    """
    torchvision_compat.import_torchvision()
    import open_clip

    name = CLIP_MODELS[kind]
    try:
        net = open_clip.create_model(name, pretrained="openai")
    except Exception as error:  # of the Hub, the connection or the file; its text may hold addresses
        raise WeightsError(
            f"CLIP {name} is not on this computer and could not be downloaded from the Hub: check the connection and "
            "HF_HUB_OFFLINE, or choose medapp's own text encoder, which needs no download."
        ) from error
    net.visual = nn.Identity()  # images are not encoded
    return make_encoder(net, f"CLIP {name}")


def encode_prompts(
    encoder: TextEncoder, prompts: Sequence[str] | None = None, embedding_map: EmbeddingMap | None = None
) -> Tensor:
    """Return the network's text (36, d): the background's vector, then the prompts' embeddings, by default the paper's.

    Raises InputError for a map that is not reliable.
    """
    text = encoder.encode(prompts or make_prompts())
    if embedding_map:
        if not embedding_map.is_reliable:
            raise InputError(
                f"{encoder.name} does not fit these weights: held-out sentences reach the network's space with an "
                f"error of {embedding_map.residual:.0%} (at most {MAX_RESIDUAL:.0%}), {embedding_map.nearest:.0%} of "
                f"them nearest to their own region ({MIN_NEAREST_SHARE:.0%} needed). Choose medapp's own text encoder."
            )
        text = embedding_map.transform(text)
    return torch.cat([make_background_embedding(text)[None], text])


def make_sentence_bank(per_region: int = SENTENCES_PER_REGION, seed: int = 0) -> tuple[list[str], Tensor]:
    """Return sentences about every region, its prompt and others at random, and the regions (N,) they are about."""
    generator = random.Random(seed)
    sentences = [
        (fill_template(name, template), label)
        for label in REGION_NUMBERS
        for name, template in zip(
            generator.choices(list_phrases(label), k=per_region),
            generator.choices(PROMPT_TEMPLATES, k=per_region),
            strict=True,
        )
    ]
    sentences += list(zip(make_prompts(), REGION_NUMBERS, strict=True))
    return [s for s, _ in sentences], torch.tensor([label for _, label in sentences])


def fit_embedding_map(
    theirs: TextEncoder, ours: TextEncoder, per_region: int = SENTENCES_PER_REGION, seed: int = 0
) -> EmbeddingMap:
    """Fit a ridge regression from one encoder's embeddings to another's on the sentence bank.

    A fifth of the sentences is held out: half of it chooses the ridge, the other half evaluates the map.
    """
    sentences, labels = make_sentence_bank(per_region, seed)
    x, y = theirs.encode(sentences).double(), ours.encode(sentences).double()
    group = torch.randperm(len(sentences), generator=torch.Generator().manual_seed(seed)) % 10
    group[-len(REGION_NUMBERS) :] = 0  # the prompts themselves are always fitted
    fit_rows, ridge_rows, test_rows = group < 8, group == 8, group == 9
    centre, shift = x[fit_rows].mean(0), y[fit_rows].mean(0)
    a, b = x[fit_rows] - centre, y[fit_rows] - shift
    gram, cross = a.T @ a, a.T @ b
    scale = gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)

    def error(matrix: Tensor, rows: Tensor) -> float:
        residual = (x[rows] - centre) @ matrix + shift - y[rows]
        return float(residual.square().sum().sqrt() / (y[rows] - shift).square().sum().sqrt())

    matrix = min(
        (torch.linalg.solve(gram + r * scale, cross) for r in RIDGE_STRENGTHS), key=lambda m: error(m, ridge_rows)
    )
    exact = F.normalize(y[-len(REGION_NUMBERS) :], dim=1)
    similarity = F.normalize((x[test_rows] - centre) @ matrix + shift, dim=1) @ exact.T
    nearest = (similarity.argmax(1).cpu() + 1 == labels[test_rows]).float().mean()
    return EmbeddingMap(matrix.float(), centre.float(), shift.float(), error(matrix, test_rows), float(nearest))
