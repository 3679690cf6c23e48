"""FLAIR abnormality of low-grade glioma, axial slice by axial slice, by AR2-UNet."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import torch

from medapp.algorithms.brain_pair import outline_brain, transform_header
from medapp.algorithms.head_orientation import (
    count_plausible_regions,
    has_head_layout,
    measure_region_volumes,
    parcellate_coarsely,
)
from medapp.algorithms.input_checks import require_overlap, require_scan
from medapp.algorithms.mni_template import align_regions
from medapp.algorithms.rigid_registration import find_head_centre, find_misplacement, measure_motion
from medapp.algorithms.scan_plausibility import MIN_BRAIN_ML, Doubts, doubt_scan, guess_contrast
from medapp.analysis.lesions import measure_lesions
from medapp.card import Card, Input, Weights
from medapp.errors import InputError, WeightsError
from medapp.imaging.background import zero_background
from medapp.imaging.geometry import crop_grid, pad_grid, reorient, resample, with_spacing
from medapp.imaging.intensity import standardize
from medapp.imaging.scan_kinds import FLAIR, T1, T1_CONTRAST
from medapp.imaging.volume import Grid, Volume
from medapp.networks.ar2unet import AR2UNet
from medapp.options import Slider
from medapp.pipelines.segment_anatomy_unet import ANATOMY_NETWORK as ANATOMY
from medapp.result import Result

PIXEL_MM = 1.25  # in the slice, as in training
SLICES_PER_BATCH = 8
SMALL_VOLUME_ML = 10.0  # below it the contrast is checked; larger lesions distort regions, and are found in T2 too
MIN_CLEAR_REGIONS = 20  # plausible regions from which T2 is recognised whatever was found
MIN_HEAD_SLICES = 12  # from which the regions of the head are checked
UNCHECKED_NOTE = "Whether this is a FLAIR scan was not checked: the weights of the brain regions are missing."
NO_HEAD_WARNING = "{}: the regions of the brain do not lie as in a head. Check that this is a FLAIR scan of a head."
FEW_SLICES_NOTE = f"Whether this is a FLAIR scan of a head was not checked: that takes {MIN_HEAD_SLICES} slices."
FLAIR_WEIGHT = 0.35  # of the prediction from FLAIR alone beside that from all sequences


def segment(
    net,
    t1: Volume | None,
    flair: Volume,
    t1ce: Volume | None,
    *,
    progress: Callable[[float, str], None],
    threshold: float,
    min_lesion_ml: float,
    get_network: Callable | None = None,
) -> Result:
    """Return the probability of abnormality on the grid of `flair`.

    `t1` and `t1ce` are resampled to it; `flair` takes their place where they are absent. `net` maps (B, 3, H, W)
    float32, channels pre-contrast T1, FLAIR, post-contrast T1, to logits (B, 1, H, W). Raises InputError for colour,
    CT, PET, an empty image, or sequences that do not overlap.
    """
    progress(0.0, "Preparing the scan")
    sequences = {"t1": t1, "flair": flair, "t1ce": t1ce}
    for volume in filter(None, sequences.values()):
        require_scan(volume)
        require_overlap(volume, flair)
    scans = {role: zero_background(volume) for role, volume in sequences.items() if volume}
    registered = {role: find_misplacement(scan, scans["flair"]) for role, scan in scans.items() if role != "flair"}
    motions = {role: motion for role, motion in registered.items() if motion is not None}
    scans |= {role: transform_header(scans[role], motion) for role, motion in motions.items()}
    grid, depth = make_working_grid(scans["flair"])
    slices_by_role = {role: standardize_slices(scan, grid, depth) for role, scan in scans.items()}
    x = np.stack([slices_by_role.get(role, slices_by_role["flair"]) for role in sequences], axis=1)  # (N, 3, H, W)

    logits = []
    batches = torch.from_numpy(x).split(SLICES_PER_BATCH)
    for number, batch in enumerate(batches):
        progress(0.05 + 0.85 * number / len(batches), f"Slice {number * SLICES_PER_BATCH + 1} of {len(x)}")
        batch_logits = predict_mirrored(net, batch)
        if len(slices_by_role) > 1:
            batch_logits = torch.lerp(batch_logits, predict_mirrored(net, batch[:, [1, 1, 1]]), FLAIR_WEIGHT)
        logits.append(batch_logits)

    progress(0.9, "Measuring")
    probability = np.moveaxis(torch.cat(logits).sigmoid().numpy(), (0, 1, 2), _slice_axes(depth))
    native = resample(Volume(probability, grid.affine), onto=flair.grid)
    image = flair.new_like(flair.array, name="FLAIR")
    volumes = {"image": image, "probability": image.new_like(native.array, name="probability", unit="")}
    others = {role: volume for role, volume in sequences.items() if volume and role != "flair"}
    volumes |= {role: transform_header(v, motions[role]) if role in motions else v for role, v in others.items()}
    result = Result(
        volumes, notes=describe_inputs(sequences, flair), warnings=describe_motions(others, motions, scans["flair"])
    )
    result = measure_lesions(result, threshold, min_lesion_ml)
    is_small = (result.metrics["volume"].value or 0) < SMALL_VOLUME_ML
    if get_network is None:
        return result
    if min(flair.shape) < MIN_HEAD_SLICES:
        return replace(result, notes=(*result.notes, FEW_SLICES_NOTE)) if is_small else result
    progress(0.95, "Checking that this is a FLAIR scan")
    try:
        anatomy = get_network("anatomy")
    except WeightsError:
        return replace(result, notes=(*result.notes, UNCHECKED_NOTE)) if is_small else result
    coarse, regions = parcellate_coarsely(anatomy, scans["flair"])
    result = replace(
        result,
        volumes={**result.volumes, "brain": outline_brain(regions, flair.grid)},
        to_template=align_regions(regions),
    )
    ml, in_head = measure_region_volumes(regions), has_head_layout(regions)
    is_t2 = count_plausible_regions(ml) >= MIN_CLEAR_REGIONS and guess_contrast(coarse.array, regions.array) == "T2"
    if not is_small and in_head and not is_t2:
        return result
    thick = in_head and float(ml.sum()) > MIN_BRAIN_ML  # regions, if implausible, are distorted by thick slices
    doubts = doubt_scan(replace(coarse, name=flair.name), regions, "FLAIR", cut=thick)
    if not doubts.question and not in_head:
        doubts = Doubts("Not a FLAIR scan of a whole head?", (NO_HEAD_WARNING.format(flair.name),))
    return replace(result, warnings=(*result.warnings, *doubts.warnings), doubt=doubts.question)


def describe_motions(others: dict[str, Volume], motions: dict[str, np.ndarray], flair: Volume) -> tuple[str, ...]:
    """Warn of the sequences that did not lie on the FLAIR."""
    warnings = []
    for role, transform in motions.items():
        degrees, mm = measure_motion(transform, find_head_centre(flair))
        warnings.append(
            f"{others[role].name}: by its header it lies {mm:.0f} mm and {degrees:.0f}° away from the FLAIR. It was "
            "registered to it; check that it fits, and that both are of one patient."
        )
    return tuple(warnings)


def predict_mirrored(net, batch: torch.Tensor) -> torch.Tensor:
    """Return logits (B, H, W) of (B, 3, H, W), averaged over each slice and its left-right mirror image."""
    return (net(batch) + net(batch.flip(-1)).flip(-1))[:, 0] / 2


def make_working_grid(flair: Volume) -> tuple[Grid, int]:
    """Return the grid that the network sees, (left, back, head) at PIXEL_MM in the slice, and its slice axis.

    It is cropped to the head. Slices are axial and keep their own distance, though not under 1 mm; a single slice of
    another plane is taken as it is. Raises InputError for an image that is constant.
    """
    upright = reorient(flair.grid, "LPS")
    depth = upright.shape.index(1) if 1 in upright.shape else 2
    spacing = [PIXEL_MM] * 3
    spacing[depth] = max(float(upright.spacing[depth]), 1.0)
    grid = with_spacing(upright, spacing)
    image = resample(flair, grid).array
    head = image > image.mean()
    if not head.any():
        raise InputError("The image is empty: every voxel has the same value.")
    lower, upper = [], []
    for axis in range(3):
        share = head.mean(axis=tuple(a for a in range(3) if a != axis))
        filled = np.flatnonzero(share > 0.02 * share.max())
        margin = 0 if axis == depth else 8
        lower.append(filled[0] - margin)
        upper.append(filled[-1] + 1 + margin)
    plane = tuple(a for a in range(3) if a != depth)
    return pad_grid(crop_grid(grid, np.array(lower), np.array(upper)), 16, plane), depth


def standardize_slices(volume: Volume, grid: Grid, depth: int) -> np.ndarray:
    """Resample to standardised slices (N, H, W) float32: rows run to the back, columns to the patient's left."""
    return np.ascontiguousarray(standardize(resample_slices(volume, grid, depth)))


