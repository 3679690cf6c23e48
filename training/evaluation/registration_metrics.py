"""Metrics of one registered pair: the served result, its ablations and the peers, by the true labels.

All are scored alike, on the fixed image's own grid, with the moving label map drawn once through displacement and
affine. The parts and the peers start from the pair as the served result prepared it, and from its affine.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch

from medapp.algorithms.brain_pair import Pair, transform_header
from medapp.algorithms.deformable_refinement import refine_field
from medapp.algorithms.field_prediction import predict_network_field, to_deformation
from medapp.analysis import mask_metrics
from medapp.imaging.brain_labels import translate_labels
from medapp.imaging.deformation import Deformation, folding_percent, sdlogj, sdlogj_learn2reg
from medapp.imaging.geometry import resample
from medapp.imaging.volume import Volume
from medapp.result import Result
from medapp.serving import runtime
from training.core.case import PREDICTED_REGIONS, Case
from training.evaluation import registration_peers

Row = dict[str, Any]

FIELD_METRICS = ("dice", "dice_regions", "hd95", "folding", "sdlogj", "sdlogj_learn2reg")
COST_METRICS = ("job_seconds", "seconds", "cpu_seconds", "memory_mb")


def score_case(case: Case, result: Result, settings: Mapping[str, Any], peers: tuple[str, ...]) -> list[Row]:
    """Return a row for ours and, where no labels were uploaded, for its ablations, the affine alone, and the `peers`.

    `job_seconds` is the whole job from the raw images, `seconds` and `cpu_seconds` are the deformable part alone;
    `memory_mb` is ours for the whole job, a peer's for its own process.
    """
    if result.deformation is None or result.affine is None or result.provenance is None:
        raise ValueError("not a registration that was run")
    fixed, moving_truth = case.volumes[0], case.moving_truth
    if fixed is None or moving_truth is None:
        raise ValueError("not a pair with labels of both images")
    origin, grid = result.provenance, result.deformation.grid
    fields: dict[str, tuple[Deformation, Row]] = {"ours": (result.deformation, {})}
    if case.condition == PREDICTED_REGIONS:
        pair = prepared_pair(result)
        for name, flow, cost in run_ablations(pair, settings["refine"]):
            deformation = to_deformation(flow, pair.grid).resample(grid)
            fields[name] = result.deformation if name == "ours" else deformation, cost
        for name in registration_peers.choose_peers(peers):
            field, spent = registration_peers.run_peer(
                name, np.asarray(pair.fixed.array), np.asarray(pair.moving.array)
            )
            fields[name] = to_deformation(torch.from_numpy(field), pair.grid).resample(grid), spent._asdict()
    fields["ours"][1].update(job_seconds=round(origin.seconds, 2), memory_mb=origin.peak_memory_mb)
    return [
        {"patient": case.patient, "group": name, "condition": case.condition}
        | score_field(deformation, result.affine, fixed, case.truth, moving_truth)
        | {figure: cost.get(figure) for figure in COST_METRICS}
        for name, (deformation, cost) in fields.items()
    ]


def prepared_pair(result: Result) -> Pair:
    """Return the pair as the served pipeline prepared it, from its result; its regions must be in the 36 classes."""
    fixed, moving = (result.volumes[f"{role}_prepared"] for role in ("fixed", "moving"))
    fixed_labels = result.volumes["labels"]
    moving_labels = transform_header(result.volumes["moving_labels"], result.affine)
    return Pair(fixed, moving, resample(fixed_labels, fixed.grid), resample(moving_labels, fixed.grid), result.affine)


def run_ablations(pair: Pair, refined: bool) -> Iterator[tuple[str, torch.Tensor, Row]]:
    """Yield name, displacement (3, D, H, W) in voxels and seconds of "ours" and of ours without a part."""
    card = runtime.find_card("register_brain_textscf")
    net = runtime.load_network(card, runtime.select_device(None), {}, "textscf")
    device = next(net.parameters()).device
    moving, fixed, moving_regions, fixed_regions = (
        torch.tensor(np.array(volume.array), device=device)
        for volume in (pair.moving, pair.fixed, pair.moving_regions, pair.fixed_regions)
    )
    both = moving_regions, fixed_regions
    predict_start = partial(predict_network_field, net, moving, fixed, fixed_regions, net.make_filters())
    variants: dict[str, Callable[[], torch.Tensor]] = {
        "ours": (lambda: refine_field(moving, fixed, predict_start(), regions=both)) if refined else predict_start,
        "affine": lambda: torch.zeros(3, *fixed.shape),
        "network": predict_start,
        "refinement": lambda: refine_field(moving, fixed),
        "refinement, regions": lambda: refine_field(moving, fixed, regions=both),
        "network, refinement": lambda: refine_field(moving, fixed, predict_start()),
    }
    for name, compute in variants.items():
        wall, cpu = time.perf_counter(), time.process_time()
        flow = compute().cpu()
        seconds, cpu_seconds = time.perf_counter() - wall, time.process_time() - cpu
        yield name, flow, {"seconds": round(seconds, 2), "cpu_seconds": round(cpu_seconds, 2)}


def score_field(field: Deformation, affine: np.ndarray, fixed: Volume, truth: Volume, moving_truth: Volume) -> Row:
    """Return Dice of all labels and of the 36 classes, HD95 in mm, folding in % and SDlogJ in the brain.

    `field` lies on the grid of `fixed`, whose brain is where it is not black; the label maps keep the data set's
    numbers.
    """
    warped = field.warp(moving_truth, affine).array
    regions = translate_labels(truth.array)
    moved = field.warp(moving_truth.new_like(translate_labels(moving_truth.array)), affine).array
    far = [mask_metrics.compute_hd95(moved == n, regions == n, truth.grid) for n in np.unique(regions[regions > 0])]
    determinant, inside = field.jacobian_determinant(), np.asarray(fixed.array) > 0
    return {
        "dice": round(float(np.mean(label_dice(warped, truth.array))), 4),
        "dice_regions": round(float(np.mean(label_dice(moved, regions))), 4),
        "hd95": round(float(np.mean([value for value in far if value is not None])), 3),
        "folding": round(folding_percent(determinant, inside), 5),
        "sdlogj": round(sdlogj(determinant, inside), 4),
        "sdlogj_learn2reg": round(sdlogj_learn2reg(determinant), 4),
    }


def label_dice(warped: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return Dice (L,) of every label above 0 of the truth; both (I, J, K) of whole numbers."""
    warped, truth = (np.asarray(labels).astype(np.int64).ravel() for labels in (warped, truth))
    size = 1 + max(int(warped.max()), int(truth.max()))
    count, other, both = (np.bincount(a, minlength=size) for a in (truth, warped, truth[truth == warped]))
    present = np.flatnonzero(count[1:]) + 1
    return 2 * both[present] / (count + other)[present]
