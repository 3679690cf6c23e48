"""Segment Anything's mask decoder for many points on one picture: the same masks at a fraction of the cost.

Kirillov et al. 2023, arXiv:2304.02643. Weights and results are those of segment-anything's `MaskDecoder`; the order of
the sums differs. In every attention between the 7 tokens and the 4096 positions of the picture, the projections move to
the tokens' side: 56 rows (8 heads × 7 tokens) replace 128 columns at every position. In the first layer the picture is
the same for all points. Masks are computed only where the predicted IoU, which needs no mask, suffices.
"""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class DecodedMasks(NamedTuple):
    """`scores` (B, 3) float32, predicted IoU of three masks a point; `kept` (B, 3) bool; `masks` (kept.sum(), h, w)."""

    scores: Tensor
    kept: Tensor
    masks: Tensor


@torch.inference_mode()
def decode_masks(
    net: Any, features: Tensor, points: Tensor, min_iou: float, dtype: torch.dtype = torch.float32
) -> DecodedMasks:
    """Decode masks, float32 logits at a quarter of the encoder's size, at `points` (B, 2), x and y in encoder pixels.

    `net` is a `segment_anything.modeling.Sam`, `features` (1, C, h, w) are its encoder's. Masks whose predicted IoU is
    not above `min_iou` are left out. The picture's side is computed in `dtype`.
    """
    decoder, prompts = net.mask_decoder, net.prompt_encoder
    sparse, _ = prompts((points[:, None], points.new_ones(len(points), 1, dtype=torch.int)), None, None)
    own = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])
    tokens = torch.cat([own.expand(len(points), -1, -1), sparse], 1)  # (B, T, C)
    height, width = features.shape[2:]
    places = (features[0].flatten(1).T + prompts.no_mask_embed.weight).to(dtype)[None].contiguous()  # (1, N, C)
    at = prompts.get_dense_pe()[0].flatten(1).T.to(dtype)[None].contiguous()

    queries, keys = tokens, places
    for layer in decoder.transformer.layers:
        q = queries if layer.skip_first_layer_pe else queries + tokens
        attended = layer.self_attn(q=q, k=q, v=queries)
        queries = layer.norm1(attended if layer.skip_first_layer_pe else queries + attended)
        positioned = keys + at
        queries = layer.norm2(
            queries + _attend_to_image(layer.cross_attn_token_to_image, queries + tokens, positioned, keys)
        )
        queries = layer.norm3(queries + layer.mlp(queries))
        rows, mix = _attend_to_tokens(layer.cross_attn_image_to_token, queries + tokens, queries, positioned)
        keys = torch.baddbmm(keys.expand(len(rows), -1, -1), mix.transpose(1, 2), rows)
        keys = _normalize(keys, layer.norm4)
    last = decoder.transformer.final_attn_token_to_image
    queries = queries + _attend_to_image(last, queries + tokens, keys + at, keys)
    queries = decoder.transformer.norm_final_attn(queries)

    scores = decoder.iou_prediction_head(queries[:, 0])[:, 1:].float()
    kept = scores > min_iou
    masks = features.new_empty((0, 4 * height, 4 * width), dtype=torch.float32)
    some = kept.any(1)
    if some.any():
        weights = [mlp(queries[some, number]) for number, mlp in enumerate(decoder.output_hypernetworks_mlps[1:], 2)]
        upscaled = _upscale_masks(decoder.output_upscaling, keys[some], torch.stack(weights, 1), height, width)
        masks = upscaled.float()[kept[some]]
    return DecodedMasks(scores, kept, masks)


def _split_heads(x: Tensor, attention: Any) -> Tensor:
    """(B, T, D) -> (B, heads, T, D / heads)."""
    return x.unflatten(-1, (attention.num_heads, -1)).transpose(1, 2)