def resample_slices(volume: Volume, grid: Grid, depth: int) -> np.ndarray:
    """Resample to slices in the volume's own units; outside of it is its minimum."""
    array = resample(volume, grid, outside=float(volume.array.min())).array
    return np.moveaxis(array, _slice_axes(depth), (0, 1, 2))


def _slice_axes(depth: int) -> tuple[int, int, int]:
    """Return the volume's axes in the order slice, row, column."""
    columns, rows = (a for a in range(3) if a != depth)
    return depth, rows, columns


def describe_inputs(sequences: dict[str, Volume | None], flair: Volume) -> tuple[str, ...]:
    """List what the user should know of these inputs before trusting the result."""
    notes = [remark for volume in sequences.values() if volume for remark in volume.remarks]
    missing = [title for role, title in (("t1", "pre-contrast"), ("t1ce", "post-contrast")) if sequences[role] is None]
    if missing:
        notes.append(f"No {' and no '.join(missing)} image: FLAIR was used instead, as in part of the training data.")
    upright = reorient(flair.grid, "LPS")
    thickest_axis = int(np.argmax(upright.spacing))
    if upright.spacing[thickest_axis] > 8:
        notes.append(
            f"Voxels are {upright.spacing[thickest_axis]:.1f} mm thick, more than in training: expect a coarse outline."
        )
    if thickest_axis != 2 and upright.spacing[thickest_axis] > 2.5 and 1 not in upright.shape:
        notes.append(
            "The slices are not axial: the method was trained on axial slices, and here gets interpolated ones."
        )
    extent = np.array(upright.shape[:2]) * upright.spacing[:2]
    if extent.max() < 120 or extent.min() > 400:
        notes.append(
            f"The field of view is {extent[0]:.0f} × {extent[1]:.0f} mm, unusual for a head: check "
            "the voxel size in the header."
        )
    return tuple(dict.fromkeys(notes))


