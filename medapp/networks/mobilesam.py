"""Segment Anything: Meta's networks, and MobileSAM, whose image encoder is a TinyViT of 6 million parameters.

Kirillov et al. 2023, arXiv:2304.02643; Zhang et al. 2023, arXiv:2306.14289; Wu et al. 2022, arXiv:2207.10666. The
encoder is timm's, the prompt encoder and mask decoder are segment-anything's own. Images: (3, 1024, 1024) at most.
"""

from typing import Any

import torch
from torch import Tensor, nn

from medapp.networks import _torchvision
from medapp.networks.blocks import fold

SIZE = 1024  # pixels a side of what the encoder sees
FEATURES = 256
PIXEL_MEAN, PIXEL_STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


class TinyEncoder(nn.Module):
    """(B, 3, 1024, 1024) -> (B, 256, 64, 64)."""

    img_size = SIZE  # read by segment-anything

    def __init__(self) -> None:
        super().__init__()
        _torchvision.ready()
        import timm
        from segment_anything.modeling.common import LayerNorm2d

        whole = timm.create_model("tiny_vit_5m_224", pretrained=False)
        whole.stages[3].downsample.conv2.conv.stride = (1, 1)
        self.patch_embed, self.stages = whole.patch_embed, whole.stages
        self.neck = nn.Sequential(
            nn.Conv2d(320, FEATURES, 1, bias=False),
            LayerNorm2d(FEATURES),
            nn.Conv2d(FEATURES, FEATURES, 3, padding=1, bias=False),
            LayerNorm2d(FEATURES),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.neck(self.stages(self.patch_embed(x)))


def mobilesam() -> Any:
    """A bare `segment_anything.modeling.Sam` with the small encoder; its convolutions hold their batch norms."""
    _torchvision.ready()
    from segment_anything.modeling import MaskDecoder, PromptEncoder, Sam, TwoWayTransformer

    encoder = fold(TinyEncoder().eval()).to(memory_format=torch.channels_last)  # a tenth faster
    grid = (SIZE // 16, SIZE // 16)
    prompts = PromptEncoder(FEATURES, grid, (SIZE, SIZE), mask_in_chans=16)
    transformer = TwoWayTransformer(depth=2, embedding_dim=FEATURES, mlp_dim=2048, num_heads=8)
    decoder = MaskDecoder(transformer_dim=FEATURES, transformer=transformer)
    return Sam(encoder, prompts, decoder, list(PIXEL_MEAN), list(PIXEL_STD)).eval()


def sam(size: str) -> Any:
    """A bare `segment_anything.modeling.Sam` of Meta's: "vit_b", "vit_l" or "vit_h"."""
    _torchvision.ready()
    from segment_anything import sam_model_registry

    return sam_model_registry[size]().eval()


@torch.inference_mode()
def embedding(net: Any, picture: Tensor) -> Tensor:
    """Image features (B, 256, 64, 64) of pictures (B, 3, H, W) from 0 to 255, at most 1024 pixels a side."""
    return net.image_encoder(torch.stack([net.preprocess(each) for each in picture.float()]))
