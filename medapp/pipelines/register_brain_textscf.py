"""Deformable registration of two T1 brains, conditioned on text prompts for each region (TextSCF), then refined."""

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
from medapp.algorithms.pair_steering import (
    MATCH_NOTE,
    RIGID_NOTE,
    find_stretch,
    follow_field,
    make_steering,
    mark_ignored,
    use_rigid_affine,
)
from medapp.algorithms.region_prompts import PROMPT_TEMPLATE, SPOKEN_NAMES, fill_template, parse_names
from medapp.algorithms.text_conditioning import (
    CLIP_ENCODERS,
    OWN_ENCODER,
    PredictedField,
    compare_prompts,
    make_filters,
    predict_field,
    tabulate_similarity,
)
from medapp.algorithms.text_encoder import EMBEDDING_DIM, build_text_encoder
from medapp.algorithms.uploaded_labels import LabelMap
from medapp.algorithms.wishes import check_wishes, explain_wishes, read_wishes, require_clear
from medapp.analysis import region_overlap
from medapp.analysis.landmarks import measure_landmarks, require_landmarks_inside
from medapp.card import Card, Network, Weights
from medapp.errors import InputError
from medapp.hardware import run_in_threads
from medapp.imaging.deformation import Deformation, folding_percent, sdlogj, sdlogj_learn2reg
from medapp.imaging.geometry import resample
from medapp.imaging.volume import Volume
from medapp.networks.textscf import TextSCF
from medapp.options import Choice, Landmarks, Text, Toggle
from medapp.pipelines.prepare_brain_pair import PAIR_GROUPS, PAIR_INPUTS
from medapp.pipelines.segment_anatomy_unet import ANATOMY_NETWORK as ANATOMY
from medapp.pipelines.segment_brain_unet import BRAIN_NETWORK as BRAIN
from medapp.result import Metric, Result, Table

INVERSE_MARGIN = 4  # voxels of 1 mm around the brain within which the field is inverted


def register(
    _,
    fixed: Volume,
    moving: Volume,
    fixed_labels: Volume | None,
    moving_labels: Volume | None,
    fixed_lesion: Volume | None = None,
    moving_lesion: Volume | None = None,
    *,
    get_network: Callable,
    progress: Callable[[float, str], None],
    refine: bool,
    what_matters: str,
    prompts_a: str,
    prompt_template: str,
    prompts_b: str,
    encoder: str,
    landmarks: tuple[tuple[float, ...], ...],
) -> Result:
    """Return the displacement on the grid of `fixed`, and then an affine, that map its points to those of `moving`.

    Regions come from the label maps where they are given, else from the parcellation network. Raises InputError for
    images in which no brain is found, for label maps and masks that do not fit their image, and for a text encoder that
    does not fit these weights; OptionError for a word in `what_matters` that means nothing here.
    """
    pairs, landmark_note = np.array(landmarks).reshape(-1, 6), ""
    if len(pairs):
        try:
            require_landmarks_inside(pairs, fixed.grid, moving.grid)
        except InputError as error:
            pairs, landmark_note = pairs[:0], str(error)
    reading = require_clear(
        read_wishes(what_matters, get_network), fixed_lesion is not None or moving_lesion is not None
    )
    net = get_network("textscf")
    prompts = {
        name: make_filters(net, get_network, encoder, words, prompt_template)
        for name, words in (("A", prompts_a), ("B", prompts_b))
        if words or name == "A"
    }
    fixed_map, moving_map, pair = prepare_brains(
        fixed,
        moving,
        fixed_labels,
        moving_labels,
        fixed_lesion,
        moving_lesion,
        get_network=get_network,
        progress=partial(scale_progress, progress, 0.0, 0.58, ""),
        device=next(net.parameters()).device.type,
    )

    progress(0.58, "Predicting the deformation")
    steering = make_steering(pair, reading, net.text.device)
    fields = [
        predict_field(net, pair, each.filters, refine, partial(scale_progress, progress, low, 0.78, ""), steering)
        for low, each in zip((0.58, 0.7), prompts.values(), strict=False)
    ]
    ignored = mark_ignored(steering, fields[0].flow, pair.grid)
    if steering.hold is not None:
        stretch = find_stretch(pair)
        fields = [replace(field, flow=follow_field(field.flow, stretch)) for field in fields]
        pair = use_rigid_affine(pair, moving, moving_map.classes)
    progress(0.78, "Inverting the deformation")
    result = build_result(pair, fields[0], fixed, moving, fixed_map, moving_map, progress=progress)
    if len(fields) > 1:
        result = compare_prompts(result, pair, fields[0], fields[1], moving)
    if len(pairs):
        result = measure_landmarks(result, pairs)
    if ignored is not None:
        result = replace(result, volumes={**result.volumes, "ignored": resample(ignored, fixed.grid)})
    tables = {"words": reading.table if reading.wishes else None, "similarity": tabulate_similarity(prompts)}
    result = replace(result, tables={**result.tables, **{name: table for name, table in tables.items() if table}})
    settings = {
        "refine": refine,
        "what_matters": what_matters,
        "prompts_a": prompts_a,
        "prompt_template": prompt_template,
        "prompts_b": prompts_b,
        "encoder": encoder,
    }
    settings["landmarks"] = f"{len(pairs)} pair{'s' * (len(pairs) != 1)}" if len(pairs) else ""
    notes = (
        landmark_note,
        RIGID_NOTE if steering.hold else "",
        MATCH_NOTE if steering.matched and not refine else "",
        *prompts["A"].notes,
        *describe_inputs(fixed, moving, pair, fixed_map, moving_map),
    )
    doubts = doubt_pair(fixed, moving, pair, fixed_map, moving_map)
    return replace(
        result,
        settings=settings,
        notes=tuple(dict.fromkeys(filter(None, notes))),
        warnings=doubts.warnings,
        doubt=doubts.question,
    )


