"""NiiVue's script: fetched once, verified, cached; `python -m medapp.ui.viewer.niivue_asset` does so at set-up.

NiiVue (niivue.com) draws volumes in the browser. BSD 2-Clause licence, copyright 2021 the NiiVue contributors; the
script is not part of this repository. It is one 2.3 MB file of the npm package @niivue/niivue.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.request
from pathlib import Path

from medapp.cache import cache_folder

VERSION = "0.69.0"
SHA256 = "47b896b77ec4a5be3ef1949c33ad393b6f45629921f326c279000bcf51bdb4af"
INTEGRITY = "sha384-Oyof6MyzZMH1tvMLLYFRQLWZtk9Y/WbiL3wkdXzwaCS82xRXXy9U+kRrkDDAVq6E"  # the same file, for browsers
CDN = (
    f"https://cdn.jsdelivr.net/npm/@niivue/niivue@{VERSION}/dist/niivue.umd.js",
    f"https://unpkg.com/@niivue/niivue@{VERSION}/dist/niivue.umd.js",
)
PATH_IN_PACKAGE = "package/dist/niivue.umd.js"
MAX_BYTES = 16 * 1024**2


def fetch_script(seconds: float = 2.5) -> Path | None:
    """Return the verified script in the cache folder, fetched first if missing; None if that takes over `seconds`."""
    path = cache_folder() / f"niivue-{VERSION}.umd.js"
    if path.is_file() and _is_genuine(path.read_bytes()):
        return path
    until = time.monotonic() + seconds
    content = _fetch_from_npm(until) or next(filter(None, (_fetch_from_url(url, until) for url in CDN)), None)
    if content is None:
        return None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
            file.write(content)
        Path(file.name).chmod(0o644)
        os.replace(file.name, path)
    except OSError:  # a folder that cannot be written; the browser fetches the script itself
        return None
    return path


def _is_genuine(content: bytes) -> bool:
    return hashlib.sha256(content).hexdigest() == SHA256


def _fetch_from_npm(until: float) -> bytes | None:
    """Return the script from the package that npm fetches from its configured registry; None without npm."""
    npm = shutil.which("npm")
    if npm is None:
        return None
    with tempfile.TemporaryDirectory() as work:
        command = [npm, "pack", f"@niivue/niivue@{VERSION}", "--silent", "--ignore-scripts"]
        left = max(0.1, until - time.monotonic())
        try:
            subprocess.run(command, cwd=work, check=True, capture_output=True, timeout=left)
            with tarfile.open(next(Path(work).glob("*.tgz"))) as packed:
                member = packed.extractfile(PATH_IN_PACKAGE)  # read, never unpacked to a path
                content = member.read(MAX_BYTES) if member else b""
        except (OSError, StopIteration, KeyError, subprocess.SubprocessError, tarfile.TarError):
            return None
    return content if _is_genuine(content) else None


def _fetch_from_url(url: str, until: float) -> bytes | None:
    content = bytearray()
    try:
        with urllib.request.urlopen(url, timeout=max(0.1, until - time.monotonic())) as reply:
            while block := reply.read1(65536):
                content += block
                if len(content) > MAX_BYTES or time.monotonic() > until:
                    return None
    except (OSError, ValueError):
        return None
    return bytes(content) if _is_genuine(bytes(content)) else None


if __name__ == "__main__":
    script = fetch_script(seconds=120)
    print(f"NiiVue {VERSION}: {script}" if script else "NiiVue could not be fetched; browsers will try a public copy.")
    sys.exit(script is None)
