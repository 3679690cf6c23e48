"""Denoising of low-count PET, slice by slice and region by region, by RAT."""

from collections.abc import Sequence
from functools import partial

import numpy as np

from medapp.algorithms.input_checks import refuse_modality, require_contrast, require_grey, require_pixels
from medapp.algorithms.slicewise_restoration import (
    SliceCodec,
    measure_pixel_mm,
    region_networks,
    region_options,
    restoration_inputs,
    restore_slices,
)
from medapp.card import Card, Weights
from medapp.imaging.geometry import to_display_slices
from medapp.imaging.scan_kinds import PET
from medapp.imaging.volume import Volume
from medapp.networks.rat import RAT
from medapp.options import Choice
from medapp.result import Result
from medapp.simulation import low_count_pet

COUNT_FRACTIONS = {"1/2": 1 / 2, "1/4": 1 / 4, "1/10": 1 / 10, "1/20": 1 / 20}
REGION_METHODS = ("mobilesam", "superpixels", "sam_vit_b", "one")
NEIGHBOUR_SLICES = (-1, 1, -2, 2)  # relative positions of the slices seen with each slice


def restore(
    net, image: Volume, region_map: Volume | None = None, *,
    progress, get_network=None, regions: str, points_per_side: str, counts: str, degrade: str,
) -> Result:  # fmt: skip
    """Return the image with less noise, float32 in its own unit and on its own grid.

    `net` maps (1, 6, H, W) float32, see `stack_channels`, and labels (1, H, W) to (1, 6, H, W), of which the first
    channel is the result. Raises InputError for colour, CT, MR, an empty image.
    """
    progress(0.0, "Preparing the scan")
    require_pet(image)
    notes, clean = describe_input(image), None
    if degrade != "no":
        progress(0.02, f"Simulating {degrade} of the counts")
        clean = image.new_like(image.array.astype(np.float32), name="reference")
        low = np.empty(image.shape, np.float32)
        slices = to_display_slices(clean.array.copy(), image.grid)
        to_display_slices(low, image.grid)[...] = low_count_pet.lower_counts(
            slices, measure_pixel_mm(image.grid), COUNT_FRACTIONS[degrade]
        )
        image = image.new_like(low, name=f"{image.name}, {degrade} of the counts")
    scale = find_activity_scale(image.array)
    level = encode_count_level(COUNT_FRACTIONS.get(counts))
    floor = 0.0 if image.array.min() >= 0 else -np.inf

    def encode(*stored: np.ndarray) -> np.ndarray:
        return stack_channels([each.astype(np.float32) / scale for each in stored], level)

    def region_picture(stored: np.ndarray) -> np.ndarray:
        return stored.astype(np.float32).clip(0, scale)

    def decode(answer: np.ndarray, stored: np.ndarray) -> np.ndarray:
        return np.maximum(answer[0] * scale, floor)

    codec = SliceCodec(encode, region_picture, decode, around=NEIGHBOUR_SLICES)
    return restore_slices(
        net,
        image,
        region_map,
        codec,
        method=regions,
        points_per_side=int(points_per_side),
        get_network=get_network,
        progress=progress,
        clean=clean,
        settings={"counts": counts, "degrade": degrade},
        notes=notes,
    )


def require_pet(image: Volume) -> None:
    """Raise InputError for colour, CT, MR, an empty image, tiny slices."""
    require_grey(image)
    refuse_modality(image, {"CT", "MR"}, "PET")
    require_contrast(image)
    require_pixels(image)


def find_activity_scale(activity: np.ndarray) -> float:
    """Return the activity that the network sees as 1: the 99.5th percentile of the volume's positive values."""
    return float(np.percentile(activity[activity > 0], 99.5))


def stack_channels(slices: Sequence[np.ndarray], level: float) -> np.ndarray:
    """Stack what the network sees, (6, H, W): the slice (H, W), the count level, and NEIGHBOUR_SLICES.

    All but the level are in units of `find_activity_scale`.
    """
    return np.stack([slices[0], np.full_like(slices[0], level), *slices[1:]])


def encode_count_level(fraction: float | None) -> float:
    """Encode the share of counts for the network: log2(1 / fraction) / 5, or 0 where it is unknown, as in training."""
    return 0.0 if fraction is None else float(np.log2(1 / fraction) / 5)


def describe_input(image: Volume) -> tuple[str, ...]:
    """List what the user should know of this input before trusting the result."""
    notes = list(image.remarks)
    if image.unit != "Bq/ml":
        notes.append("The file does not say that its values are Bq/ml: results are in its own unit.")
    low, high = float(image.array.min()), float(image.array.max())
    if low < -0.05 * high:
        notes.append(
            "Many values are negative, unlike activity: check that this is PET. The method was trained on PET alone."
        )
    return tuple(notes)


CARD = Card(
    name="restore_pet_rat",
    task="restoration",
    presenter="restoration",
    title="Low-count PET (RAT)",
    about="Denoises PET of short or low-activity scans, from half to a twentieth of the counts.",
    inputs=restoration_inputs(
        "PET", "An attenuation-corrected slice or volume, preferably in Bq/ml.", kinds=(PET,), check=require_pet
    ),
    options=(
        *region_options(*REGION_METHODS),
        Choice(
            "counts", "Share of counts", ("auto", *COUNT_FRACTIONS), "auto",
            "The share of the usual counts in this scan, if known: fewer counts are smoothed more.",
        ),
        Choice(
            "degrade", "Simulate degradation", ("no", *COUNT_FRACTIONS), "no",
            "Thins a full-count image in the sinogram to this share, restores it, and measures the result.",
        ),
    ),
    weights=Weights(
        "restore_pet_rat.safetensors", "medapp/restore_pet_rat", "v0.1.0",
        "b4a68f18dd37290bd0c6ee814e94494f9e8e3783cb1593dcdab981f3a2369595",
    ),
    build=partial(RAT, img_channel=6, width=16, middle_blk_num=3, limit=4096),
    run=restore,
    networks=region_networks(*REGION_METHODS),
    licence="CC BY-NC 4.0 (labels of the training data)",
    cite="Yang et al. 2024, arXiv:2407.09268; Kirillov et al. 2023, arXiv:2304.02643; Zhang et al. 2023, "
    "arXiv:2306.14289",
    trained_on="Phantoms of 18 brains and of torsos from 6 patients' CT, and 90 slices of one real FDG scan, with "
    "counts thinned in the sinogram.",
    scores="On held-out data, share of counts not given: brains (4) gain 1.5, 3.0, 5.6 and 4.6 dB at 1/2, 1/4, 1/10 "
    "and 1/20 of the counts, torsos (3) 1.8, 4.6, 8.2 and 8.1, other slices of the real scan -0.8, 1.5, 3.7 and 5.6. "
    "Against the best of Gaussian, non-local means and total variation, each tuned to the case: from 1.5 dB less "
    "(real, 1/2) to 1.3 more.",
    limits="At half the counts it can do harm unless the share of counts is given. Small hot spots hidden in noise "
    "can be smoothed away, and noise that resembles one can remain. Read uptake from the original image.",
)  # fmt: skip