def build_result(
    pair: Pair,
    predicted: PredictedField,
    fixed: Volume,
    moving: Volume,
    fixed_map: LabelMap,
    moving_map: LabelMap,
    *,
    progress: Callable[[float, str], None],
) -> Result:
    """Resample everything to the grid of `fixed`, and measure the registration on the grid of the pair."""
    inside = pair.fixed.array > 0
    region_of_interest = torch.tensor(
        ndimage.binary_dilation(inside, iterations=INVERSE_MARGIN), device=predicted.flow.device
    )
    inverse_flow, error = invert_field(predicted.flow, region_of_interest)
    field, inverse_field = to_deformation(predicted.flow, pair.grid), to_deformation(inverse_flow, pair.grid)
    error = error.cpu().numpy()[inside]  # voxels of 1 mm

    progress(0.84, "Resampling to the fixed grid")
    native, inverse_native = run_in_threads(
        partial(field.resample, fixed.grid), partial(inverse_field.resample, fixed.grid)
    )
    identity = Deformation.from_affine(np.eye(4), fixed.grid)
    resampled = dict(
        zip(
            ("aligned", "warped", "aligned_labels", "warped_labels"),
            run_in_threads(
                *(partial(by.warp, what, pair.affine) for what in (moving, moving_map.own) for by in (identity, native))
            ),
            strict=True,
        )
    )
    inputs = {"fixed": fixed, "moving": moving, "labels": fixed_map.own, "moving_labels": moving_map.own}
    prepared = {"fixed_prepared": pair.fixed, "moving_prepared": pair.moving}
    volumes = {
        role: replace(volume, name=role.replace("_", " "), headers=volume.headers if role == "fixed" else ())
        for role, volume in (inputs | resampled | prepared).items()
    }

    progress(0.9, "Measuring")
    determinant = field.jacobian_determinant()
    (table, metrics), warped, bending = run_in_threads(
        partial(measure_overlap, pair, field, determinant, fixed_map, moving_map),
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
        "inverse_residual": Metric(round(float(error.mean()), 4), "mm"),
        "inverse_residual_max": Metric(round(float(error.max()), 3), "mm"),
    }
    return Result(volumes, native, inverse_native, pair.affine, metrics, {"regions": table})


