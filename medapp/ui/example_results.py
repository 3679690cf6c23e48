"""Example results: what the methods make of the examples and how it is shown, computed once for all visitors."""

import os
import threading
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from medapp.examples import Example
from medapp.imaging.volume import Volume
from medapp.presenters import get_presenter
from medapp.result import Result
from medapp.serving import runtime
from medapp.ui.array_store import ArrayStore
from medapp.ui.session import Session
from medapp.ui.viewer.scene import Scene, build_scene
from medapp.ui.workspace import create_example_folder

EXAMPLE_KINDS = ("Synthetic example.", "Example.")
Progress = Callable[[float, str], None]


@dataclass(frozen=True, eq=False)
class ExampleResult:
    """The result of an example, compared with its reference; all voxels and the scene are in files of `folder`.

    It holds nobody's data. `image` is the example's main image, `mm` (3,) where the crosshair is at first, RAS+ mm.
    """

    result: Result
    reference: Volume | None
    image: Volume | None
    mm: np.ndarray
    scene: Scene
    folder: Path
    example: Example

    def open_session(self) -> Session:
        """Create a visitor's session with this result; nothing is copied."""
        session = Session(self.result, self.mm, self.reference, self.image, is_stored=True, example=self.example)
        for file in self.folder.glob("*.gz"):
            with suppress(OSError):  # then it is written again once it is needed
                os.link(file, session.folder / file.name)
        return session


_locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)  # by example, held while it is computed
_results: dict[Example, ExampleResult] = {}


def compute_example(example: Example, progress: Progress | None = None) -> ExampleResult:
    """Run the example's method, or return the result kept from before."""
    with _locks[example.name]:
        if example not in _results:
            _results[example] = _compute(example, progress)
        return _results[example]


def _compute(example: Example, progress: Progress | None) -> ExampleResult:
    card = runtime.find_card(example.pipeline)
    presenter, volumes, truth = get_presenter(card), example.volumes(card.inputs), example.truth()
    result = runtime.run(card.name, *volumes, progress=progress, **example.settings)
    if truth is not None:
        result = presenter.recompute(result, truth, card.parse_settings(example.settings))
    folder = create_example_folder()
    store = ArrayStore(folder / "voxels")
    result = store.store_result(add_example_note(result, example))
    mm = presenter.start(result)
    scene = build_scene(presenter.view(result), folder, mm=mm, key=card.name, title=card.title)
    reference, image = (volume and store.store_volume(volume) for volume in (truth, volumes[0]))
    return ExampleResult(result, reference, image, mm, scene, folder, example)


def is_computed(example: Example) -> bool:
    """Whether the example's result is kept."""
    return example in _results


def split_example_note(notes: Sequence[str]) -> tuple[str, list[str]]:
    """Split the notes of a result into that of `add_example_note`, "" for no example, and the others."""
    if notes and notes[0].startswith(EXAMPLE_KINDS):
        return notes[0], list(notes[1:])
    return "", list(notes)


def add_example_note(result: Result, example: Example) -> Result:
    """Return the result of an example with the example's source and licence as its first note."""
    kind = EXAMPLE_KINDS[0] if example.synthetic else EXAMPLE_KINDS[1]
    about = example.about.removeprefix("Synthetic. ")
    return replace(
        result, notes=(f"{kind} {about} Source: {example.source}. Licence: {example.licence}.", *result.notes)
    )
