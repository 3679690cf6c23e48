"""Run where there is no network but this machine's own loopback: starts the app, asks it by its API, prints what came.

`python closed.py ROOT PORT`, in a network namespace of its own; `test_closed_network.py` calls it.
"""

import fcntl
import json
import os
import socket
import struct
import subprocess
import sys
import time
import urllib.request

ASKED = {
    "segment_glioma_ar2unet": {"flair": "segmentation/flair_frontal/flair.nii.gz"},
    "restore_pathology_rat": {"image": "restoration/pathology_twice/image.png"},
}


def loopback() -> None:
    """Bring up `lo`, the only interface there is."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as found:
        fcntl.ioctl(found, 0x8914, struct.pack("16sh", b"lo", 0x1 | 0x40))  # SIOCSIFFLAGS: up, running


def main() -> None:
    root, port = sys.argv[1:]
    assert [name for _, name in socket.if_nameindex()] == ["lo"], "not closed"
    loopback()
    environment = os.environ | {"GRADIO_SERVER_PORT": port, "GRADIO_SERVER_NAME": "127.0.0.1"}
    app = subprocess.Popen(
        [sys.executable, "app.py"], cwd=root, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    address = f"http://127.0.0.1:{port}/"
    try:
        for _ in range(240):
            try:
                urllib.request.urlopen(f"{address}health", timeout=2)
                break
            except OSError:
                time.sleep(0.5)
        from gradio_client import Client, handle_file

        client = Client(address, verbose=False)
        for name, files in ASKED.items():
            given = {role: handle_file(f"{root}/examples/{path}") for role, path in files.items()}
            facts, written = client.predict(**given, api_name=f"/{name}")
            print(json.dumps({"pipeline": facts["pipeline"], "files": len(written)}), flush=True)
    finally:
        app.terminate()
        app.wait(20)


if __name__ == "__main__":
    main()
