"""Multiple sclerosis lesions on FLAIR, with T1 and T2 if available, and changes since an earlier scan, by RSANet."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from itertools import product

import numpy as np
import torch

from medapp.algorithms.brain_pair import outline_brain, transform_header
from medapp.algorithms.head_orientation import ORIENTATION_WARNING
from medapp.algorithms.input_checks import require_head
from medapp.algorithms.mni_template import align_regions
from medapp.algorithms.ms_input import (
    INPUT_CHANNELS,
    NETWORK_STRIDE,
    SEQUENCES,
    Anatomy,
    PreparedScans,
    find_anatomy,
    prepare_scans,
    stack_channels,
)
from medapp.algorithms.parcellation import REGION_NAMES, make_working_grid
from medapp.algorithms.rigid_registration import find_head_centre, measure_motion, register_rigid
from medapp.algorithms.scan_plausibility import Doubts, doubt_scan
from medapp.algorithms.slice_slabs import join_slices
from medapp.algorithms.sliding_window import find_tile_starts, make_blend_weights
from medapp.analysis.ms_lesions import (
    LOCATIONS,
    PLANE_AXES,
    label_zones,
    make_attention_table,
    measure_ms_lesions,
    project_on_axis,
)
from medapp.card import Card, Input, Weights
from medapp.hardware import run_in_threads
from medapp.imaging.background import zero_background
from medapp.imaging.geometry import resample, slice_axis
from medapp.imaging.scan_kinds import FLAIR, T1, T1_CONTRAST, T2
from medapp.imaging.volume import Grid, Volume
from medapp.networks.rsanet import RSANet
from medapp.options import Slider
from medapp.pipelines.segment_anatomy_unet import ANATOMY_NETWORK as ANATOMY
from medapp.pipelines.segment_brain_unet import BRAIN_NETWORK as BRAIN
from medapp.result import Result, Table

ATTENTION_PLANES = ("coronal", "axial", "sagittal")  # slices attend to each other along y, z and x of (X, Y, Z)
MAX_WHOLE_VOXELS = 12_000_000  # up to which a box is processed in one pass
WINDOW_SIDE = 160  # voxels, where a box is larger
WINDOW_OVERLAP = 32  # voxels
LESION_PROBABILITY = 0.5  # from which a voxel is not taken as cortex
MIN_PROBABILITY = 0.002  # smaller probabilities are set to 0
WIDTHS = (32, 64, 128, 256)  # half of the paper's
build_network = partial(
    RSANet, classes=1, in_channels=INPUT_CHANNELS, groups=None, widths=WIDTHS, block=2, dropout=0.05
)
EXPECTED_CONTRASTS = {"flair": "FLAIR", "t1": "T1", "t2": "T2", "baseline": "FLAIR"}
MIN_HEAD_SLICES = 12  # with fewer, the whole brain is not expected
THICK_VOXEL_MM = 6.0  # mm, coarser than the training data
NOTED_MOTION = (2.0, 3.0)  # degrees and mm above which a motion is noted
MIN_COVERAGE = 0.95  # share of the brain below which a scan is noted


def segment(
    net,
    flair: Volume,
    t1: Volume | None = None,
    t2: Volume | None = None,
    baseline: Volume | None = None,
    *,
    get_network: Callable,
    progress: Callable[[float, str], None],
    **settings,
) -> Result:
    """Return the probability of lesion on the grid of `flair`, the zones and the attention.

    The other scans lie on any grid. `net.forward_with_attention` maps (1, INPUT_CHANNELS, X, Y, Z) float32, sides
    multiples of NETWORK_STRIDE, to logits (1, 1, X, Y, Z) and three attention matrices (1, L, L), in the order of
    ATTENTION_PLANES. With a `baseline`, FLAIR alone is used at both times. `settings` are those of
    `ms_lesions.measure_ms_lesions`. Raises InputError for colour, CT, PET, an empty image or a few slices.
    """
    others = {role: v for role, v in (("t1", t1), ("t2", t2), ("baseline", baseline)) if v is not None}
    for volume in (flair, *others.values()):
        require_head(volume)
    cleaned = {role: zero_background(volume) for role, volume in {"flair": flair, **others}.items()}
    reference_scan = cleaned["flair"]
    grid = make_working_grid(reference_scan)
    progress(0.0, "Aligning the sequences")
    sessions = [role for role in others if role != "baseline"]
    motions = dict(
        zip(
            sessions,
            run_in_threads(*(partial(register_rigid, cleaned[role], reference_scan) for role in sessions)),
            strict=True,
        )
    )
    scans = {"flair": reference_scan} | {role: transform_header(cleaned[role], motions[role]) for role in sessions}
    progress(0.15, "Finding the brain")
    anatomy_scans = scans if baseline is None else {"flair": scans["flair"]}  # regions of what the network sees
    anatomy = find_anatomy(
        get_network("anatomy"),
        anatomy_scans,
        grid,
        lambda share, stage: progress(0.15 + 0.3 * share, "Finding the brain"),
        get_network("brain"),
    )
    if anatomy.rotation_text:
        cleaned, scans = ({r: _move_volume(v, anatomy.rotation) for r, v in some.items()} for some in (cleaned, scans))
        reference_scan, old_affine = scans["flair"], anatomy.rotation @ grid.affine
        grid = make_working_grid(reference_scan)
        regions, inside = (
            resample(Volume(a, old_affine, labels={1: "any"}), grid).array
            for a in (anatomy.regions, anatomy.inside.astype(np.uint8))
        )
        anatomy = anatomy._replace(regions=regions, inside=inside > 0)
    if baseline is not None:
        progress(0.45, "Aligning the earlier scan")
        brain_mask = Volume(anatomy.inside.astype(np.uint8), grid.affine, labels={1: "inside"})
        baseline_motion = register_rigid(cleaned["baseline"], reference_scan, brain_mask)
        scans["baseline"] = transform_header(cleaned["baseline"], baseline_motion)
        motions["baseline"] = np.linalg.inv(anatomy.rotation) @ baseline_motion @ anatomy.rotation

    view = prepare_scans(scans, anatomy, grid)
    images_by_role = view.images
    inputs_by_output = {"probability": {role: images_by_role[role] for role in SEQUENCES if role in images_by_role}}
    if baseline is not None:
        inputs_by_output = {
            "probability": {"flair": images_by_role["flair"]},
            "probability_baseline": {"flair": images_by_role["baseline"]},
        }
    volumes = {"image": flair.new_like(flair.array, name="FLAIR")}
    tables: dict[str, Table] = {}
    lesion = np.zeros(grid.shape, bool)
    for number, (role, images) in enumerate(inputs_by_output.items()):
        share = 0.4 / len(inputs_by_output)
        report_step = partial(_report_step, progress, 0.5 + number * share, share)
        probability, weights = predict_lesions(net, stack_channels(images, view.maps), report_step)
        probability = probability[tuple(map(slice, view.grid.shape))]
        lesion[view.box] |= probability >= LESION_PROBABILITY
        native = join_slices(Volume(probability, view.grid.affine), reference_scan.grid).array
        thresholded = np.where(native < MIN_PROBABILITY, np.float32(0), native)
        volumes[role] = flair.new_like(thresholded, name=role, unit="", remarks=())
        tables = tables or ({} if anatomy.rotation_text else tabulate_attention(weights, view.grid, flair.grid))

    progress(0.9, "Measuring")
    zone = resample(
        Volume(label_zones(anatomy.regions, grid.spacing, lesion), grid.affine, labels=LOCATIONS), reference_scan.grid
    )
    volumes["zones"] = flair.new_like(zone.array, labels=LOCATIONS, name="zones", unit="", remarks=(), headers=())
    to_template = None
    if anatomy.regions.any():
        regions = Volume(anatomy.regions, grid.affine, labels=REGION_NAMES)
        found = align_regions(regions)
        to_template = None if found is None else found @ anatomy.rotation
        volumes["brain"] = replace(outline_brain(regions, reference_scan.grid), affine=flair.affine)
    volumes |= {role: transform_header(volume, motions[role]) for role, volume in others.items()}
    input_notes = describe_inputs(
        flair, others, motions, scans, anatomy, grid, bool(tables) or bool(anatomy.rotation_text)
    )
    doubts = doubt_scans(view, anatomy, {"flair": flair, **others})
    result = Result(
        volumes,
        to_template=to_template,
        tables=tables,
        notes=input_notes,
        warnings=doubts.warnings,
        doubt=doubts.question,
    )
    return measure_ms_lesions(result, settings)


def doubt_scans(view: PreparedScans, anatomy: Anatomy, scans: Mapping[str, Volume]) -> Doubts:
    """Check by the regions whether each scan has the contrast that its role needs."""
    regions = Volume(anatomy.regions[view.box], view.grid.affine, labels=REGION_NAMES)
    warnings, questions = [], []
    if anatomy.rotation_text:
        warnings.append(ORIENTATION_WARNING.format(name=scans["flair"].name, how=anatomy.rotation_text))
    for role, array in view.images.items():
        scan = Volume(array, view.grid.affine, name=scans[role].name)
        doubts = doubt_scan(
            scan,
            regions,
            EXPECTED_CONTRASTS[role],
            cut=scans[role].shape[slice_axis(scans[role].grid)] < MIN_HEAD_SLICES,
        )
        warnings += doubts.warnings
        questions += [doubts.question] * bool(doubts.question)
        if not anatomy.regions.any():
            break
    return Doubts(questions[0] if questions else "", tuple(dict.fromkeys(warnings)))


def predict_lesions(net, x: np.ndarray, step: Callable[[float], None] = lambda share: None) -> tuple[np.ndarray, list]:
    """Return the probability (X, Y, Z) and attention matrices (L, L), in the order of ATTENTION_PLANES.

    `x` is (INPUT_CHANNELS, X, Y, Z). A box of more than MAX_WHOLE_VOXELS is seen in overlapping windows of WINDOW_SIDE;
    then there are no matrices.
    """
    shape = x.shape[1:]
    if np.prod(shape) <= MAX_WHOLE_VOXELS:
        step(0.0)
        logits, attention = net.forward_with_attention(torch.from_numpy(x)[None])
        return logits[0, 0].sigmoid().numpy(), [each[0].numpy() for each in attention]
    corners = list(product(*(find_tile_starts(n, WINDOW_SIDE, WINDOW_OVERLAP) for n in shape)))
    total, weight = torch.zeros(shape), torch.zeros(shape)
    for number, corner in enumerate(corners):
        step(number / len(corners))
        box = tuple(slice(a, a + WINDOW_SIDE) for a in corner)
        logits = net.forward_with_attention(torch.from_numpy(x[(slice(None), *box)])[None])[0][0, 0]
        i, j, k = (make_blend_weights(n, WINDOW_OVERLAP) for n in logits.shape)
        share = i[:, None, None] * j[:, None] * k
        total[box] += logits * share
        weight[box] += share
    return total.div_(weight).sigmoid().numpy(), []


def tabulate_attention(weights: list[np.ndarray], view: Grid, image: Grid) -> dict[str, Table]:
    """Make tables `attention_coronal`, `_axial` and `_sagittal`, with positions along the axes of `image`."""
    tables = {}
    for plane, each in zip(ATTENTION_PLANES, weights, strict=False):
        axis = PLANE_AXES[plane]
        index = np.tile((np.array(view.shape) - 1) / 2, (len(each), 1))
        index[:, axis] = NETWORK_STRIDE * np.arange(len(each)) + (NETWORK_STRIDE - 1) / 2
        tables[f"attention_{plane}"] = make_attention_table(
            each, [project_on_axis(image, axis, mm) for mm in view.to_mm(index)]
        )
    return tables


def describe_inputs(
    flair: Volume,
    others: Mapping[str, Volume],
    motions: Mapping[str, np.ndarray],
    scans: Mapping[str, Volume],
    anatomy: Anatomy,
    grid: Grid,
    attended: bool,
) -> tuple[str, ...]:
    """List what the user should know of these inputs before trusting the result."""
    notes = [*flair.remarks, *(remark for volume in others.values() for remark in volume.remarks)]
    if not anatomy.regions.any():
        notes.append("No brain was found: the whole head was segmented, and the locations of the lesions are unknown.")
    for role, volume in others.items():
        degrees, mm = measure_motion(motions[role], find_head_centre(flair))
        if degrees > NOTED_MOTION[0] or mm > NOTED_MOTION[1]:
            notes.append(
                f"{volume.name}: rotated by {degrees:.0f}° and shifted by {mm:.0f} mm onto the FLAIR: check "
                "that it fits."
            )
        share = measure_coverage(scans[role], anatomy.inside, grid)
        if share < MIN_COVERAGE:
            consequence = "; lesions in the rest count as new" if role == "baseline" else ""
            notes.append(f"{volume.name}: shows only {share:.0%} of what the FLAIR shows of the brain{consequence}.")
    if "baseline" in others and len(others) > 1:
        notes.append("Lesions were segmented on FLAIR alone at both times, so that the two are comparable.")
    for volume in (flair, *others.values()):
        if max(volume.spacing) > THICK_VOXEL_MM:
            notes.append(f"{volume.name}: voxels of {max(volume.spacing):.1f} mm; finer detail is interpolated.")
    if not attended:
        notes.append("The head is too large for one pass: it was processed in windows, and the attention is not shown.")
    return tuple(dict.fromkeys(notes))


def _move_volume(volume: Volume, by: np.ndarray) -> Volume:
    """Move a volume by (4, 4) in RAS+ mm."""
    return volume.new_like(volume.array, affine=by @ volume.affine)


def measure_coverage(volume: Volume, inside: np.ndarray, grid: Grid) -> float:
    """Return the share of the voxels `inside` (X, Y, Z) on `grid` that lie in the box of the volume."""
    points = np.argwhere(inside[::4, ::4, ::4]) * 4
    index = volume.grid.to_index(grid.to_mm(points))
    return float(((index > -1) & (index < volume.shape)).all(1).mean())


def _report_step(progress: Callable[[float, str], None], begin: float, length: float, share: float) -> None:
    progress(begin + length * share, "Segmenting lesions")


CARD = Card(
    name="segment_ms_rsanet",
    task="segmentation",
    presenter="ms_lesions",
    title="MS lesions on FLAIR (RSANet)",
    about="Segments multiple sclerosis lesions in 3-D and shows their locations and their change since an earlier "
    "scan; the attention of the network between slices is among the files.",
    inputs=(
        Input("flair", "FLAIR", "A brain MRI with or without the skull, on any grid.",
              kinds=(FLAIR,), check=require_head),
        Input("t1", "T1", "From the same session, on any grid; it is registered to the FLAIR.", optional=True,
              kinds=(T1, T1_CONTRAST), check=require_head),
        Input("t2", "T2", "From the same session, on any grid; it is registered to the FLAIR.", optional=True,
              kinds=(T2,), check=require_head),
        Input("baseline", "Earlier FLAIR", "A FLAIR of the same patient, on any grid, to find changes.", optional=True,
              kinds=(FLAIR,), check=require_head),
    ),
    options=(
        Slider("threshold", "Threshold", 0.05, 0.95, 0.01, 0.7,
               "Voxels of at least this probability count as lesion.", live=True),
        Slider("min_lesion_ml", "Minimum lesion volume (ml)", 0.0, 1.0, 0.005, 0.01,
               "Smaller components are removed; a sphere 3 mm in diameter has 0.014 ml.",
               live=True, former=("smallest",)),
    ),
    weights=Weights(
        "segment_ms_rsanet.safetensors",
        "medapp/segment_ms_rsanet",
        "v0.1.0",
        "12e3d7f4e976d5ad4c71d226cec9207c08d13305aec9eba71d98fa01602c4624",
    ),
    build=build_network,
    run=segment,
    networks={"anatomy": ANATOMY, "brain": BRAIN},
    option_groups={"Earlier scan (optional)": ("baseline",)},
    licence="CC BY-NC-SA 4.0 (masks of heads into which lesions were inserted; see NOTICE)",
    cite="Zhang et al. 2019, arXiv:2002.12470",
    trained_on="Two patients with FLAIR, T1 and consensus masks (Ljubljana, Lesjak 2018; MSLesSeg, Guarnera 2025), "
    "and synthetic lesions with the shapes of 28 people's, in 13 FLAIR scans of people with a glioma (TCGA-LGG) and "
    "in 18 T1 scans of OASIS-1 converted to FLAIR.",
    scores="Four held-out patients. With 25 to 30 ml of lesion (three scans): Dice 0.81, lesion-wise F1 0.70 on FLAIR "
    "alone; 0.82 and 0.72 with T1; 0.81 and 0.72 on FLAIR of 5 mm. With 1.3 ml in 37 small lesions: 0.36 and 0.36; "
    "0.42 and 0.41 with T1; 0.20 and 0.26 on 5 mm. Two people of a clinic, 1.5 T, slices of 6.5 and 7.2 mm: 0.50 and "
    "0.53. Four brains without lesion, synthetic FLAIR: 0.34 ml on average.",
    limits="Tested on four patients only. Where lesions are few and small, most of the smallest are missed, more of "
    "them in thick slices. Normal caps and rims of the ventricles are taken for lesions here and there. A very strong "
    "bias field hides lesions. Other diseases and age brighten white matter too. New and enlarging lesions follow from "
    "two segmentations: of 17 new lesions of one patient 5 were called new, and so were 13 others.",
)  # fmt: skip
