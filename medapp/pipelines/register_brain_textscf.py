"""Deformable registration of two brains in T1, steered region by region by words: TextSCF, then refinement."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from scipy import ndimage

from medapp.algorithms.brain_pair import Pair
from medapp.algorithms.field_inversion import invert_field
from medapp.algorithms.field_prediction import to_deformation
from medapp.algorithms.pair_preparation import (
    describe_inputs,
    doubt_pair,
    measure_correlation,
    prepare_brains,
    scale_progress,
)
from medapp.algorithms.region_prompts import PROMPT_TEMPLATE, SPOKEN_NAMES, fill_template, parse_names
from medapp.algorithms.text_conditioning import (
    CLIP_ENCODERS,
    OWN_ENCODER,
    PredictedField,
    compare_prompts,
    make_filters,
    predict_field,
)
from medapp.algorithms.text_encoder import EMBEDDING_DIM, build_text_encoder
from medapp.algorithms.uploaded_labels import LabelMap
from medapp.analysis import region_overlap
from medapp.analysis.landmarks import measure_landmarks, require_landmarks_inside
from medapp.card import Card, Network, Weights
from medapp.errors import InputError
from medapp.hardware import run_in_threads
from medapp.imaging.deformation import Deformation, folding_percent, sdlogj, sdlogj_learn2reg
from medapp.imaging.volume import Volume
from medapp.networks.textscf import TextSCF
from medapp.options import Choice, Landmarks, Text, Toggle
from medapp.pipelines.prepare_brain_pair import LABEL_MAP_GROUP, PAIR_INPUTS
from medapp.pipelines.segment_anatomy_unet import ANATOMY_NETWORK as ANATOMY
from medapp.result import Metric, Result, Table

INVERSE_MARGIN = 4  # voxels of 1 mm round the brain within which the inverse is sought


def register(
    _,
    fixed: Volume,
    moving: Volume,
    fixed_labels: Volume | None,
    moving_labels: Volume | None,
    *,
    get_network: Callable,
    progress: Callable[[float, str], None],
    refine: bool,
    prompts_a: str,
    prompt_template: str,
    prompts_b: str,
    encoder: str,
    landmarks: tuple[tuple[float, ...], ...],
) -> Result:
    """The displacement on the grid of `fixed`, then an affine, that take its points to those of `moving`.

    Regions come from the label maps where they are given, else from the parcellation network. Raises InputError for
    images in which no brain is found, for label maps that are not of a known numbering or do not lie on their image,
    and for a text encoder whose words these weights do not understand.
    """
    pairs, unfit = np.array(landmarks).reshape(-1, 6), ""
    if len(pairs):
        try:
            require_landmarks_inside(pairs, fixed.grid, moving.grid)
        except InputError as error:
            pairs, unfit = pairs[:0], str(error)
    net = get_network("textscf")
    words, said = make_filters(net, get_network, encoder, prompts_a, prompt_template)
    other = make_filters(net, get_network, encoder, prompts_b, prompt_template)[0] if prompts_b else None
    here, there, pair = prepare_brains(
        fixed,
        moving,
        fixed_labels,
        moving_labels,
        get_network=get_network,
        progress=partial(scale_progress, progress, 0.0, 0.58, ""),
        device=next(net.parameters()).device.type,
    )

    progress(0.58, "The network bends the moving brain")
    steered = [predict_field(net, pair, words, refine, partial(scale_progress, progress, 0.58, 0.78, ""))]
    if other is not None:
        steered.append(predict_field(net, pair, other, refine, partial(scale_progress, progress, 0.7, 0.78, "")))
    progress(0.78, "Looking for the way back")
    result = build_result(pair, steered[0], fixed, moving, here, there, progress=progress)
    if other is not None:
        result = compare_prompts(result, pair, steered[0], steered[1], moving)
    if len(pairs):
        result = measure_landmarks(result, pairs)
    settings = {
        "refine": refine,
        "prompts_a": prompts_a,
        "prompt_template": prompt_template,
        "prompts_b": prompts_b,
        "encoder": encoder,
    }
    settings["landmarks"] = f"{len(pairs)} pairs" if len(pairs) else ""
    doubts = doubt_pair(fixed, moving, pair, here, there)
    return replace(
        result,
        settings=settings,
        notes=tuple(dict.fromkeys((*filter(None, [unfit]), *said, *describe_inputs(fixed, moving, here, there)))),
        warnings=doubts.warnings,
        doubt=doubts.question,
    )


def build_result(
    pair: Pair,
    steered: PredictedField,
    fixed: Volume,
    moving: Volume,
    here: LabelMap,
    there: LabelMap,
    *,
    progress: Callable[[float, str], None],
) -> Result:
    """Everything that is told of a registration, drawn on the grid of `fixed` and measured on that of the pair."""
    inside = pair.fixed.array > 0
    near = torch.tensor(ndimage.binary_dilation(inside, iterations=INVERSE_MARGIN), device=steered.flow.device)
    back, miss = invert_field(steered.flow, near)
    field, inverted = to_deformation(steered.flow, pair.grid), to_deformation(back, pair.grid)
    miss = miss.cpu().numpy()[inside]  # voxels of 1 mm

    progress(0.84, "Drawing on the fixed image's grid")
    native, back_native = run_in_threads(partial(field.resample, fixed.grid), partial(inverted.resample, fixed.grid))
    still = Deformation.from_affine(np.eye(4), fixed.grid)
    drawn = dict(
        zip(
            ("aligned", "warped", "aligned_labels", "warped_labels"),
            run_in_threads(
                *(partial(by.warp, what, pair.affine) for what in (moving, there.own) for by in (still, native))
            ),
            strict=True,
        )
    )
    given = {"fixed": fixed, "moving": moving, "labels": here.own, "moving_labels": there.own}
    prepared = {"fixed_prepared": pair.fixed, "moving_prepared": pair.moving}
    volumes = {
        role: replace(volume, name=role.replace("_", " "), headers=volume.headers if role == "fixed" else ())
        for role, volume in (given | drawn | prepared).items()
    }

    progress(0.9, "Measuring")
    determinant = field.jacobian_determinant()
    (table, metrics), warped, bending = run_in_threads(
        partial(measure_overlap, pair, field, determinant, here, there),
        lambda: field.warp(pair.moving).array,
        partial(field.bending_energy, inside),
    )
    length = field.magnitude[inside]
    metrics |= {
        "ncc_before": Metric(measure_correlation(pair.moving.array, pair.fixed.array, inside)),
        "ncc": Metric(measure_correlation(warped, pair.fixed.array, inside)),
        "displacement_mean": Metric(round(float(length.mean()), 3), "mm"),
        "displacement_max": Metric(round(float(length.max()), 3), "mm"),
        "folding": Metric(round(folding_percent(determinant, inside), 5), "%"),
        "sdlogj": Metric(round(sdlogj(determinant, inside), 4)),
        "sdlogj_learn2reg": Metric(round(sdlogj_learn2reg(determinant), 4)),
        "bending_energy": Metric(float(f"{bending:.4g}"), "1/mm²"),
        "inverse_residual": Metric(round(float(miss.mean()), 4), "mm"),
        "inverse_residual_max": Metric(round(float(miss.max()), 3), "mm"),
    }
    return Result(volumes, native, back_native, pair.affine, metrics, {"regions": table})


def measure_overlap(
    pair: Pair, field: Deformation, determinant: np.ndarray, here: LabelMap, there: LabelMap
) -> tuple[Table, dict[str, Metric]]:
    """The table of the regions: in the uploaded maps' own numbers if both came in the same, else in the classes."""
    same = here.numbering == there.numbering
    mine, theirs = (here.own, there.own) if same else (here.classes, there.classes)
    still = Deformation.from_affine(np.eye(4), pair.grid)
    labels, before, after = run_in_threads(
        partial(still.warp, mine), partial(still.warp, theirs, pair.affine), partial(field.warp, theirs, pair.affine)
    )
    sources = {
        name: each.numbering if each.numbering == region_overlap.PREDICTED_SOURCE else f"uploaded, {each.numbering}"
        for name, each in (("fixed", here), ("moving", there))
    }
    return region_overlap.measure_overlap(labels, before.array, after.array, field, determinant, sources)


