"""Write the first view of each tab: what the page shows of one example before anything is computed.

`python -m training.examples.make_first_views` computes the examples anew, which takes a few minutes, and writes the
folder `first_view` beside their images. To be run after any change of what the methods give or the stage shows.
"""

import argparse
import gzip
import re
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from medapp import examples
from medapp.examples import Example
from medapp.imaging.volume import Volume
from medapp.presenters import get_presenter
from medapp.presenters.comparison import prepare_comparison
from medapp.rendering.layers import Layer
from medapp.rendering.view import View
from medapp.result import Result
from medapp.serving import runtime
from medapp.ui.first_view import find_folder, read_first_view, write_first_view
from medapp.ui.viewer.scene import build_scene
from medapp.ui.viewer.texture_files import write_file

CHOSEN = ("stroke_whole_head", "pathology_twice", "known_deformation")
LEFT_OUT = ("MNI template, aligned", "Jump at borders")  # for size; they are there once something is computed
IMAGE_LEVELS, MAP_LEVELS = 64, 26  # of the window: finer steps hardly show
ROUNDING = 0.03  # of a number, by which processors with and without a 16-bit type differ
FRACTION = re.compile(r"-?\d+\.\d+(?:e-?\d+)?")


def main() -> None:
    """Write all of them, and say how large they are; or compare them, and end with 1 if any differs."""
    parser = argparse.ArgumentParser(description="Write the first view of each tab.")
    parser.add_argument("--check", action="store_true", help="compare what is there with what the methods give")
    check, differences = parser.parse_args().check, []
    for example in examples.every():
        if example.name not in CHOSEN:
            continue
        if check:
            differences += find_differences(example, compute_result(example))
        else:
            folder = write_view(example, compute_result(example))
            print(f"{example.name}: {sum(file.stat().st_size for file in folder.iterdir()) / 1e6:.2f} MB")
    if differences:
        raise SystemExit("\n".join(differences))


def compute_result(example: Example) -> Result:
    """Run the example's method and compare with the example's reference, as the page does."""
    card = runtime.find_card(example.pipeline)
    volumes = example.volumes(card.inputs)
    result = runtime.run(card.name, *volumes, **example.settings)
    given = dict(zip((i.name for i in card.inputs), volumes, strict=True))
    return prepare_comparison(card, given, example.truth).apply(get_presenter(card), result, result.settings)[0]


def write_view(example: Example, result: Result) -> Path:
    """Write the first view of an example; returns its folder."""
    card, folder = runtime.find_card(example.pipeline), find_folder(example)
    presenter = get_presenter(card)
    shutil.rmtree(folder, ignore_errors=True)
    view = reduce_view(presenter.view(result))
    scene = build_scene(view, folder, mm=presenter.start(result), key=card.name, title=card.title)
    for file in folder.iterdir():
        write_file(file, gzip.compress(gzip.decompress(file.read_bytes()), 9, mtime=0))
    facts = result.facts() | {"device": "", "engine": "", "seconds": 0, "peak_memory_mb": 0, "versions": {}}
    write_first_view(folder, scene, presenter.headline(result), facts)
    return folder


def find_differences(example: Example, result: Result) -> list[str]:
    """List what the first view of an example says otherwise than a result: headline, metrics, tables, regions.

    Numbers may differ as much as they do from one processor to another.
    """
    shipped, presenter = read_first_view(example), get_presenter(runtime.find_card(example.pipeline))
    pairs = {
        "headline": (shipped.headline, presenter.headline(result)),
        "metrics": (dict(shipped.result.metrics), dict(result.metrics)),
        "tables": ([t.csv() for t in shipped.result.tables.values()], [t.csv() for t in result.tables.values()]),
    }
    with TemporaryDirectory() as folder:
        scene = build_scene(reduce_view(presenter.view(result)), Path(folder))
    if scene.regions is not None and shipped.scene.regions is not None:  # files are named by their content
        names = [Path(regions.texture.file.path).name for regions in (shipped.scene.regions, scene.regions)]
        pairs["regions"] = names[0], names[1]
    return [
        f"{example.name}: {name} is {old}, not {new}" for name, (old, new) in pairs.items() if not is_alike(old, new)
    ]


def is_alike(old: object, new: object) -> bool:
    """Whether two values read alike but for numbers that differ by at most ROUNDING of them."""
    (texts, numbers), (other_texts, other_numbers) = (split_numbers(str(value)) for value in (old, new))
    return texts == other_texts and np.allclose(numbers, other_numbers, rtol=ROUNDING, atol=0)


def split_numbers(text: str) -> tuple[list[str], list[float]]:
    """Return a text without its decimal fractions, and these; whole numbers and file names are text."""
    return FRACTION.split(text), [float(number) for number in FRACTION.findall(text)]


def reduce_view(view: View) -> View:
    """The view with fewer grey values, and without what is seldom looked at."""
    layers: Mapping[str, Layer] = {title: layer for title, layer in view.layers.items() if title not in LEFT_OUT}
    return replace(view, layers={title: reduce_layer(layer) for title, layer in layers.items()})


def reduce_layer(layer: Layer) -> Layer:
    """The layer with values in steps of its window; masks, colours and images of few values stay."""
    volume, window = layer.volume, layer.window
    if layer.kind == "mask" or volume.is_colour or window is None or volume.unit == "HU":
        return layer
    step = (window.high - window.low) / (MAP_LEVELS if layer.kind == "heat" else IMAGE_LEVELS)
    return replace(layer, volume=round_values(volume, step))


def round_values(volume: Volume, step: float) -> Volume:
    """The volume with values rounded to steps, whole ones if they are larger than 1; 0 stays 0."""
    if volume.array.dtype.kind in "iub" and step < 2:
        return volume
    whole = np.floor(step) if step >= 1 else step
    return volume.new_like((np.rint(volume.array / whole) * whole).astype(np.float32), headers=())


if __name__ == "__main__":
    main()
