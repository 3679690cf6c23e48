"""Changes of MS against masks: a lesion that is there only later is new, and counts as found where it is."""

from types import SimpleNamespace

import numpy as np

from medapp.imaging.volume import Volume
from medapp.result import Metric, Table
from training.evaluation import ms_change_detection


def mask(*boxes) -> Volume:
    array = np.zeros((30, 30, 30), np.uint8)
    for a in boxes:
        array[a : a + 4, a : a + 4, a : a + 4] = 1
    return Volume(array, np.eye(4), labels={1: "lesion"})


def test_new_lesions_are_counted_where_they_are(tmp_path, monkeypatch, capsys):
    scans = {"x_P1_T1": mask(2), "x_P1_T2": mask(2, 12, 20), "x_P2_T1": mask(2)}
    (tmp_path / "ms").mkdir()
    for name in scans:
        (tmp_path / "ms" / f"{name}_flair.nii.gz").touch()
    monkeypatch.setattr(ms_change_detection, "read_patient", lambda data, name: (name, None, scans[name]))
    asked = []

    def run(method, flair, t1, t2, earlier):
        asked.append((flair, earlier))
        change = mask(12, 25)  # one of the two new ones, and one that is not there
        table = Table(("lesion", "fate"), ((1, "new"), (2, "new"), (3, "stable")))
        volume = Metric(0.2, "ml")
        return SimpleNamespace(
            volumes={"change": change}, tables={"change": table}, metrics={"volume_before": volume, "volume": volume}
        )

    monkeypatch.setattr(ms_change_detection.runtime, "run", run)
    ms_change_detection.main([str(tmp_path), "--out", str(tmp_path / "out.csv"), "--patient", "P1", "P2"])
    assert asked == [("x_P1_T2", "x_P1_T1")]
    said = capsys.readouterr().out
    assert "new 2, new_true 2" in said and "stable 1, stable_true 1" in said
    assert "new_hit 1, found_hit 1" in said and "ml_before_true 0.064" in said
    assert (tmp_path / "out.csv").read_text().count("\n") == 2
