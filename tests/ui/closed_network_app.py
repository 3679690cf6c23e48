"""Run where there is no network but this machine's own loopback: starts the app, asks it by its API, prints what came.

In a network namespace of its own, with the repository on the path; `test_closed_network.py` calls it.
"""

import fcntl
import json
import socket
import struct

from gradio_client import Client, handle_file

from benchmarks import serving

ASKED = {
    "segment_glioma_ar2unet": {"flair": "segmentation/flair_frontal/flair.nii.gz"},
    "restore_pathology_rat": {"image": "restoration/pathology_twice/image.png"},
}


def loopback() -> None:
    """Bring up `lo`, the only interface there is."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as connection:
        fcntl.ioctl(connection, 0x8914, struct.pack("16sh", b"lo", 0x1 | 0x40))  # SIOCSIFFLAGS: up, running


def main() -> None:
    assert [name for _, name in socket.if_nameindex()] == ["lo"], "not closed"
    loopback()
    with serving.run_app(MEDAPP_PRECOMPUTE="0") as (address, _):
        client = Client(address, verbose=False)
        for name, files in ASKED.items():
            given = {role: handle_file(serving.ROOT / "examples" / path) for role, path in files.items()}
            facts, written = client.predict(**given, api_name=f"/{name}")
            print(json.dumps({"pipeline": facts["pipeline"], "files": len(written)}), flush=True)


if __name__ == "__main__":
    main()
