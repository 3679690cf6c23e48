"""Deformable registration of two brains in T1, steered region by region by words: TextSCF, then refinement."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from scipy import ndimage

from medapp import overlap
from medapp.card import Card, Choice, Input, Landmarks, Network, Text, Toggle, Weights
from medapp.errors import InputError
from medapp.imaging.deformation import Deformation, folding, sdlogj, sdlogj_learn2reg
from medapp.imaging.volume import Volume
from medapp.landmarks import measured
from medapp.machine import together
from medapp.networks.textscf import TextSCF
from medapp.pipelines._anatomy import parcellate
from medapp.pipelines._checks import require_grey, require_mr, require_overlap
from medapp.pipelines._field import in_millimetres
from medapp.pipelines._inverse import inverse
from medapp.pipelines._labels import Labelled, labelled
from medapp.pipelines._pair import Pair, prepare
from medapp.pipelines._steering import OWN, TOWERS, Steered, bent, compared, filters
from medapp.pipelines._text import DIM, tower
from medapp.pipelines._wording import SPOKEN, TEMPLATE, edited, sentence
from medapp.pipelines.segment_anatomy_unet import NETWORK as ANATOMY
from medapp.result import Metric, Result, Table

AROUND = 4  # voxels of 1 mm round the brain within which the inverse is sought


def register(
    _,
    fixed: Volume,
    moving: Volume,
    fixed_labels: Volume | None,
    moving_labels: Volume | None,
    *,
    aid: Callable,
    progress: Callable[[float, str], None],
    refine: bool,
    names: str,
    template: str,
    against: str,
    encoder: str,
    landmarks: tuple[tuple[float, ...], ...],
) -> Result:
    """The displacement on the grid of `fixed`, then an affine, that take its points to those of `moving`.

    Regions come from the label maps where they are given, else from the parcellation network. Raises InputError for
    images in which no brain is found, for label maps that are not of a known numbering or do not lie on their image,
    and for a text encoder whose words these weights do not understand.
    """
    for image, labels in ((fixed, fixed_labels), (moving, moving_labels)):
        require_grey(image)
        require_mr(image)
        if labels is not None:
            require_overlap(labels, image)
    net = aid("textscf")
    words, said = filters(net, aid, encoder, names, template)
    other = filters(net, aid, encoder, against, template)[0] if against else None

    regions = []
    for number, (image, labels) in enumerate(((fixed, fixed_labels), (moving, moving_labels))):
        step = partial(_within, progress, 0.02 + 0.22 * number, 0.24 + 0.22 * number, f"{image.name}: ")
        regions.append(regions_of(image, labels, aid, step))
    place = next(net.parameters()).device
    progress(0.46, "Aligning the brains")
    here, there = regions
    pair = prepare(
        fixed,
        moving,
        here.classes,
        there.classes,
        device=place.type,
        progress=lambda share: progress(0.46 + 0.1 * share, "Aligning the brains"),
    )

    progress(0.58, "The network bends the moving brain")
    steered = [bent(net, pair, words, refine, partial(_within, progress, 0.58, 0.78, ""))]
    if other is not None:
        steered.append(bent(net, pair, other, refine, partial(_within, progress, 0.7, 0.78, "")))
    progress(0.78, "Looking for the way back")
    result = laid_open(pair, steered[0], fixed, moving, here, there, progress=progress)
    if other is not None:
        result = compared(result, pair, steered[0], steered[1], moving)
    if landmarks:
        result = measured(result, np.array(landmarks))
    settings = {"refine": refine, "names": names, "template": template, "against": against, "encoder": encoder}
    settings["landmarks"] = f"{len(landmarks)} pairs" if landmarks else ""
    notes = (*said, *remarks(fixed, moving, pair, here, there))
    return replace(result, settings=settings, notes=tuple(dict.fromkeys(notes)))


def regions_of(image: Volume, labels: Volume | None, aid: Callable, progress: Callable[[float, str], None]) -> Labelled:
    """The label map that came with the image, or the one that the parcellation network makes of it."""
    if labels is not None:
        return labelled(labels)
    found = parcellate(aid("anatomy"), image, progress=progress).labels
    if not found.array.any():
        raise InputError(f"No brain was found in the {image.name}.")
    return Labelled(found, found, overlap.PREDICTED)


def laid_open(
    pair: Pair,
    steered: Steered,
    fixed: Volume,
    moving: Volume,
    here: Labelled,
    there: Labelled,
    *,
    progress: Callable[[float, str], None],
) -> Result:
    """Everything that is told of a registration, drawn on the grid of `fixed` and measured on that of the pair."""
    inside = pair.fixed.array > 0
    near = torch.tensor(ndimage.binary_dilation(inside, iterations=AROUND), device=steered.flow.device)
    back, miss = inverse(steered.flow, near)
    field, inverted = in_millimetres(steered.flow, pair.grid), in_millimetres(back, pair.grid)
    miss = miss.cpu().numpy()[inside]  # voxels of 1 mm

    progress(0.84, "Drawing on the fixed image's grid")
    native, back_native = together(partial(field.resample, fixed.grid), partial(inverted.resample, fixed.grid))
    still = Deformation.of_affine(np.eye(4), fixed.grid)
    drawn = dict(
        zip(
            ("aligned", "warped", "aligned_labels", "warped_labels"),
            together(*(partial(by.warp, what, pair.affine) for what in (moving, there.own) for by in (still, native))),
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
    table, metrics = agreement(pair, field, determinant, here, there)
    warped = field.warp(pair.moving).array
    length = field.magnitude[inside]
    metrics |= {
        "ncc_before": Metric(_correlation(pair.moving.array, pair.fixed.array, inside)),
        "ncc": Metric(_correlation(warped, pair.fixed.array, inside)),
        "displacement_mean": Metric(round(float(length.mean()), 3), "mm"),
        "displacement_max": Metric(round(float(length.max()), 3), "mm"),
        "folding": Metric(round(folding(determinant, inside), 5), "%"),
        "sdlogj": Metric(round(sdlogj(determinant, inside), 4)),
        "sdlogj_learn2reg": Metric(round(sdlogj_learn2reg(determinant), 4)),
        "bending_energy": Metric(float(f"{field.bending_energy(inside):.4g}"), "1/mm²"),
        "inverse_residual": Metric(round(float(miss.mean()), 4), "mm"),
        "inverse_residual_max": Metric(round(float(miss.max()), 3), "mm"),
    }
    return Result(volumes, native, back_native, pair.affine, metrics, {"regions": table})


def agreement(
    pair: Pair, field: Deformation, determinant: np.ndarray, here: Labelled, there: Labelled
) -> tuple[Table, dict[str, Metric]]:
    """The table of the regions: in the uploaded maps' own numbers if both came in the same, else in the classes."""
    same = here.numbering == there.numbering
    mine, theirs = (here.own, there.own) if same else (here.classes, there.classes)
    still = Deformation.of_affine(np.eye(4), pair.grid)
    labels, before, after = together(
        partial(still.warp, mine), partial(still.warp, theirs, pair.affine), partial(field.warp, theirs, pair.affine)
    )
    sources = {
        name: each.numbering if each.numbering == overlap.PREDICTED else f"uploaded, {each.numbering}"
        for name, each in (("fixed", here), ("moving", there))
    }
    return overlap.by_region(labels, before.array, after.array, field, determinant, sources)


