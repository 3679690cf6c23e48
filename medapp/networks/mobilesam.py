"""Segment Anything: Meta's networks, and MobileSAM, whose image encoder is a TinyViT of 6 million parameters.

Kirillov et al. 2023, arXiv:2304.02643; Zhang et al. 2023, arXiv:2306.14289; Wu et al. 2022, arXiv:2207.10666. The
encoder is timm's, the prompt encoder and mask decoder are segment-anything's own. Images: (3, 1024, 1024) at most.
"""

from typing import Any

import torch
from torch import Tensor, nn

from medapp.networks import torchvision_compat
from medapp.networks.blocks import fuse_batchnorm

INPUT_SIZE = 1024  # pixels a side of what the encoder sees
FEATURE_CHANNELS = 256
PIXEL_MEAN, PIXEL_STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


class TinyEncoder(nn.Module):
    """MobileSAM's image encoder: TinyViT without its classifier, and a neck of two convolutions."""

    img_size = INPUT_SIZE  # read by segment-anything

    def __init__(self) -> None:
        super().__init__()
        torchvision_compat.import_torchvision()
        import timm
        from segment_anything.modeling.common import LayerNorm2d

        whole = timm.create_model("tiny_vit_5m_224", pretrained=False)
        whole.stages[3].downsample.conv2.conv.stride = (1, 1)
        self.patch_embed, self.stages = whole.patch_embed, whole.stages
        self.neck = nn.Sequential(
            nn.Conv2d(320, FEATURE_CHANNELS, 1, bias=False),
            LayerNorm2d(FEATURE_CHANNELS),
            nn.Conv2d(FEATURE_CHANNELS, FEATURE_CHANNELS, 3, padding=1, bias=False),
            LayerNorm2d(FEATURE_CHANNELS),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, 1024, 1024) -> (B, 256, 64, 64)."""
        return self.neck(self.stages(self.patch_embed(x)))


def build_mobilesam() -> Any:
    """Build an untrained `segment_anything.modeling.Sam` with the small encoder, batch norms fused, in eval mode."""
    torchvision_compat.import_torchvision()
    from segment_anything.modeling import MaskDecoder, PromptEncoder, Sam, TwoWayTransformer

    encoder = fuse_batchnorm(TinyEncoder().eval()).to(memory_format=torch.channels_last)  # a tenth faster
    grid = (INPUT_SIZE // 16, INPUT_SIZE // 16)
    prompts = PromptEncoder(FEATURE_CHANNELS, grid, (INPUT_SIZE, INPUT_SIZE), mask_in_chans=16)
    transformer = TwoWayTransformer(depth=2, embedding_dim=FEATURE_CHANNELS, mlp_dim=2048, num_heads=8)
    decoder = MaskDecoder(transformer_dim=FEATURE_CHANNELS, transformer=transformer)
    return Sam(encoder, prompts, decoder, list(PIXEL_MEAN), list(PIXEL_STD)).eval()


def build_sam(size: str) -> Any:
    """Build an untrained `segment_anything.modeling.Sam` of Meta's in eval mode: "vit_b", "vit_l" or "vit_h"."""
    torchvision_compat.import_torchvision()
    from segment_anything import sam_model_registry

    return sam_model_registry[size]().eval()
