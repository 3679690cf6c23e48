"""Every method of a tab that has a case shows on its card how it fails."""

import pytest

from medapp.serving import runtime
from training.examples.make_failures import CASES, OUT

MAX_BYTES = 60_000


@pytest.mark.parametrize("name", CASES)
def test_a_card_shows_how_its_method_fails(name):
    picture = OUT / f"{name}.webp"
    text = (OUT.parents[1] / "weights" / f"{name}.md").read_text(encoding="utf-8")
    assert name in runtime.load_cards() and f"(../docs/failures/{picture.name})" in text
    assert 0 < picture.stat().st_size <= MAX_BYTES