def remarks(fixed: Volume, moving: Volume, pair: Pair, here: Labelled, there: Labelled) -> tuple[str, ...]:
    """What the user should know of these inputs before trusting the result."""
    said = [*fixed.remarks, *moving.remarks]
    for image, regions in ((fixed, here), (moving, there)):
        if max(image.spacing) > 3:
            said.append(f"{image.name}: voxels of {max(image.spacing):.1f} mm; what lies between them is guessed.")
        if regions.numbering != overlap.PREDICTED:
            said.append(
                f"{image.name}: its regions come from the uploaded label map, numbered as in {regions.numbering}."
            )
        volume = float((regions.classes.array > 0).sum()) * regions.classes.grid.voxel_ml
        if not 700 < volume < 2200:
            said.append(f"{image.name}: the brain measures {volume:.0f} ml, odd for an adult; is all of it there?")
    stretch = np.linalg.svd(pair.affine[:3, :3], compute_uv=False)
    if np.linalg.det(pair.affine[:3, :3]) < 0 or stretch.max() > 1.5 or stretch.min() < 0.67:
        said.append("The affine stretches the brain by more than a half: look whether the prepared pair fits.")
    if not _overlapping(pair):
        said.append("The brains hardly overlap after the affine: look whether the prepared pair fits.")
    return tuple(said)