TEXTSCF_WEIGHTS = Weights(
    "register_brain_textscf.safetensors",
    "medapp/register_brain_textscf",
    "v0.1.0",
    "b025e0e65b4aec603597ef9167c4f1102be1552f50569f2c2c2224b120bdffc6",
)

CARD = Card(
    name="register_brain_textscf",
    task="registration",
    presenter="registration",
    preview="prepare_brain_pair",
    title="Brains in T1 (TextSCF)",
    about="Bends one brain onto another, every region as the words for it say, and refines that on the pair itself.",
    inputs=PAIR_INPUTS,
    options=(
        Toggle("refine", "Refine on the pair itself", True, "Local cross-correlation, coarse to fine."),
        Text(
            "prompts_a",
            "Other words for regions",
            about='For instance "left hippocampus = ammon\'s horn on the left; 13 = brainstem".',
            lines=2,
            check=parse_names,
            known={str(n): name for n, name in SPOKEN_NAMES.items()},
            former=("names",),
        ),
        Text(
            "prompt_template",
            "The sentence round them",
            PROMPT_TEMPLATE,
            "{} stands for the region.",
            check=partial(fill_template, "brain"),
            former=("template",),
        ),
        Text(
            "prompts_b",
            "Compare with these words (B)",
            about="Written as above; the same pair is registered with them too, and both fields are compared.",
            lines=2,
            check=parse_names,
            former=("against",),
        ),
        Choice(
            "encoder",
            "Who reads the words",
            (OWN_ENCODER, *CLIP_ENCODERS),
            OWN_ENCODER,
            "CLIP is fetched from the Hub at the first use.",
        ),
        Landmarks(
            "landmarks",
            "Landmarks",
            "Six numbers a line: x, y, z in the fixed image and in the moving one, RAS mm.",
        ),
    ),
    weights=TEXTSCF_WEIGHTS,
    build=None,
    run=register,
    licence="CC BY-NC 4.0 (the scans of the training data)",
    cite="Chen et al. 2023, arXiv:2311.15607; Jia et al. 2022, arXiv:2208.04939; Avants et al. 2008, "
    "doi:10.1016/j.media.2007.06.004",
    trained_on="18 T1 scans of 13 people of OASIS-1 without skull, labels by Neuromorphometrics (MICCAI 2012), in "
    "pairs of different people at 2 mm; the words for the regions varied.",
    scores="4 pairs of 4 people never seen, from raw files: Dice 0.64 over about 138 labels (greedy 0.62, affine "
    "0.40), 0.78 over 35 regions, nothing folds. The network alone reaches 0.54; refinement alone reaches what both do "
    "together.",
    limits="Adults, T1, one scanner, few people. A lesion, a tumour or a missing part has no partner in the other "
    "brain: what the field does there means nothing. Words move the network's field; refinement takes most of that "
    "back.",
    networks={
        "textscf": Network(TEXTSCF_WEIGHTS, partial(TextSCF, 8, EMBEDDING_DIM, 256, diffeomorphic=True)),
        "anatomy": ANATOMY,
        "text": Network(
            Weights(
                "text_tower.safetensors",
                "medapp/text_tower",
                "v0.1.0",
                "0ce36408d7479fc9b6d8fb5d0de039a8533347a0b1c0bc57bac0485b18be1dc4",
            ),
            build_text_encoder,
        ),
    },
    option_groups={
        **LABEL_MAP_GROUP,
        "Words: what the network is told of each region": ("prompts_a", "prompt_template", "prompts_b", "encoder"),
        "Landmarks, to measure the error": ("landmarks",),
    },
)
