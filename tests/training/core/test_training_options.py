"""The options that every training has."""

import pytest

from medapp.errors import InputError
from training.core.options import STEPS_PER_EPOCH, TrainingParser
from training.core.run import CHECKPOINT


def options(**more) -> TrainingParser:
    return TrainingParser("Trains.", rate=1e-3, every=10, **more)


def test_epochs_are_so_many_steps_where_patches_are_drawn_by_chance(tmp_path):
    where = ["--data", str(tmp_path), "--out", str(tmp_path / "out")]
    assert options(steps=700).parse_arguments(where).steps == 700
    assert options(steps=700).parse_arguments([*where, "--epochs", "3"]).steps == 3 * STEPS_PER_EPOCH
    assert (
        "steps" not in options(epochs=4).parse_arguments(where) and options(epochs=4).parse_arguments(where).epochs == 4
    )


def test_resuming_needs_something_to_go_on_from(tmp_path, capsys):
    where = ["--data", str(tmp_path), "--out", str(tmp_path / "out"), "--resume"]
    with pytest.raises(SystemExit):
        options(steps=7).parse_arguments(where)
    assert "checkpoint.pt" in capsys.readouterr().err
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / CHECKPOINT).touch()
    assert options(steps=7).parse_arguments(where).resume


def test_what_is_wrong_with_the_data_is_told_in_a_sentence(tmp_path, capsys):
    def train(args) -> None:
        raise InputError("There is nothing.")

    with pytest.raises(SystemExit, match="1"):
        options(steps=7).run_training(train, ["--data", str(tmp_path), "--out", str(tmp_path)])
    assert capsys.readouterr().err == "There is nothing.\n"
