"""Everything works on a machine that is cut off: the app starts and answers where no network is to be had."""

import json
import os
import shutil
import subprocess
import sys

import closed
import pytest

from benchmarks import serving

ALONE = ("unshare", "-rn")


def closable() -> bool:
    """Whether this user may make a network namespace, as not every container allows."""
    return bool(shutil.which(ALONE[0])) and not subprocess.run([*ALONE, "true"], capture_output=True).returncode


@pytest.mark.skipif(not closable(), reason="no network namespaces here")
def test_the_app_answers_without_a_network(tmp_path):
    command, given = [*ALONE, sys.executable, closed.__file__], os.environ | {"PYTHONPATH": str(serving.ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=400, cwd=tmp_path, env=given)
    assert done.returncode == 0, done.stderr[-2000:]
    told = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert [each["pipeline"] for each in told] == list(closed.ASKED)
    assert all(each["files"] >= 2 for each in told)
