"""Chronic stroke lesions in a T1 scan, by RAX-Net along three axes in template space, and their fusion."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, partial
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from medapp.algorithms.brain_pair import outline_brain
from medapp.algorithms.input_checks import require_head
from medapp.algorithms.mni_template import TemplatePlacement, load_template, load_template_mask, register_template
from medapp.algorithms.scan_plausibility import doubt_scan, find_cut_ends
from medapp.analysis.stroke_ensemble import FUSION_RULES, PLANE_LETTERS, measure_ensemble
from medapp.card import Card, Input, Weights
from medapp.hardware import choose_half_precision, run_in_threads
from medapp.imaging.background import zero_background
from medapp.imaging.geometry import resample
from medapp.imaging.intensity import standardize
from medapp.imaging.scan_kinds import T1, T1_CONTRAST
from medapp.imaging.volume import Volume
from medapp.networks.raxnet import RAXNet
from medapp.options import Choice, Slider, Toggle
from medapp.pipelines.segment_anatomy_unet import ANATOMY_NETWORK as ANATOMY
from medapp.pipelines.segment_brain_unet import BRAIN_NETWORK as BRAIN
from medapp.result import Metric, Result

WIDTHS = (24, 48, 96, 192)  # three quarters of the paper's
INPUT_CHANNELS = 5  # `stack_slices` and the template; the paper's networks see the slice alone
NEIGHBOUR_MM = 3  # to the slices before and behind that are seen with a slice
SLICES_PER_BATCH = 8
MIN_PROBABILITY = 0.002  # smaller probabilities are set to 0
MIN_TEMPLATE_CORRELATION = 0.3  # below which the registration is doubted
FIT_QUESTION = "Is the template in the right place?"
THICK_VOXEL_MM = 3.0  # mm, coarser than most of the training data


class PlaneView(NamedTuple):
    """How one network sees: the axis across its slices, its canvas in pixels, and where on it a slice has its corner.

    The canvas is the part of the paper's that holds the template's brain and 8 mm around it; its corner is a multiple
    of the networks' stride away from the paper's, so that pixels are pooled alike.
    """

    axis: int
    canvas: tuple[int, int]
    corner: tuple[int, int]

    def crop(self, shape: tuple[int, int]) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
        """Return the parts of a slice of that shape and of the canvas that are the same pixels."""
        spans = [
            (max(-at, 0), max(at, 0), min(side - max(-at, 0), length - max(at, 0)))
            for at, side, length in zip(self.corner, shape, self.canvas, strict=True)
        ]
        (a, c, m), (b, d, n) = spans
        return (slice(a, a + m), slice(b, b + n)), (slice(c, c + m), slice(d, d + n))


PLANE_VIEWS = {
    "axial": PlaneView(2, (176, 208), (6 - 16, 3 - 16)),
    "coronal": PlaneView(1, (176, 176), (5 - 16, 9)),
    "sagittal": PlaneView(0, (208, 176), (3 - 16, 9)),
}


def segment(
    net, image: Volume, *, get_network: Callable, progress: Callable[[float, str], None], scaling: str, **settings
) -> Result:
    """Return the probability of lesion along each of three axes, and fused, on the grid of `image`.

    `net.get_submodule(plane)` maps (B, 5, H, W) float32 to logits (B, 1, H, W), for each of PLANES. `scaling` is
    "volume", as in training, or "slice", as the authors'; `settings` are those of `stroke_ensemble.measure_ensemble`.
    Raises InputError for colour, CT, PET, an empty image or a single slice.
    """
    require_head(image)
    progress(0.0, "Registering the template")
    scan = zero_background(image)
    placement = register_template(
        scan,
        get_network("anatomy"),
        get_network("brain"),
        lambda share: progress(0.3 * share, "Registering the template"),
    )
    in_template = resample(scan, placement.grid, outside=float(scan.array.min())).array
    if scaling == "volume":
        in_template = standardize(in_template)

    probabilities = {}
    for number, plane in enumerate(PLANE_LETTERS):
        scaled = scale_by_slice(in_template, PLANE_VIEWS[plane].axis) if scaling == "slice" else in_template
        step = partial(_report_step, progress, number, plane)
        probabilities[plane] = predict_plane(net.get_submodule(plane), scaled, PLANE_VIEWS[plane], step)

    progress(0.85, "Resampling to the input grid")
    template_affine = placement.grid.affine
    arrays = {f"probability_{plane}": probabilities[plane] for plane in PLANE_LETTERS} | {
        "template": load_template().array
    }
    native_volumes = run_in_threads(
        *(partial(resample, Volume(array, template_affine), onto=image.grid) for array in arrays.values())
    )
    volumes = {"image": image}
    if placement.oriented and placement.oriented.regions.brain.array.any():
        volumes["brain"] = outline_brain(placement.oriented.regions.labels, image.grid)
    for role, resampled in zip(arrays, native_volumes, strict=True):
        kept = (
            resampled.array
            if role == "template"
            else np.where(resampled.array < MIN_PROBABILITY, np.float32(0), resampled.array)
        )
        volumes[role] = image.new_like(kept, name=role, unit="", remarks=())
    progress(0.95, "Measuring")
    result = Result(
        volumes,
        to_template=load_template().affine @ np.linalg.inv(template_affine),
        metrics={"fit": Metric(round(placement.correlation, 3))},
        notes=describe_input(image),
        warnings=describe_placement(image, placement),
        doubt=FIT_QUESTION if placement.correlation < MIN_TEMPLATE_CORRELATION else "",
        settings={"scaling": scaling},
    )
    if placement.oriented:
        doubts = doubt_scan(
            scan, placement.oriented.regions.labels, "T1", cut=bool(find_cut_ends(placement.oriented.regions.brain))
        )
        result = replace(result, warnings=(*result.warnings, *doubts.warnings), doubt=doubts.question or result.doubt)
    return measure_ensemble(result, settings)


def scale_by_slice(scan: np.ndarray, axis: int) -> np.ndarray:
    """Scale (X, Y, Z), each slice across `axis` from its own zero to a maximum of 255, as the authors do.

    Empty slices stay empty.
    """
    most = scan.max(tuple(a for a in range(3) if a != axis), keepdims=True)
    return (np.where(most > 0, scan, 0) / np.where(most > 0, most, 1) * 255).astype(np.float32)


def stack_slices(scan: np.ndarray, positions: np.ndarray, axis: int) -> np.ndarray:
    """Stack slices (B,) across `axis` of a scan (X, Y, Z) in template space with their context: (B, 4, H, W).

    The context is the slices NEIGHBOUR_MM before and behind, which tell a sulcus from a cavity, and the mirrored slice
    of the other hemisphere, which shows what should be there.
    """
    last = scan.shape[axis] - 1
    numbers = (positions, np.maximum(positions - NEIGHBOUR_MM, 0), np.minimum(positions + NEIGHBOUR_MM, last))
    own, before, behind = (np.moveaxis(scan.take(n, axis), axis, 0) for n in numbers)
    return np.stack([own, before, behind, np.moveaxis(scan[::-1].take(positions, axis), axis, 0)], 1)


@cache
def standardize_template() -> np.ndarray:
    """Return the template, standardised as a scan is: the last channel that a network sees."""
    return standardize(load_template().array)


def predict_plane(
    net, scan: np.ndarray, view: PlaneView, step: Callable[[float], None] = lambda share: None
) -> np.ndarray:
    """Return the probability (197, 233, 189) float32 in a scaled scan of that shape.

    It is 0 off the canvas and in slices where the template has no brain.

    `net` maps (B, 5, *view.canvas) to logits (B, 1, *view.canvas): an engine, or a plain module, which then runs in the
    16-bit type that suits its device.
    """
    rest = tuple(axis for axis in range(3) if axis != view.axis)
    useful = np.flatnonzero(load_template_mask().any(rest) & (np.ptp(scan, axis=rest) > 0))
    shape = scan.shape[rest[0]], scan.shape[rest[1]]
    shown, on_canvas = view.crop(shape)
    inside = (..., *on_canvas)
    probability = np.zeros((scan.shape[view.axis], *shape), np.float32)
    canvas = np.full((SLICES_PER_BATCH, INPUT_CHANNELS, *view.canvas), scan.min(), np.float32)
    canvas[:, -1] = standardize_template().min()
    for begin in range(0, len(useful), SLICES_PER_BATCH):
        step(begin / len(useful))
        chosen = useful[begin : begin + SLICES_PER_BATCH]
        canvas[inside][: len(chosen), :-1] = stack_slices(scan, chosen, view.axis)[(..., *shown)]
        template = np.moveaxis(standardize_template().take(chosen, view.axis), view.axis, 0)
        canvas[inside][: len(chosen), -1] = template[(..., *shown)]
        logits = run_network(net, torch.from_numpy(canvas[: len(chosen)]))[:, 0][inside]
        probability[(chosen, *shown)] = logits.sigmoid().numpy()
    return np.moveaxis(probability, 0, view.axis)


def run_network(net, x: torch.Tensor) -> torch.Tensor:
    """Return the logits on the CPU, float32."""
    if not isinstance(net, nn.Module):
        return net(x)
    device = next(net.parameters()).device
    dtype = choose_half_precision(device.type)
    with torch.inference_mode(), torch.autocast(device.type, dtype, enabled=dtype is not None):
        return net(x.to(device, memory_format=torch.channels_last)).float().cpu()


def _report_step(progress: Callable[[float, str], None], number: int, plane: str, share: float) -> None:
    progress(0.35 + (number + share) / len(PLANE_LETTERS) / 2, f"Segmenting the {plane} slices")


def describe_input(image: Volume) -> tuple[str, ...]:
    """List what the user should know of this input."""
    notes = list(image.remarks)
    if max(image.spacing) > THICK_VOXEL_MM:
        notes.append(f"Voxels are {max(image.spacing):.1f} mm long; finer detail is interpolated.")
    return tuple(dict.fromkeys(notes))


def describe_placement(image: Volume, placement: TemplatePlacement) -> tuple[str, ...]:
    """Warn of reasons why the result may be wrong, by the placement of the template in the scan."""
    warnings = list(placement.oriented.warnings(image.name)) if placement.oriented else []
    if placement.correlation < MIN_TEMPLATE_CORRELATION:
        warnings.append(
            f"The scan hardly resembles the template (correlation {placement.correlation:.2f}): do not trust what was "
            "found. Check the template overlay, and that this is a T1 scan of a whole head."
        )
    stretch = np.linalg.svd(placement.grid.affine[:3, :3], compute_uv=False)
    if stretch.max() > 1.4 or stretch.min() < 0.7:
        warnings.append(
            f"The template had to be stretched by {stretch.min():.2f} to {stretch.max():.2f} to fit: check the "
            "voxel size in the header."
        )
    return tuple(warnings)


def build_networks(widths: Sequence[int] = WIDTHS) -> nn.ModuleDict:
    """Build a network for each of PLANES, by its name."""
    return nn.ModuleDict({plane: RAXNet(1, widths, INPUT_CHANNELS) for plane in PLANE_LETTERS})


FUSION_HELP = "Mean, as in the authors' code, majority vote, as in their paper, or mean by the plane weights."
CARD = Card(
    name="segment_stroke_raxnet",
    task="segmentation",
    presenter="stroke",
    title="Stroke lesions on T1 (RAX-Net)",
    about="Segments chronic stroke lesions on T1, slice by slice along three axes, and shows where the three agree.",
    inputs=(
        Input("image", "T1", "A brain MRI with or without the skull, on any grid, preferably of about 1 mm.",
              kinds=(T1, T1_CONTRAST), check=require_head),
    ),
    options=(
        Choice("scaling", "Intensity scaling", ("volume", "slice"), "volume",
               "By volume, as in training; by slice, 0 to 255, is for the authors' weights."),
        Choice("fusion", "Fusion", FUSION_RULES, "mean", FUSION_HELP, live=True),
        Slider("threshold", "Threshold", 0.05, 0.95, 0.01, 0.5,
               "Voxels of at least this probability count as lesion.", live=True),
        Slider("min_lesion_ml", "Minimum lesion volume (ml)", 0.0, 5.0, 0.05, 0.1, "Smaller components are removed.",
               live=True, former=("smallest",)),
        *(Toggle(plane, f"{plane.capitalize()} slices", True, live=True) for plane in PLANE_LETTERS),
        *(
            Slider(f"weight_{plane}", f"{plane.capitalize()} weight", 0.0, 1.0, 0.05, 1.0,
                   "Weight of this plane in the weighted mean.", live=True)
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
    networks={"anatomy": ANATOMY, "brain": BRAIN},
    option_groups={"Weights of the weighted mean": tuple(f"weight_{plane}" for plane in PLANE_LETTERS)},
    licence="CC BY-NC 4.0 (labels of the brains into which lesions were inserted; see NOTICE)",
    cite="Mousavi 2025, medRxiv, doi:10.1101/2025.09.26.25336733",
    trained_on="Synthetic lesions, not real ones: the shapes of real strokes (105 chronic, 1,149 acute), mirrored, "
    "deformed and given the intensities of old infarcts, in T1 scans of 13 healthy people of OASIS-1, some with a "
    "synthetic skull. It was trained on no scan of a patient with stroke.",
    scores="25 synthetic test heads, held-out brains and masks: 3-D Dice 0.78 ± 0.22, median 0.85 (each plane alone "
    "0.58 to 0.61); 0.72 ± 0.27 for 16 lesions under 5 ml; in 5 heads without lesion 0.1 ml found, median 0. "
    "Resampled to oblique 3 mm slices: 0.64 ± 0.33, median 0.80.",
    limits="Its accuracy on patients is unknown. Made for old infarcts, which are dark on T1; it was not trained on "
    "acute strokes, bleeding, tumours, other contrasts or children. Wide ventricles or sulci and white-matter disease "
    "may be mistaken for lesions.",
)  # fmt: skip