def measure_overlap(
    pair: Pair, field: Deformation, determinant: np.ndarray, fixed_map: LabelMap, moving_map: LabelMap
) -> tuple[Table, dict[str, Metric]]:
    """Tabulate the regions, in the uploaded maps' own numbers if both have the same ones, else in the 36 classes."""
    same_numbering = fixed_map.numbering == moving_map.numbering
    fixed_labels, moving_labels = (
        (fixed_map.own, moving_map.own) if same_numbering else (fixed_map.classes, moving_map.classes)
    )
    identity = Deformation.from_affine(np.eye(4), pair.grid)
    labels, before, after = run_in_threads(
        partial(identity.warp, fixed_labels),
        partial(identity.warp, moving_labels, pair.affine),
        partial(field.warp, moving_labels, pair.affine),
    )
    sources = {
        name: each.numbering if each.numbering == region_overlap.PREDICTED_SOURCE else f"uploaded, {each.numbering}"
        for name, each in (("fixed", fixed_map), ("moving", moving_map))
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
    title="T1 brain registration (TextSCF)",
    about="Registers one brain to another by a deformable network that text prompts condition region by region, then "
    "refines the field on the pair.",
    inputs=PAIR_INPUTS,
    options=(
        Toggle("refine", "Refine the field", True, "Maximises local cross-correlation on this pair, coarse to fine."),
        Text(
            "what_matters",
            "What matters",
            about="In your own words, such as “match the hippocampi exactly, ignore the ventricles, keep the brain "
            "stem rigid”.",
            check=check_wishes,
            explain=explain_wishes,
        ),
        Text(
            "prompts_a",
            "Region prompts A",
            about='Other names for regions, such as "left hippocampus = ammon\'s horn on the left; 13 = brainstem".',
            lines=2,
            check=parse_names,
            known={str(n): name for n, name in SPOKEN_NAMES.items()},
            former=("names",),
        ),
        Text(
            "prompt_template",
            "Prompt template",
            PROMPT_TEMPLATE,
            "The sentence around a region's name, which {} stands for.",
            check=partial(fill_template, "brain"),
            former=("template",),
        ),
        Text(
            "prompts_b",
            "Region prompts B",
            about="A second set of names, with which the pair is registered too, for comparison.",
            lines=2,
            check=parse_names,
            former=("against",),
        ),
        Choice(
            "encoder",
            "Text encoder",
            (OWN_ENCODER, *CLIP_ENCODERS),
            OWN_ENCODER,
            "CLIP is downloaded from the Hub at its first use.",
        ),
        Landmarks(
            "landmarks",
            "Landmarks",
            "Six numbers on each line: x, y, z in the fixed and in the moving image, RAS+ mm.",
        ),
    ),
    weights=TEXTSCF_WEIGHTS,
    build=None,
    run=register,
    licence="CC BY-NC 4.0 (the scans of the training data)",
    cite="Chen et al. 2023, arXiv:2311.15607; Jia et al. 2022, arXiv:2208.04939; Avants et al. 2008, "
    "doi:10.1016/j.media.2007.06.004",
    trained_on="18 skull-stripped T1 scans of 13 people of OASIS-1, labels by Neuromorphometrics (MICCAI 2012), in "
    "pairs of different people at 2 mm; the prompts of the regions were varied.",
    scores="4 pairs of 4 held-out people, from raw files: Dice 0.64 over about 138 labels (greedy 0.62, affine 0.40), "
    "0.78 over 35 regions, no folding. The network alone reaches 0.54; refinement alone reaches what both reach "
    "together.",
    limits="Trained on T1 of few adults from one scanner; T2 and FLAIR are made like T1 for the matching. A lesion, a "
    "tumour or a missing part has no counterpart in the other brain: give its mask, so that it does not pull; in it "
    "the field means nothing. Prompts change the network's field; refinement undoes most of that.",
    networks={
        "textscf": Network(TEXTSCF_WEIGHTS, partial(TextSCF, 8, EMBEDDING_DIM, 256, diffeomorphic=True)),
        "anatomy": ANATOMY,
        "brain": BRAIN,
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
        **PAIR_GROUPS,
        "Region prompts": ("prompts_a", "prompt_template", "prompts_b", "encoder"),
        "Landmarks": ("landmarks",),
    },
)
