"""Weights for gliomas are scored on the sites that they were not trained on."""

import csv

import pytest
from safetensors.torch import save_file

from medapp.pipelines.segment_glioma_ar2unet import build_network
from training.core.smoke import make_gliomas
from training.data.glioma_patients import study_site
from training.evaluation.glioma_conditions import main
from training.methods.segment_glioma_ar2unet import leave_sites


def test_a_site_is_left_out_of_training_whole():
    names = [f"TCGA_{site}_{number:04d}_19990101" for site in ("CS", "DU") for number in range(20)]
    parts = leave_sites(names, ["DU"])
    assert {study_site(name) for name in parts["test"]} == {"DU"} and len(parts["test"]) == 20
    assert {study_site(name) for name in parts["train"] + parts["validation"]} == {"CS"}
    assert len(parts["train"]) + len(parts["validation"]) == 20


def test_people_of_a_site_are_scored_by_its_weights_once(tmp_path, capsys):
    make_gliomas(tmp_path)
    site = study_site(min(p.name for p in tmp_path.iterdir()))
    weights, out = tmp_path.parent / "w.safetensors", tmp_path.parent / "rows.csv"
    save_file(build_network().state_dict(), weights)
    arguments = [str(tmp_path), f"{site}={weights}", "--out", str(out), "--conditions", "FLAIR alone"]
    main(arguments)
    table = capsys.readouterr().out
    rows = list(csv.DictReader(out.open()))
    assert {row["group"] for row in rows} == {site} and len(rows) == 6 and "| FLAIR alone | 6 |" in table
    main(arguments)
    again = capsys.readouterr().out
    assert "TCGA" not in again and again.strip() in table, "nothing is computed twice"
    with pytest.raises(SystemExit):
        main([str(tmp_path), f"XX={weights}", "--out", str(out)])
