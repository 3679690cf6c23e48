"""Run where temporary files have 60 MB: starts the app, fills the rest, asks it, makes room, asks again, prints both.

In a mount namespace of its own, with the repository on the path; `test_full_disk.py` calls it.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

from gradio_client import Client, handle_file

from benchmarks import serving

SIZE, LEFT = 60, 1  # MB of the disk, and of it when it is full
IMAGE = serving.ROOT / "examples/segmentation/flair_frontal/flair.nii.gz"


def asked(client: Client) -> dict:
    try:
        facts, files = client.predict(flair=handle_file(IMAGE), api_name="/segment_glioma_ar2unet")
    except Exception as error:
        return {"refused": str(error)}
    return {"pipeline": facts["pipeline"], "files": len(files)}


def main() -> None:
    place, spare = Path(sys.argv[1]), sys.argv[2]
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}m", "none", str(place)], check=True)
    with serving.run_app(sys.stderr, TMPDIR=str(place), MEDAPP_SPARE_MB=spare, MEDAPP_PRECOMPUTE="0") as (address, _):
        client, filler = Client(address, verbose=False), place / "filler"
        free = os.statvfs(place).f_bavail * os.statvfs(place).f_frsize
        filler.write_bytes(bytes(max(free - LEFT * 2**20, 0)))
        print(json.dumps(asked(client)), flush=True)
        filler.unlink()
        print(json.dumps(asked(client)), flush=True)


if __name__ == "__main__":
    main()
