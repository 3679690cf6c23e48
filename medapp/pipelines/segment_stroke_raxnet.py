"""Old stroke lesions in a T1 scan, by RAX-Net along three axes in template space, and their fusion."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, partial
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from medapp.algorithms.input_checks import require_head
from medapp.algorithms.mni_template import TemplatePlacement, load_template, load_template_mask, register_template
from medapp.algorithms.scan_plausibility import doubt_scan
from medapp.analysis.stroke_ensemble import FUSION_RULES, PLANE_LETTERS, measure_ensemble
from medapp.card import Card, Input, Weights
from medapp.hardware import choose_half_precision, run_in_threads
from medapp.imaging.background import zero_background
from medapp.imaging.geometry import resample
from medapp.imaging.intensity import standardize
from medapp.imaging.volume import Volume
from medapp.networks.raxnet import RAXNet
from medapp.options import Choice, Slider, Toggle
from medapp.pipelines.segment_anatomy_unet import ANATOMY_NETWORK as ANATOMY
from medapp.pipelines.segment_anatomy_unet import find_cut_ends
from medapp.result import Metric, Result

WIDTHS = (24, 48, 96, 192)  # three quarters of the paper's
INPUT_CHANNELS = 5  # what `seen` gives and `average` adds; the paper's networks see the slice alone
NEIGHBOUR_MM = 3  # mm to the slices before and behind that are seen with a slice
SLICES_PER_BATCH = 8  # slices
MIN_PROBABILITY = 0.002  # a probability under it counts as none
MIN_TEMPLATE_CORRELATION = 0.3  # correlation with the template under which something is wrong
THICK_VOXEL_MM = 3.0  # mm, coarser than most of what was trained on


class PlaneView(NamedTuple):
    """How one network looks: the axis across its slices, the paper's canvas in pixels, and where a slice lies on it."""

    axis: int
    canvas: tuple[int, int]
    corner: tuple[int, int]


PLANE_VIEWS = {
    "axial": PlaneView(2, (208, 240), (6, 3)),
    "coronal": PlaneView(1, (208, 208), (5, 9)),
    "sagittal": PlaneView(0, (240, 208), (3, 9)),
}


def segment(
    net, image: Volume, *, get_network: Callable, progress: Callable[[float, str], None], scaling: str, **settings
) -> Result:
    """Probability of lesion as seen along each of three axes, and fused, on the grid of `image`.

    `net.get_submodule(plane)` maps (B, 5, H, W) float32 to logits (B, 1, H, W), for each of PLANES. `scaling` is one of
    "volume", as in training, and "slice", as the authors'; `settings` are those of `strokes.measured`. Raises
    InputError for colour, CT, PET, an empty image or a single slice.
    """
    require_head(image)
    progress(0.0, "Finding the template's place in the scan")
    scan = zero_background(image)
    laid = register_template(
        scan, get_network("anatomy"), lambda share: progress(0.3 * share, "Finding the template's place in the scan")
    )
    drawn = resample(scan, laid.grid, outside=float(scan.array.min())).array
    if scaling == "volume":
        drawn = standardize(drawn)

    found = {}
    for number, plane in enumerate(PLANE_LETTERS):
        scaled = scale_by_slice(drawn, PLANE_VIEWS[plane].axis) if scaling == "slice" else drawn
        step = partial(_report_step, progress, number, plane)
        found[plane] = predict_plane(net.get_submodule(plane), scaled, PLANE_VIEWS[plane], step)

    progress(0.85, "Drawing on the input's grid")
    at = laid.grid.affine
    arrays = {f"probability_{plane}": found[plane] for plane in PLANE_LETTERS} | {"template": load_template().array}
    backs = run_in_threads(*(partial(resample, Volume(array, at), onto=image.grid) for array in arrays.values()))
    volumes = {"image": image}
    for role, native in zip(arrays, backs, strict=True):
        kept = (
            native.array
            if role == "template"
            else np.where(native.array < MIN_PROBABILITY, np.float32(0), native.array)
        )
        volumes[role] = image.new_like(kept, name=role, unit="", remarks=())
    progress(0.95, "Measuring")
    result = Result(
        volumes,
        metrics={"fit": Metric(round(laid.fit, 3))},
        notes=describe_input(image),
        warnings=describe_placement(image, laid),
        settings={"scaling": scaling},
    )
    if laid.found:
        doubts = doubt_scan(scan, laid.found.regions.labels, "T1", cut=bool(find_cut_ends(laid.found.regions.brain)))
        result = replace(result, warnings=(*result.warnings, *doubts.warnings), doubt=doubts.question)
    return measure_ensemble(result, settings)


