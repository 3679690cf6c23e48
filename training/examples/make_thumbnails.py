"""Write the thumbnails of the examples: the image, and beside it what the method makes of it.

`python -m training.examples.make_thumbnails [NAME ...]` computes the examples anew, all or those named, which takes a
few minutes, and writes `thumbnail.webp` beside their images.
"""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from medapp import examples
from medapp.examples import Example
from medapp.presenters import get_presenter
from medapp.rendering import planes
from medapp.rendering.layers import Layer
from medapp.rendering.slice_grids import find_plane, is_flat
from medapp.result import Result
from medapp.serving import runtime

SIDE, GAP = 192, 4  # pixels
DETAIL_PIXELS = 230  # of a flat image at most, so that its noise is seen
MASK_OPACITY = 0.7


def main() -> None:
    """Write them, and say how large they are."""
    names = sys.argv[1:]
    for example in examples.every():
        if example.name in names or (not names and example.pipeline in runtime.load_cards()):
            card = runtime.find_card(example.pipeline)
            result = runtime.run(card.name, *example.volumes(card.inputs), **example.settings)
            file = write_thumbnail(example, result)
            print(f"{example.name}: {file.stat().st_size / 1000:.1f} kB", flush=True)


def write_thumbnail(example: Example, result: Result) -> Path:
    """Write the two pictures of an example side by side; returns the file."""
    card = runtime.find_card(example.pipeline)
    layers, mm = get_presenter(card).layers(result), get_presenter(card).start(result)
    pair = [draw_square(each, mm) for each in choose_layers(layers)]
    sheet = np.concatenate([pair[0], np.zeros((SIDE, GAP, 3), np.uint8), pair[1]], axis=1)
    file = examples.thumbnail_file(example)
    Image.fromarray(sheet).save(file, quality=74, method=6)
    return file


def choose_layers(layers: dict[str, Layer]) -> tuple[list[Layer], list[Layer]]:
    """Choose the layers of the picture before and of that after, out of a presenter's, the result's image first."""
    images = [full(layer) for layer in layers.values() if layer.kind == "image"]
    masks = [layer for layer in layers.values() if layer.kind == "mask" and layer.opacity]
    if masks:
        return images[:1], [images[0], replace(masks[0], opacity=MASK_OPACITY, contour=0)]
    if "Displacement" in layers:
        return images[1:2], [images[1], full(layers["Displacement"], 0.85)]
    return images[1:2], images[:1]


def full(layer: Layer, opacity: float = 1.0) -> Layer:
    """The layer, to be seen."""
    return Layer(layer.volume, layer.kind, layer.window, opacity=opacity, colour_map=layer.colour_map)


def draw_square(layers: list[Layer], mm: np.ndarray, side: int = SIDE) -> np.ndarray:
    """Draw the layers through a point (RAS+ mm), the head or the middle of a flat image: uint8 (side, side, 3)."""
    image = layers[0].volume
    extent = planes.find_field_of_view(layers[:1])
    plane = find_plane(image.grid) if is_flat(image.grid) else "axial"
    picture = Image.fromarray(planes.draw_plane(layers, plane, mm, extent=extent, pixel=find_pixel(extent, side)))
    if is_flat(image.grid):
        share = min(1.0, DETAIL_PIXELS / max(image.shape))
        width, height = (n * share / 2 for n in picture.size)
        x, y = picture.width / 2, picture.height / 2
        picture = picture.crop((round(x - width), round(y - height), round(x + width), round(y + height)))
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    square = Image.new("RGB", (side, side))
    square.paste(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
    return np.asarray(square)


def find_pixel(extent: np.ndarray, side: int) -> float:
    """Millimetres of a pixel at which the box fills twice a square of `side` pixels."""
    return float(np.sort(extent[1] - extent[0])[-1]) / (2 * side)


if __name__ == "__main__":
    main()
