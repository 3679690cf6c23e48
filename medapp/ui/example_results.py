"""Example results: what the methods make of the examples, computed once for all visitors."""

import threading
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace

from medapp.examples import Example
from medapp.result import Result
from medapp.serving import runtime

Progress = Callable[[float, str], None]
KINDS = ("Synthetic example.", "Example.")  # how the note of an example begins

_locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)  # by example, held while it is computed
_results: dict[Example, Result] = {}


def compute_example(example: Example, progress: Progress | None = None) -> Result:
    """Run the example's method, or return the result kept from before; it holds nobody's data."""
    with _locks[example.name]:
        if example not in _results:
            card = runtime.find_card(example.pipeline)
            volumes = example.volumes(card.inputs)
            _results[example] = runtime.run(card.name, *volumes, progress=progress, **example.settings)
        return _results[example]


def is_computed(example: Example) -> bool:
    """Whether the example's result is kept."""
    return example in _results


def add_example_note(result: Result, example: Example) -> Result:
    """Return the result of an example with the example's source and licence as its first note."""
    kind = KINDS[0] if example.synthetic else KINDS[1]
    about = example.about.removeprefix("Synthetic. ")
    return replace(
        result, notes=(f"{kind} {about} Source: {example.source}. Licence: {example.licence}.", *result.notes)
    )


def find_example_note(notes: Sequence[str]) -> str:
    """Return the note that `add_example_note` has added; "" without one."""
    return next((note for note in notes if note.startswith(KINDS)), "")
