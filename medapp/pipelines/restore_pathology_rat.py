"""Super-resolution of H&E-stained microscope pictures, two or four times, region by region, by RAT."""

from dataclasses import replace
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F

from medapp.algorithms.input_checks import require_contrast, require_pixels
from medapp.algorithms.slicewise_restoration import (
    SliceCodec,
    region_networks,
    region_options,
    restoration_inputs,
    restore_slices,
    scale_grid,
)
from medapp.card import Card, Weights
from medapp.errors import InputError
from medapp.imaging.geometry import is_flat, slice_axis, to_display_slices
from medapp.imaging.volume import Volume
from medapp.networks.rat import RAT
from medapp.options import Choice
from medapp.result import Result
from medapp.simulation import microscopy

MAX_PIXELS = 4096 * 4096  # of the upsampled picture
REGION_METHODS = ("mobilesam", "superpixels", "sam_vit_b", "sam_vit_l", "sam_vit_h", "one")


def restore(
    net, image: Volume, region_map: Volume | None = None, *,
    progress, get_network=None, regions: str, points_per_side: str, scale: str, degrade: str,
) -> Result:  # fmt: skip
    """Return the picture with `scale` times the pixels in both directions, uint8, on the finer grid of the same field.

    `net` maps the bilinearly upsampled picture (1, 3, sH, sW) from 0 to 1 and labels (1, sH, sW) to the same. With
    `degrade` the picture is taken as the sharp reference and downsampled first. Raises InputError for more than one
    picture, more than 8 bits, an upsampled picture of more than 16.8 million pixels, an empty one.
    """
    progress(0.0, "Preparing the picture")
    factor = int(scale)
    image, notes = to_rgb8(image)
    require_pixels(image, 8 * factor if degrade != "no" else 8)
    pixels = int(np.prod(image.shape)) * (1 if degrade != "no" else factor**2)
    if pixels > MAX_PIXELS:
        raise InputError(
            f"The picture is too large: upsampled it would have {pixels / 1e6:.0f} million pixels, and at most "
            f"{MAX_PIXELS / 1e6:.0f} million are supported. Crop it to the part you want."
        )
    clean = None
    if degrade != "no":
        image, clean = downsample(image, factor)

    def encode(stored: np.ndarray) -> np.ndarray:
        return upsample_bilinear(stored.astype(np.float32) / 255, factor)

    def region_picture(stored: np.ndarray) -> np.ndarray:
        return np.rint(upsample_bilinear(stored.astype(np.float32), factor).transpose(1, 2, 0)).astype(np.uint8)

    def decode(answer: np.ndarray, stored: np.ndarray) -> np.ndarray:
        finer = back_project(answer.clip(0, 1), stored.astype(np.float32) / 255, factor)
        return np.rint(finer.clip(0, 1) * 255).astype(np.uint8).transpose(1, 2, 0)

    return restore_slices(
        net,
        image,
        region_map,
        SliceCodec(encode, region_picture, decode, factor, np.uint8),
        method=regions,
        points_per_side=int(points_per_side),
        get_network=get_network,
        progress=progress,
        clean=clean,
        settings={"scale": scale, "degrade": degrade},
        notes=notes,
    )


def upsample_bilinear(rgb: np.ndarray, scale: int) -> np.ndarray:
    """Upsample (h, w, 3) to (3, scale·h, scale·w): the network's input."""
    x = torch.from_numpy(np.ascontiguousarray(rgb)).permute(2, 0, 1)[None]
    return F.interpolate(x, scale_factor=scale, mode="bilinear", align_corners=False)[0].numpy()


def back_project(answer: np.ndarray, rgb: np.ndarray, scale: int) -> np.ndarray:
    """Correct the output (3, scale·h, scale·w) so that its local means are nearer the picture (h, w, 3).

    One step of iterative back-projection (Irani and Peleg 1991, CVGIP 53:231), which suits downsampling by area best.
    """
    y, x = torch.from_numpy(answer)[None], torch.from_numpy(rgb).permute(2, 0, 1)[None]
    missing = x - F.avg_pool2d(y, scale)
    return (y + F.interpolate(missing, scale_factor=scale, mode="bicubic", align_corners=False))[0].numpy()


