"""Numerical precision of all trainings."""

import torch

from medapp.hardware import choose_half_precision


def autocast(device: torch.device | str, *, flat: bool = False) -> torch.autocast:
    """Return the autocast context of a training: bfloat16 on a graphics card, float32 on a CPU.

    In oneDNN 3.12, which torch 2.13 uses on CPUs, gradients of bfloat16 convolutions of volumes two voxels deep are
    uninitialised memory, now and then up to 1e33. The limit can go when the expected failure in
    `tests/training/core/test_precision.py` passes, on a CPU with avx512_bf16 and on one with AMX. `flat` networks, of
    slices alone, have the right gradients there: they compute in bfloat16 on a CPU that is fast at it.
    """
    kind = torch.device(device).type
    is_fast = kind != "cpu" or (flat and choose_half_precision(kind) == torch.bfloat16)
    return torch.autocast(kind, torch.bfloat16, enabled=is_fast)
