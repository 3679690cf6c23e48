"""An example is computed once for all; every visitor has a session of their own on it."""

from dataclasses import replace

import numpy as np
import pytest

from medapp import examples
from medapp.imaging.volume import Volume
from medapp.serving import runtime
from medapp.ui import example_results
from medapp.ui.first_view import read_first_view

EXAMPLE = next(example for example in examples.every() if example.name == "pathology_twice")


@pytest.fixture
def computed(monkeypatch):
    """The example's result, with the method's answer replaced by one that takes no time."""
    card = runtime.find_card(EXAMPLE.pipeline)
    image = EXAMPLE.volumes(card.inputs)[0]
    restored = Volume(np.tile(image.array, (2, 2, 1) if image.array.ndim == 3 else (2, 2, 1, 1)), image.affine)
    runs = []

    def run(name: str, *volumes: Volume, **rest: object):
        runs.append(name)
        facts = read_first_view(EXAMPLE).result
        return replace(facts, volumes={"image": restored, "restored": restored}, notes=())

    monkeypatch.setattr(example_results.runtime, "run", run)
    monkeypatch.setattr(example_results, "_results", {})
    first, second = (example_results.compute_example(EXAMPLE) for _ in range(2))
    assert first is second and runs == [EXAMPLE.pipeline]
    return first


def test_who_leaves_takes_nothing_from_the_next_visitor(computed):
    one, other = computed.open_session(), computed.open_session()
    before = other.result.volumes["restored"].array.copy()
    one.close()
    assert not one.folder.exists()
    assert np.array_equal(other.result.volumes["restored"].array, before)
    assert computed.open_session().result is computed.result
    other.close()


def test_voxels_and_pictures_are_written_once_for_all(computed):
    session = computed.open_session()
    assert not (session.folder / "voxels").exists()
    made = {file.name for file in computed.folder.glob("*.gz")}
    assert made and made == {file.name for file in session.folder.glob("*.gz")}
    assert all(file.stat().st_nlink > 1 for file in session.folder.glob("*.gz"))
    session.close()
