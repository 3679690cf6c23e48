"""Checks that every reader shares."""

from pathlib import Path

import pytest

from medapp.io.validation import safe_text, translate_errors


def test_running_out_of_memory_is_passed_on() -> None:
    with pytest.raises(MemoryError), translate_errors(Path("a"), "NIfTI"):
        raise MemoryError
    assert safe_text(Path("/home/somebody/a b.nii")) == "a b.nii" and len(safe_text("x" * 500)) == 60