def scale_by_slice(scan: np.ndarray, axis: int) -> np.ndarray:
    """(X, Y, Z), each slice across `axis` from its own zero to its own maximum of 255, as the authors have it.

    Empty slices stay.
    """
    most = scan.max(tuple(a for a in range(3) if a != axis), keepdims=True)
    return (np.where(most > 0, scan, 0) / np.where(most > 0, most, 1) * 255).astype(np.float32)


def stack_slices(scan: np.ndarray, at: np.ndarray, axis: int) -> np.ndarray:
    """Slices `at` (B,) across `axis` of a scan (X, Y, Z) in template space, and what is seen with each: (B, 4, H, W).

    Those are the slices NEAR before and behind it, which tell a sulcus from a cavity, and the slice that lies where it
    does in the other half of the head, which tells what should be there.
    """
    last = scan.shape[axis] - 1
    numbers = (at, np.maximum(at - NEIGHBOUR_MM, 0), np.minimum(at + NEIGHBOUR_MM, last))
    own, before, behind = (np.moveaxis(scan.take(n, axis), axis, 0) for n in numbers)
    return np.stack([own, before, behind, np.moveaxis(scan[::-1].take(at, axis), axis, 0)], 1)


@cache
def standardize_template() -> np.ndarray:
    """The template, standardised as a scan is: the last of what a network sees."""
    return standardize(load_template().array)


def predict_plane(
    net, scan: np.ndarray, view: PlaneView, step: Callable[[float], None] = lambda share: None
) -> np.ndarray:
    """Probability (197, 233, 189) float32 in a scaled scan of that shape, none where the template has no brain.

    `net` maps (B, 5, *view.canvas) to logits (B, 1, *view.canvas): an engine, or a plain module, which then runs in the
    16-bit type that suits its device.
    """
    rest = tuple(axis for axis in range(3) if axis != view.axis)
    worth = np.flatnonzero(load_template_mask().any(rest) & (np.ptp(scan, axis=rest) > 0))
    high, wide = (scan.shape[axis] for axis in rest)
    inside = (..., slice(view.corner[0], view.corner[0] + high), slice(view.corner[1], view.corner[1] + wide))
    probability = np.zeros((scan.shape[view.axis], high, wide), np.float32)
    canvas = np.full((SLICES_PER_BATCH, INPUT_CHANNELS, *view.canvas), scan.min(), np.float32)
    canvas[:, -1] = standardize_template().min()
    for begin in range(0, len(worth), SLICES_PER_BATCH):
        step(begin / len(worth))
        some = worth[begin : begin + SLICES_PER_BATCH]
        canvas[inside][: len(some), :-1] = stack_slices(scan, some, view.axis)
        canvas[inside][: len(some), -1] = np.moveaxis(standardize_template().take(some, view.axis), view.axis, 0)
        logits = run_network(net, torch.from_numpy(canvas[: len(some)]))[:, 0][inside]
        probability[some] = logits.sigmoid().numpy()
    return np.moveaxis(probability, 0, view.axis)


def run_network(net, x: torch.Tensor) -> torch.Tensor:
    """Logits on the CPU, float32."""
    if not isinstance(net, nn.Module):
        return net(x)
    place = next(net.parameters()).device
    dtype = choose_half_precision(place.type)
    with torch.inference_mode(), torch.autocast(place.type, dtype, enabled=dtype is not None):
        return net(x.to(place, memory_format=torch.channels_last)).float().cpu()


def _report_step(progress: Callable[[float, str], None], number: int, plane: str, share: float) -> None:
    progress(0.35 + (number + share) / len(PLANE_LETTERS) / 2, f"Looking at the {plane} slices")


def describe_input(image: Volume) -> tuple[str, ...]:
    """What the user should know of this input."""
    said = list(image.remarks)
    if max(image.spacing) > THICK_VOXEL_MM:
        said.append(f"Voxels are {max(image.spacing):.1f} mm long: what lies between them is guessed.")
    return tuple(dict.fromkeys(said))


