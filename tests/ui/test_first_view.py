"""The results that ship with the app are small, and those that the methods give."""

import pytest

from medapp.presenters.task import TASKS
from medapp.serving import runtime
from medapp.ui.first_view import find_folder, load_first_view
from training.examples.make_first_views import compute_result, find_differences, is_alike

MAX_BYTES = 2_500_000


@pytest.mark.parametrize("task", TASKS)
def test_every_tab_begins_with_a_small_result_of_the_weights_in_use(task):
    view = load_first_view(task)
    card = runtime.find_card(view.example.pipeline)
    assert view.result.provenance.weights["sha256"] == card.weights.sha256
    assert set(view.result.settings) == set(card.parse_settings(view.example.settings))
    files = {path.name: path.stat().st_size for path in find_folder(view.example).iterdir()}
    assert sum(files.values()) < MAX_BYTES
    shown = {name for name in files if name in str(view.scene)}
    assert shown == set(files) - {"view.json"} and len(shown) > 3, "all that is shown is there, and nothing else"
    assert view.headline and view.result.notes


def test_it_is_what_the_method_gives_today():
    """For the quickest of them; `python -m training.examples.make_first_views --check` looks at all."""
    example = load_first_view("restoration").example
    assert find_differences(example, compute_result(example)) == []


def test_numbers_may_differ_as_processors_do_and_words_may_not():
    assert is_alike("PSNR 33.2 to 34.9 dB", "PSNR 33.2 to 34.8 dB")
    assert is_alike({"bias": 0.002536}, {"bias": 0.0024949})
    assert not is_alike("PSNR 33.2 to 34.9 dB", "PSNR 33.2 to 31.9 dB")
    assert not is_alike("PSNR 33.2 dB", "SSIM 33.2 dB") and not is_alike("2 regions", "3 regions")
    assert not is_alike("0.5 ml", "0.5 ml, 0.6 ml")
