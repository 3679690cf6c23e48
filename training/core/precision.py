"""Precision: in how many bits a training computes, decided here for all of them."""

import torch


def autocast(device: torch.device | str) -> torch.autocast:
    """The context in which a training asks its network: bfloat16 on a graphics card, float32 on a CPU.

    In oneDNN 3.12, which torch 2.13 has for CPUs, gradients of bfloat16 convolutions of volumes two voxels deep are
    unset memory, now and then up to 1e33. It can be lifted for CPUs when `tests/training/core/test_precision.py` says
    that its expected failure passes, on a CPU with avx512_bf16 and on one with AMX.
    """
    kind = torch.device(device).type
    return torch.autocast(kind, torch.bfloat16, enabled=kind != "cpu")