def describe_placement(image: Volume, laid: TemplatePlacement) -> tuple[str, ...]:
    """Why the result may be wrong, by where the template came to lie in the scan."""
    said = list(laid.found.warnings(image.name)) if laid.found else []
    if laid.fit < MIN_TEMPLATE_CORRELATION:
        said.append(
            f"The scan hardly resembles the template (correlation {laid.fit:.2f}): look at the template over it, and "
            "check that it is a T1 scan of a whole head."
        )
    stretch = np.linalg.svd(laid.grid.affine[:3, :3], compute_uv=False)
    if stretch.max() > 1.4 or stretch.min() < 0.7:
        said.append(
            f"The template had to be stretched by {stretch.min():.2f} to {stretch.max():.2f} to fit: check the file's "
            "voxel size."
        )
    return tuple(said)


def build_networks(widths: Sequence[int] = WIDTHS) -> nn.ModuleDict:
    """A network for each of PLANES, by its name."""
    return nn.ModuleDict({plane: RAXNet(1, widths, INPUT_CHANNELS) for plane in PLANE_LETTERS})


FUSION_HELP = (
    "Mean: as in the authors' code. Vote: most of the planes, as in their paper. Weighted: mean by the weights."
)
CARD = Card(
    name="segment_stroke_raxnet",
    task="segmentation",
    presenter="stroke",
    title="Old stroke lesions on T1 (RAX-Net, three planes)",
    about="Outlines chronic stroke lesions on a T1 scan as seen slice by slice along three axes, and shows where the "
    "three agree.",
    inputs=(Input("image", "T1", "A brain MRI, with or without the skull, on any grid; best of about 1 mm."),),
    options=(
        Choice("scaling", "Intensity scaling", ("volume", "slice"), "volume",
               "By the whole volume, as these networks were trained; by slice, 0 to 255, is for the authors' weights."),
        Choice("fusion", "Fusion", FUSION_RULES, "mean", FUSION_HELP, live=True),
        Slider("threshold", "Threshold", 0.05, 0.95, 0.01, 0.5, "Probability from which a voxel counts.", live=True),
        Slider("min_lesion_ml", "Smallest lesion (ml)", 0.0, 5.0, 0.05, 0.1, "Smaller components are left out.",
               live=True, former=("smallest",)),
        *(Toggle(plane, f"{plane.capitalize()} slices", True, live=True) for plane in PLANE_LETTERS),
        *(
            Slider(f"weight_{plane}", f"Weight, {plane}", 0.0, 1.0, 0.05, 1.0, "For the weighted mean.", live=True)
            for plane in PLANE_LETTERS
        ),
    ),
    weights=Weights(
        "segment_stroke_raxnet.safetensors",
        "medapp/segment_stroke_raxnet",
        "v0.1.0",
        "8ef6d858cc27420d6448dc3af9b6bbd3dd49fdca2a40edb170ddb88bc2a32ace",
    ),
    build=partial(build_networks, widths=WIDTHS),
    run=segment,
    networks={"anatomy": ANATOMY},
    option_groups={"Weights of the planes, for the weighted mean": tuple(f"weight_{plane}" for plane in PLANE_LETTERS)},
    licence="CC BY-NC 4.0 (labels of the brains that lesions were painted into; see NOTICE)",
    cite="Mousavi 2025, medRxiv, doi:10.1101/2025.09.26.25336733",
    trained_on="Painted lesions, not real ones: the shapes of real strokes (105 chronic, 1,149 acute), mirrored, bent "
    "and given the look of old infarcts, in T1 scans of 13 healthy people of OASIS-1, some with a made-up skull. No "
    "scan of a patient with stroke was seen.",
    scores="25 painted test heads, brains and masks never seen: 3-D Dice 0.78 ± 0.22, median 0.85 (each plane alone "
    "0.58 to 0.61); 0.72 ± 0.27 for 16 lesions under 5 ml; in 5 heads without lesion 0.1 ml found, median 0. Redrawn "
    "on oblique 3 mm slices: 0.64 ± 0.33, median 0.80.",
    limits="How well it does on patients is not known. Made for old infarcts, dark on T1; fresh strokes, bleeding, "
    "tumours, other contrasts and children were never seen. Wide ventricles or sulci and white-matter disease may be "
    "taken for lesions.",
)  # fmt: skip
