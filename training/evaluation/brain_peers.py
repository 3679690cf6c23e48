"""Other tools for brain extraction, for `training.evaluation.evaluate --peers`."""

import time
from functools import cache
from importlib.util import find_spec
from typing import Any

import nibabel as nib
import numpy as np

from medapp.imaging.volume import Volume


def run_peers(head: Volume) -> dict[str, tuple[Volume, float]]:
    """Return by peer its mask on the grid of the head and the seconds it took; only of what is installed.

    deepbet (Fisch et al. 2024, doi:10.1016/j.compbiomed.2024.108845, MIT) takes the sulci's fluid for brain, as we do.
    """
    if not find_spec("deepbet"):
        return {}
    began = time.perf_counter()
    _, mask, _ = load_deepbet().run(nib.Nifti1Image(np.asarray(head.array, np.float32), head.affine))
    found = (np.asarray(mask.dataobj) > 0).astype(np.uint8)
    return {"deepbet": (head.new_like(found, labels={1: "brain"}, name="brain"), time.perf_counter() - began)}


@cache
def load_deepbet() -> Any:
    """Return deepbet's networks on the CPU."""
    from deepbet import BrainExtraction

    return BrainExtraction(no_gpu=True)