def downsample(image: Volume, scale: int) -> tuple[Volume, Volume]:
    """Return the picture with pixels `scale` times larger, and the part of the original that it covers."""
    depth = slice_axis(image.grid)
    covered = tuple(slice(n if axis == depth else n // scale * scale) for axis, n in enumerate(image.shape))
    clean = image.new_like(image.array[covered], name="reference")
    degraded = microscopy.degrade_picture(
        to_display_slices(clean.array, clean.grid, depth)[0].astype(np.float32) / 255, scale
    )
    shape = [n if axis == depth else n // scale for axis, n in enumerate(clean.shape)]
    coarse_array = np.empty((*shape, 3), np.uint8)
    coarse = scale_grid(clean.grid, depth, 1 / scale)
    to_display_slices(coarse_array, coarse, depth)[0] = np.rint(degraded.clip(0, 1) * 255).astype(np.uint8)
    return image.new_like(coarse_array, affine=coarse.affine, name=f"{image.name}, {scale} times smaller"), clean


def to_rgb8(image: Volume) -> tuple[Volume, tuple[str, ...]]:
    """Return the picture in 8-bit RGB, and notes on it. Raises InputError for anything but one such picture."""
    if not is_flat(image.grid):
        raise InputError("This method takes one picture, not a stack of slices; upload one page or slice.")
    require_contrast(image)
    array = image.array
    if array.dtype != np.uint8:
        if array.min() < 0 or array.max() > 255:
            raise InputError("This method takes pictures with 8 bits per colour; convert the values to 0 to 255.")
        array = np.rint(array).astype(np.uint8)
    notes = image.remarks
    if not image.is_colour:
        notes += ("The picture is grey; the method was trained on coloured pictures of H&E stains.",)
        array = np.repeat(array[..., None], 3, axis=3)
    elif not has_he_colours(array):
        notes += ("The colours are not those of H&E (pink and purple), the only stain that the method was trained on.",)
    return replace(image, array=array), notes


def has_he_colours(rgb: np.ndarray) -> bool:
    """Whether most coloured pixels of (..., 3) uint8 absorb green more than red and blue, as H&E does."""
    red, green, blue = (rgb[..., c].astype(np.float32).ravel()[:: max(1, rgb.size // 600_000)] for c in range(3))
    strong = np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue) > 20
    if strong.mean() < 0.02:
        return False
    pink = (green <= red + 5) & (green <= blue + 5)
    return bool(pink[strong].mean() > 0.6)


CARD = Card(
    name="restore_pathology_rat",
    task="restoration",
    presenter="restoration",
    title="H&E super-resolution (RAT)",
    about="Upsamples a picture of an H&E-stained section two or four times and sharpens it.",
    inputs=restoration_inputs(
        "H&E picture", "One field as PNG, JPEG or TIFF, not a whole slide.", colour=True, check=to_rgb8
    ),
    options=(
        *region_options(*REGION_METHODS),
        Choice("scale", "Scale factor", ("2", "4"), "2", "By how much each side of the picture grows, in pixels."),
        Choice(
            "degrade", "Simulate degradation", ("no", "yes"), "no",
            "Downsamples a sharp picture through blurring optics, restores it, and measures the result.",
        ),
    ),
    weights=Weights(
        "restore_pathology_rat.safetensors", "medapp/restore_pathology_rat", "v0.1.0",
        "c772f2b67255d9439d135ae1dd7865d92ad8b2a9d80eea146a5a7b7e0df38170",
    ),
    build=partial(RAT, img_channel=3, width=24, middle_blk_num=3, limit=4096),
    run=restore,
    networks=region_networks(*REGION_METHODS),
    licence="CC BY-NC-SA 4.0 (fields of the training data)",
    cite="Yang et al. 2024, arXiv:2407.09268; Kirillov et al. 2023, arXiv:2304.02643; Zhang et al. 2023, "
    "arXiv:2306.14289",
    trained_on="20 fields of MoNuSeg (H&E, 40×, one per patient), downsampled by area, bicubic and Lanczos filters, "
    "in part with blur, noise and JPEG.",
    scores="6 fields of held-out patients: 1.7 to 2.0 dB over bicubic upsampling at ×2, 2.0 to 2.1 at ×4, depending "
    "on how the picture was downsampled.",
    limits="Added detail is likely, not observed: never count or grade on it. It was trained only on downsampled "
    "pictures at 40×; other magnifications, stains and compressed pictures differ.",
)  # fmt: skip