def _overlapping(pair: Pair) -> bool:
    a, b = pair.fixed.array > 0, pair.moving.array > 0
    return bool(2 * (a & b).sum() > 0.8 * (a.sum() + b.sum()))


def _correlation(a: np.ndarray, b: np.ndarray, inside: np.ndarray) -> float:
    return round(float(np.corrcoef(a[inside], b[inside])[0, 1]), 4)


def _within(
    progress: Callable[[float, str], None], low: float, high: float, who: str, share: float, stage: str
) -> None:
    """Progress of a part as that of the whole."""
    progress(low + (high - low) * share, f"{who}{stage}")


TEXTSCF = Weights(
    "register_brain_textscf.safetensors",
    "medapp/register_brain_textscf",
    "v0.1.0",
    "0000000000000000000000000000000000000000000000000000000000000000",
)

CARD = Card(
    name="register_brain_textscf",
    task="registration",
    title="Brains in T1 (TextSCF)",
    about="Bends one brain onto another, every region as the words for it say, and refines that on the pair itself.",
    inputs=(
        Input("fixed", "Fixed image", "T1 of a brain, as it comes from the scanner; its grid is the result's."),
        Input("moving", "Moving image", "T1 of another brain, or of another time; any grid."),
        Input(
            "fixed_labels", "Fixed image's labels", "FreeSurfer aseg, OASIS-35 or Neuromorphometrics.", optional=True
        ),
        Input("moving_labels", "Moving image's labels", "Likewise; they are warped too.", optional=True),
    ),
    options=(
        Toggle("refine", "Refine on the pair itself", True, "Local cross-correlation, coarse to fine."),
        Text(
            "names",
            "Other words for regions",
            about='For instance "left hippocampus = ammon\'s horn on the left; 13 = brainstem".',
            lines=2,
            check=edited,
            known={str(n): name for n, name in SPOKEN.items()},
        ),
        Text(
            "template",
            "The sentence round them",
            TEMPLATE,
            "{} stands for the region.",
            check=partial(sentence, "brain"),
        ),
        Text(
            "against",
            "Compare with these words (B)",
            about="Written as above; the same pair is registered with them too, and both fields are compared.",
            lines=2,
            check=edited,
        ),
        Choice("encoder", "Who reads the words", (OWN, *TOWERS), OWN, "CLIP is fetched from the Hub at the first use."),
        Landmarks(
            "landmarks",
            "Landmarks",
            "Six numbers a line: x, y, z in the fixed image and in the moving one, RAS mm.",
        ),
    ),
    weights=TEXTSCF,
    build=None,
    run=register,
    licence="CC BY-NC 4.0 (the scans of the training data)",
    cite="Chen et al. 2023, arXiv:2311.15607; Jia et al. 2022, arXiv:2208.04939; Avants et al. 2008, "
    "doi:10.1016/j.media.2007.06.004",
    trained_on="",
    scores="",
    limits="",
    aids={
        "textscf": Network(TEXTSCF, partial(TextSCF, 8, DIM, 256, diffeomorphic=True)),
        "anatomy": ANATOMY,
        "text": Network(
            Weights(
                "text_tower.safetensors",
                "medapp/text_tower",
                "v0.1.0",
                "0ce36408d7479fc9b6d8fb5d0de039a8533347a0b1c0bc57bac0485b18be1dc4",
            ),
            tower,
        ),
    },
    folds={
        "Label maps, if you have them": ("fixed_labels", "moving_labels"),
        "Words: what the network is told of each region": ("names", "template", "against", "encoder"),
        "Landmarks, to measure the error": ("landmarks",),
    },
)
