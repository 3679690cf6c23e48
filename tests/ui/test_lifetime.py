"""What visitors leave is gone after its time: uploads, what was served, and results; here after seconds."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_what_was_left_is_gone_after_its_time():
    given = os.environ | {"MEDAPP_LIFETIME": "6", "PYTHONPATH": str(ROOT)}
    given.pop("GRADIO_TEMP_DIR", None)
    process = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("short_lifetime_app.py"))],
        env=given,
        capture_output=True,
        check=True,
    )
    then, later = (json.loads(line) for line in process.stdout.decode().splitlines() if line.startswith("{"))
    assert then["scan.nii"] >= 1 and then["mask.nii"] >= 1 and then["sessions"] == 1
    assert later["scan.nii"] == later["mask.nii"] == 0
