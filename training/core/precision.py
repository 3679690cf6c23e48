"""Numerical precision of all trainings."""

import torch


def autocast(device: torch.device | str) -> torch.autocast:
    """Return the autocast context of a training: bfloat16 on a graphics card, float32 on a CPU.

    In oneDNN 3.12, which torch 2.13 uses on CPUs, gradients of bfloat16 convolutions of volumes two voxels deep are
    uninitialised memory, now and then up to 1e33. The limit can go when the expected failure in
    `tests/training/core/test_precision.py` passes, on a CPU with avx512_bf16 and on one with AMX.
    """
    kind = torch.device(device).type
    return torch.autocast(kind, torch.bfloat16, enabled=kind != "cpu")