def _attend_to_image(attention: Any, tokens: Tensor, positioned: Tensor, keys: Tensor) -> Tensor:
    """What `tokens` (B, T, C) take from the picture: `positioned` (B or 1, N, C) with positions, `keys` without."""
    count = attention.num_heads
    q = _split_heads(attention.q_proj(tokens), attention)  # (B, h, T, d)
    q = q * q.shape[-1] ** -0.5
    rows = (q @ attention.k_proj.weight.unflatten(0, (count, -1))).flatten(1, 2).to(positioned.dtype)  # (B, h T, C)
    if len(positioned) < len(rows):
        mix = (rows.flatten(0, 1) @ positioned[0].T).softmax(-1)
        attended = (mix @ keys[0]).unflatten(0, (len(rows), -1))
    else:
        mix = (rows @ positioned.transpose(1, 2)).softmax(-1)  # (B, h T, N); the bias of k is the same at all positions
        attended = mix @ keys
    attended = attended.to(tokens.dtype).unflatten(1, (count, -1))  # (B, h, T, C)
    values = attended @ attention.v_proj.weight.unflatten(0, (count, -1)).transpose(1, 2)
    values = values.transpose(1, 2).flatten(2) + attention.v_proj.bias
    return attention.out_proj(values)


def _attend_to_tokens(attention: Any, tokens: Tensor, values: Tensor, positioned: Tensor) -> tuple[Tensor, Tensor]:
    """What the picture takes from the tokens: rows (B, h T, C), and their weights at each position, (B, h T, N)."""
    count = attention.num_heads
    k = _split_heads(attention.k_proj(tokens), attention)  # (B, h, T, d)
    k = k * k.shape[-1] ** -0.5
    v = _split_heads(attention.v_proj(values), attention)
    toward = (k @ attention.q_proj.weight.unflatten(0, (count, -1))).flatten(1, 2).to(positioned.dtype)
    bias = (k @ attention.q_proj.bias.view(count, -1, 1)).flatten(1, 2).to(positioned.dtype)  # (B, h T, 1)
    if len(positioned) < len(toward):
        logits = (toward.flatten(0, 1) @ positioned[0].T).unflatten(0, (len(toward), -1)).add_(bias)
    else:
        logits = (toward @ positioned.transpose(1, 2)).add_(bias)
    mix = logits.unflatten(1, (count, -1)).softmax(2).flatten(1, 2)
    out = attention.out_proj.weight.T.unflatten(0, (count, -1))  # (h, d, C)
    rows = (v @ out + attention.out_proj.bias / count).flatten(1, 2)  # weights sum to the number of heads
    return rows.to(positioned.dtype), mix


def _normalize(x: Tensor, norm: Any) -> Tensor:
    """Layer norm over the last axis in the dtype of `x`."""
    return F.layer_norm(x, x.shape[-1:], norm.weight.to(x.dtype), norm.bias.to(x.dtype), norm.eps)


def _upscale_masks(up: Any, keys: Tensor, weights: Tensor, height: int, width: int) -> Tensor:
    """Masks (B, M, 4 h, 4 w) of keys (B, h w, C) by `weights` (B, M, D); `up` is the decoder's `output_upscaling`."""
    first, norm, _, second, _ = up  # both transposed convolutions have 2 × 2 kernels that do not overlap
    x = keys
    for conv in (first, second):
        kernel = conv.weight.permute(0, 2, 3, 1)  # (in, 2, 2, out)
        bias = conv.bias.repeat(4).to(x.dtype)
        x = torch.addmm(bias, x.flatten(0, -2), kernel.flatten(1).to(x.dtype)).view(-1, kernel.shape[-1])
        x = F.gelu(_normalize(x, norm) if conv is first else x)
    x = x.view(len(keys), -1, x.shape[-1]) @ weights.transpose(1, 2).to(x.dtype)  # (B, h w 4 4, M)
    x = x.view(len(keys), height, width, 2, 2, 2, 2, -1)
    return x.permute(0, 7, 1, 3, 5, 2, 4, 6).reshape(len(keys), -1, 4 * height, 4 * width)
