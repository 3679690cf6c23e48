"""Linux namespaces, in which a test has a network or a disk of its own."""

import os
import shutil
import subprocess
import sys

from benchmarks import serving


def is_available(flags: str, *command: str) -> bool:
    """Tell whether this user may create such a namespace and run a command in it, as not every container allows."""
    unshare = ["unshare", flags, *command]
    return bool(shutil.which("unshare")) and not subprocess.run(unshare, capture_output=True).returncode


def run_script(flags: str, script: str, *arguments: str, **options: object) -> str:
    """Run a Python script in a namespace and return its output; fail with its error output if it fails."""
    environment = os.environ | {"PYTHONPATH": str(serving.ROOT)}
    command = ["unshare", flags, sys.executable, script, *arguments]
    process = subprocess.run(command, capture_output=True, text=True, timeout=400, env=environment, **options)
    assert process.returncode == 0, process.stderr[-2000:]
    return process.stdout
