"""Denoising of low-dose CT, slice by slice and region by region, by RAT."""

from dataclasses import replace
from functools import partial

import numpy as np

from medapp.algorithms.input_checks import refuse_modality, require_contrast, require_grey, require_pixels
from medapp.algorithms.slicewise_restoration import (
    SliceCodec,
    map_slices,
    measure_pixel_mm,
    region_networks,
    region_options,
    restoration_inputs,
    restore_slices,
)
from medapp.analysis.image_quality import estimate_noise
from medapp.card import Card, Weights
from medapp.imaging.hounsfield import HU_OFFSET, has_air, is_1024_too_high, is_1024_too_low
from medapp.imaging.modality import detect_modality
from medapp.imaging.scan_kinds import CT
from medapp.imaging.volume import Volume
from medapp.networks.rat import RAT
from medapp.options import Choice
from medapp.result import Result
from medapp.simulation import low_dose_ct

MIN_HU = -1024  # below it voxels are returned unchanged
MAX_HU = 3071  # above it likewise
HU_SCALE = 400  # HU that the network sees as 1
REGION_WINDOW = (-200, 300)  # HU, of the picture in which regions are found
LOW_NOISE_HU = 10.0  # about the noise of full dose on thick slices; a quarter of the dose has twice as much
DOSE_FRACTIONS = {"half dose": 0.5, "quarter dose": 0.25, "tenth dose": 0.1}
NOT_CT_WARNING = (
    "This does not look like CT, and the method was trained on CT alone: do not trust the result, least of all on MR. "
    "The values were stretched to -160 to 240 HU, and the result back. Upload a CT in Hounsfield units."
)
LOWERED_HU_NOTE = (
    "The values look like Hounsfield units minus 1024, as if that had been subtracted twice: soft tissue lies near "
    "-1024. 1024 was added for the network; the result has the values of the file, 1024 below HU."
)
REGION_METHODS = ("mobilesam", "superpixels", "sam_vit_b", "sam_vit_l", "sam_vit_h", "one")


def restore(
    net,
    image: Volume,
    region_map: Volume | None = None,
    *,
    progress,
    get_network=None,
    regions: str,
    points_per_side: str,
    degrade: str,
) -> Result:
    """Return the image with less noise, float32 in its own unit and on its own grid.

    `net` maps HU / HU_SCALE (1, 1, H, W) float32 and labels (1, H, W) to the same. An image without HU is stretched to
    them from its 1st and 99.5th percentile, and its result back. Raises InputError for colour, PET, an empty image.
    """
    progress(0.0, "Preparing the scan")
    require_ct(image)
    warning = doubt_ct(image)
    image, gain, offset, notes = to_hounsfield(image)
    clean = None
    if degrade != "no":
        clean, pixel = image, measure_pixel_mm(image.grid)

        def lower(n: int, hu: np.ndarray) -> np.ndarray:
            low = low_dose_ct.lower_dose(hu * gain + offset, pixel, DOSE_FRACTIONS[degrade], seed=n)
            return (low - offset) / gain

        image = map_slices(image, lower, progress, f"Simulating {degrade}")
        clean = clean.new_like(clean.array.astype(np.float32), name="reference")
        image = replace(image, name=f"{image.name}, {degrade}")
    elif image.unit == "HU":
        level = estimate_noise(image)
        if level is not None and level < LOW_NOISE_HU:
            notes += (
                f"The noise in soft tissue is only {level:.1f} HU: the image is clean already, and denoising gains "
                "little and may lose fine detail.",
            )

    def encode(stored: np.ndarray) -> np.ndarray:
        hu = stored.astype(np.float32) * gain + offset
        return scale_hu(hu)

    def region_picture(stored: np.ndarray) -> np.ndarray:
        return (stored.astype(np.float32) * gain + offset).clip(*REGION_WINDOW)

    def decode(answer: np.ndarray, stored: np.ndarray) -> np.ndarray:
        hu = stored.astype(np.float32) * gain + offset
        inside = (hu >= MIN_HU) & (hu <= MAX_HU)
        return np.where(inside, (answer[0] * HU_SCALE - offset) / gain, stored)

    result = restore_slices(
        net,
        image,
        region_map,
        SliceCodec(encode, region_picture, decode),
        method=regions,
        points_per_side=int(points_per_side),
        get_network=get_network,
        progress=progress,
        clean=clean,
        settings={"degrade": degrade},
        notes=notes,
    )
    return replace(result, warnings=(warning,) if warning else (), doubt="Not a CT?" if warning else "")


def require_ct(image: Volume) -> None:
    """Raise InputError for colour, PET, an empty image, tiny slices."""
    require_grey(image)
    refuse_modality(image, {"PET"}, "CT")
    require_contrast(image)
    require_pixels(image)


def doubt_ct(image: Volume) -> str:
    """Return a warning for MR and for an image without Hounsfield units, else ""."""
    if detect_modality(image) == "MR":
        return f"{image.name}: its header says that it is MR. {NOT_CT_WARNING}"
    array = image.array
    if not (image.unit == "HU" or has_air(array) or is_1024_too_low(array) or is_1024_too_high(array)):
        return f"{image.name}: it has no Hounsfield units and no air below -200. {NOT_CT_WARNING}"
    return ""


def scale_hu(hu: np.ndarray) -> np.ndarray:
    """Scale HU (H, W) to what the network sees: (1, H, W) float32."""
    return (hu.clip(MIN_HU, MAX_HU) / HU_SCALE).astype(np.float32)[None]


def to_hounsfield(image: Volume) -> tuple[Volume, float, float, tuple[str, ...]]:
    """Return the image, the gain and offset with which HU = gain × value + offset, and notes on them."""
    notes = image.remarks
    if image.unit == "HU":
        return image, 1.0, 0.0, notes
    if is_1024_too_low(image.array) and not _is_mr(image):
        return image, 1.0, float(HU_OFFSET), (*notes, LOWERED_HU_NOTE)
    if has_air(image.array):
        return replace(image, unit="HU"), 1.0, 0.0, (*notes, "The file gives no unit; its values were taken as HU.")
    if is_1024_too_high(image.array) and not _is_mr(image):
        notes += (
            "The values look like Hounsfield units plus 1024, as scanners store them: soft tissue lies near 1024 and "
            "hardly anything below 0. 1024 was subtracted for the network; the result has the values of the file, 1024 "
            "above HU.",
        )
        return image, 1.0, -float(HU_OFFSET), notes
    few = image.array.ravel()[:: max(1, image.array.size // 1_000_000)].astype(np.float32)
    low, high = np.percentile(few, (1, 99.5))
    high = max(high, low + 1e-6 * max(abs(low), 1))
    gain = (240 + 160) / float(high - low)
    return image, gain, -160 - gain * float(low), notes


def _is_mr(image: Volume) -> bool:
    return bool(image.headers) and image.headers[0].get("Modality") == "MR"


CARD = Card(
    name="restore_ct_rat",
    task="restoration",
    presenter="restoration",
    title="Low-dose CT (RAT)",
    about="Denoises CT of about a quarter of the usual dose, slice or series, in Hounsfield units.",
    inputs=restoration_inputs(
        "CT",
        "A slice or series of any part of the body, DICOM or NIfTI in Hounsfield units.",
        kinds=(CT,),
        check=require_ct,
        doubt=doubt_ct,
    ),
    options=(
        *region_options(*REGION_METHODS),
        Choice(
            "degrade", "Simulate degradation", ("no", *DOSE_FRACTIONS), "no",
            "Lowers the dose of a clean image by forward projection, restores it, and measures the result.",
        ),
    ),
    weights=Weights(
        "restore_ct_rat.safetensors", "medapp/restore_ct_rat", "v0.1.0",
        "e55653f71ea26d3ac29a3774a635b142979d0bdb83ec5b7da5d704e3741ef00c",
    ),
    build=partial(RAT, img_channel=1, width=24, middle_blk_num=3, limit=4096),
    run=restore,
    networks=region_networks(*REGION_METHODS),
    licence="CC BY 4.0",
    cite="Yang et al. 2024, arXiv:2407.09268; Kirillov et al. 2023, arXiv:2304.02643; Zhang et al. 2023, "
    "arXiv:2306.14289",
    trained_on="7 patients of chest, abdomen and head CT at full dose (The Cancer Imaging Archive and others, see "
    "NOTICE), reduced to lower doses by forward projection, Poisson and electronic noise and filtered back "
    "projection. It was trained on no real low-dose scan.",
    scores="3 held-out patients, simulated quarter dose: PSNR 46.4 ± 2.9 dB, SSIM 0.975 ± 0.020, against 42.4 and "
    "0.937 of the input; 1.08 dB over BM3D, 0.96 over non-local means and 1.36 over total variation, each tuned to "
    "the case. Mean bias 0.3 HU.",
    limits="Not a substitute for dose where a finding is at the edge of visibility: what is lost in noise is not "
    "recovered. It removes noise, not streaks from metal or few views.",
)  # fmt: skip
