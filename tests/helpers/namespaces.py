"""Namespaces: where a test has a network or a disk of its own."""

import os
import shutil
import subprocess
import sys

from benchmarks import serving


def allowed(flags: str, *command: str) -> bool:
    """Whether this user may make such a namespace and run a command in it, as not every container allows."""
    unshare = ["unshare", flags, *command]
    return bool(shutil.which("unshare")) and not subprocess.run(unshare, capture_output=True).returncode


def run(flags: str, script: str, *arguments: str, **more: object) -> str:
    """What a Python script of ours prints in one; fails with what it says where it fails."""
    given = os.environ | {"PYTHONPATH": str(serving.ROOT)}
    command = ["unshare", flags, sys.executable, script, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=400, env=given, **more)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout
