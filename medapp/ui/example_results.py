"""Example results: what the methods make of the examples, computed once for all visitors."""

import threading
from collections import defaultdict
from collections.abc import Callable

from medapp.examples import Example
from medapp.result import Result
from medapp.serving import runtime

Progress = Callable[[float, str], None]

_locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)  # by example, held while it is computed
_results: dict[Example, Result] = {}


def compute_example(example: Example, progress: Progress | None = None) -> Result:
    """What the method makes of an example; nobody's data are in it, and so it is kept."""
    with _locks[example.name]:
        if example not in _results:
            card = runtime.find_card(example.pipeline)
            volumes = example.volumes(card.inputs)
            _results[example] = runtime.run(card.name, *volumes, progress=progress, **example.settings)
        return _results[example]


def is_computed(example: Example) -> bool:
    """Whether the result is there already."""
    return example in _results