build_network = partial(AR2UNet, in_channels=3, classes=1, width=16, gate="decoder")

CARD = Card(
    name="segment_glioma_ar2unet",
    task="segmentation",
    presenter="lesions",
    title="Glioma on FLAIR (AR2-UNet)",
    about="Segments the FLAIR abnormality of lower-grade glioma, from FLAIR alone or with T1 before and after "
    "contrast.",
    inputs=(
        Input(
            "t1",
            "Pre-contrast T1",
            "From the session of the FLAIR, on any grid.",
            optional=True,
            former=("pre",),
            kinds=(T1,),
            check=require_scan,
        ),
        Input(
            "flair",
            "FLAIR",
            "A brain MRI with or without the skull, preferably axial.",
            kinds=(FLAIR,),
            check=require_scan,
        ),
        Input(
            "t1ce",
            "Post-contrast T1",
            "From the session of the FLAIR, on any grid.",
            optional=True,
            former=("post",),
            kinds=(T1_CONTRAST,),
            check=require_scan,
        ),
    ),
    options=(
        Slider(
            "threshold",
            "Threshold",
            0.05,
            0.95,
            0.01,
            0.6,
            "Voxels of at least this probability count as lesion.",
            live=True,
        ),
        Slider(
            "min_lesion_ml",
            "Minimum lesion volume (ml)",
            0.0,
            5.0,
            0.05,
            1.0,
            "Smaller components are removed.",
            live=True,
            former=("smallest",),
        ),
    ),
    weights=Weights(
        "segment_glioma_ar2unet.safetensors",
        "medapp/segment_glioma_ar2unet",
        "v0.1.0",
        "43a500ce94ceb2da04dea227d0447c89d71c8dfbb04f1de0877a00cb9c562685",
    ),
    build=build_network,
    run=segment,
    networks={"anatomy": ANATOMY},
    licence="CC BY-NC-SA 4.0 (masks of the training data)",
    cite="Katsamenis et al. 2023, arXiv:2303.01582; Buda et al. 2019, doi:10.1016/j.compbiomed.2019.05.002",
    trained_on="65 patients of the TCGA-LGG FLAIR abnormality set (Buda 2019; Mazurowski 2017; Pedano 2016). The "
    "network is the released form of AR2-UNet, whose gate acts on the decoder's features.",
    scores="13 held-out patients: Dice 0.86 ± 0.09 (median 0.89) with three sequences, 0.86 ± 0.07 (median 0.88) with "
    "FLAIR alone. On slices without a lesion it adds 1.4 ml per patient (median 0) with three sequences, 0.5 ml "
    "(median 0) with FLAIR alone.",
    limits="Tends to over-segment, most in small lesions. Trained on one collection of adults before treatment, "
    "mostly axial slices: no other tumours, treated brains, children or other diseases that are bright on FLAIR.",
)
