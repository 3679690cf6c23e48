"""Published scores: updated from evaluations of the card's weights alone; the documents' tables are up to date."""

import copy
import json
import re
import shutil

import pytest

from medapp.serving import runtime
from training.evaluation import readme_tables
from training.evaluation.published_scores import format_scores, read_scores, update_scores

NAME = "segment_glioma_ar2unet"
SCORES = read_scores(readme_tables.ROOT / readme_tables.SCORES)


def summary(entry: dict, dice: float = 0.8649) -> dict:
    """What an evaluation that repeats the published figures would write, with another Dice of FLAIR alone."""
    evaluated = {
        condition: {
            group: {
                metric: {"n": 13} | {key: float(value) for key, value in values.items()} for metric, values in m.items()
            }
            for group, m in groups.items()
        }
        for condition, groups in entry["scores"].items()
    }
    evaluated["FLAIR alone"]["all"]["dice"]["mean"] = dice
    weights = {"sha256": runtime.find_card(NAME).weights.sha256}
    return {"pipeline": NAME, "weights": weights, "command": "evaluate", "summary": evaluated}


def test_documents_are_up_to_date():
    """If not: python -m training.evaluation.readme_tables."""
    readme_tables.main(["--check"])


@pytest.mark.parametrize("name", SCORES)
def test_published_scores_are_of_the_weights_of_the_card_and_stand_on_it(name):
    weights = runtime.find_card(name).weights
    assert {made["weights"] for made in (SCORES[name], *SCORES[name].get("commands", {}).values())} == {weights.sha256}
    text = (readme_tables.ROOT / "weights" / weights.file).with_suffix(".md").read_text(encoding="utf-8")
    scores = (v for groups in SCORES[name]["scores"].values() for metrics in groups.values() for v in metrics.values())
    missing = {value for values in scores for value in values.values() if float(value) and value not in text}
    assert not missing


def test_an_evaluation_replaces_its_figures_as_they_are_rounded():
    scores = copy.deepcopy(SCORES)
    update_scores(scores, summary(SCORES[NAME]))
    assert scores[NAME]["scores"]["FLAIR alone"]["all"]["dice"]["mean"] == "0.865"
    scores[NAME]["scores"]["FLAIR alone"]["all"]["dice"]["mean"] = "0.859"
    scores[NAME]["command"] = SCORES[NAME]["command"]
    assert scores == SCORES and json.loads(format_scores(scores)) == scores


def test_a_new_method_gets_all_figures_of_its_evaluation():
    scores: dict = {}
    update_scores(scores, summary(SCORES[NAME]) | {"summary": {"a": {"all": {"dice": _values(0.5), "hd95": {"n": 0}}}}})
    assert scores[NAME]["scores"] == {"a": {"all": {"dice": {"mean": "0.500", "sd": "0.500", "median": "0.500"}}}}
    assert readme_tables.format_headline(scores[NAME], "headline") == "Dice 0.50"


def _values(value: float) -> dict:
    return {"n": 2, "mean": value, "sd": value, "median": value}


def test_scores_of_other_weights_are_refused():
    with pytest.raises(ValueError, match="weights"):
        update_scores(copy.deepcopy(SCORES), summary(SCORES[NAME]) | {"weights": {"sha256": "0"}})


def test_a_part_of_the_conditions_will_do_for_the_same_weights_alone():
    part = summary(SCORES[NAME])
    del part["summary"]["three sequences"]
    scores = copy.deepcopy(SCORES)
    update_scores(scores, part)
    scores[NAME]["weights"] = "older"
    with pytest.raises(ValueError, match="three sequences"):
        update_scores(scores, part)


def test_conditions_that_are_evaluated_apart_keep_their_own_command():
    entry = copy.deepcopy(SCORES[NAME]) | {"weights": "older", "command": "older"}
    entry["commands"] = {"three sequences": {"weights": "older", "command": "older"}}
    scores, both = {NAME: entry}, summary(entry)
    apart = {"three sequences": both["summary"].pop("three sequences")}
    update_scores(scores, both)
    assert entry["command"] == "evaluate" and entry["commands"]["three sequences"]["command"] == "older"
    update_scores(scores, both | {"summary": apart, "command": "evaluate apart"})
    assert entry["command"] == "evaluate" and entry["commands"]["three sequences"]["command"] == "evaluate apart"


def test_tables_say_who_was_scored_and_what_was_not_measured():
    entry = SCORES["segment_ms_rsanet"]
    assert readme_tables.format_headline(entry, "others") != "not measured"
    assert readme_tables.format_headline({k: v for k, v in entry.items() if k != "others"}, "others") == "not measured"
    for entry in SCORES.values():
        head, _, *rows = readme_tables.make_score_table(entry).splitlines()
        assert head.split(" | ")[2] == "People" and all(row.split(" | ")[2].strip() for row in rows)


def test_the_command_writes_whole_tables_and_checks(tmp_path, capsys):
    for name in (readme_tables.README, readme_tables.BENCHMARKS, readme_tables.SCORES):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(readme_tables.ROOT / name, tmp_path / name)
    file, readme = tmp_path / "summary.json", tmp_path / readme_tables.README
    file.write_text(json.dumps(summary(SCORES[NAME], 0.5)))
    root = ["--root", str(tmp_path)]
    before = readme.read_text("utf-8")
    with pytest.raises(SystemExit) as left:
        readme_tables.main([*root, str(file), "--check"])
    assert left.value.code == 1 and "Dice 0.50" in capsys.readouterr().err and readme.read_text("utf-8") == before
    readme_tables.main([*root, str(file)])
    readme_tables.main([*root, "--check"])
    changed = [line for line in readme.read_text("utf-8").splitlines() if line not in before.splitlines()]
    assert len(changed) == 1 and "Dice 0.50 ± 0.07" in changed[0]


def test_tables_hold_no_comments():
    for name in (readme_tables.README, readme_tables.BENCHMARKS):
        lines = (readme_tables.ROOT / name).read_text("utf-8").splitlines()
        assert not [line for line in lines if line.startswith("|") and "<!--" in line]


def test_a_document_without_marks_is_refused():
    with pytest.raises(ValueError, match="methods"):
        readme_tables.replace_between_marks("# Toy", "methods", "")
    assert re.search(r"\| a \|\n\|---\|$", readme_tables.format_table([["a"]]))
