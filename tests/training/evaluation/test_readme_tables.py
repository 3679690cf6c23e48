"""README's figures: rewritten between marks, nowhere else, and checked."""

import json
import sys

import pytest

from medapp.serving import runtime
from training.evaluation import readme_tables

NAME = "segment_glioma_ar2unet"
TEXT = """# Toy

| Method | Score |
|---|---|
| one | <!-- score segment_glioma_ar2unet; FLAIR alone; all; {dice[mean]:.2f} ± {dice[sd]:.2f} -->?<!-- /score -->, 13 |
| two | <!-- score other; a; b; {dice[mean]:.2f} -->0.5<!-- /score --> |

<!-- table segment_glioma_ar2unet; FLAIR alone; all, HT = one site; Dice = {dice[mean]:.3f}; s = {seconds[mean]:.1f} -->
<!-- /table -->
The end.
"""


def summary(dice: float = 0.8649) -> dict:
    whole = {"dice": {"n": 13, "mean": dice, "sd": 0.0701}, "seconds": {"n": 13, "mean": 2.04, "sd": 0.1}}
    groups = {"all": whole, "HT": {**whole, "seconds": {"n": 0}}}
    return {"weights": {"sha256": runtime.find_card(NAME).weights.sha256}, "summary": {"FLAIR alone": groups}}


def test_figures_are_rewritten_between_their_marks_alone():
    new = readme_tables.fill_marks(TEXT, {NAME: summary()})
    assert "-->0.86 ± 0.07<!-- /score -->, 13 |" in new and "-->0.5<!-- /score -->" in new
    assert "\n| | Dice | s |\n|---|---|---|\n| all | 0.865 | 2.0 |\n| one site | 0.865 |  |\n<!-- /table -->" in new
    assert readme_tables.fill_marks(new, {NAME: summary()}) == new
    bare = readme_tables.MARK.sub("", TEXT)
    assert readme_tables.MARK.sub("", new) == bare and readme_tables.fill_marks(bare, {NAME: summary()}) == bare


@pytest.mark.parametrize(
    "wrong", ["FLAIR alone; none; {dice[mean]}", "none; all; {dice[mean]}", "FLAIR alone; all; {d[n]}"]
)
def test_what_was_not_evaluated_is_refused(wrong):
    with pytest.raises(ValueError, match="does not tell"):
        readme_tables.fill_marks(f"<!-- score {NAME}; {wrong} -->1<!-- /score -->", {NAME: summary()})


def test_the_command_writes_and_checks(tmp_path, monkeypatch, capsys):
    readme, file = tmp_path / "README.md", tmp_path / "summary.json"

    def run(*more: str) -> int:
        monkeypatch.setattr(sys, "argv", ["tables", str(readme), f"{NAME}={file}", *more])
        try:
            readme_tables.main()
        except SystemExit as left:
            return left.code
        return 0

    readme.write_text(TEXT, encoding="utf-8")
    file.write_text(json.dumps(summary()))
    assert run("--check") == 1 and "+| one |" in capsys.readouterr().err and readme.read_text("utf-8") == TEXT
    assert run() == 0 and run("--check") == 0
    file.write_text(json.dumps(summary(0.8)))
    assert run("--check") == 1
    file.write_text(json.dumps(summary() | {"weights": {"sha256": "0"}}))
    assert run() == 2 and "other" not in capsys.readouterr().out
