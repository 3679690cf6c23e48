"""Run with MEDAPP_LIFETIME: serves a small page, visits it once, and prints what is kept of that, then and later.

`test_lifetime.py` calls it.
"""

import json
import time
from pathlib import Path

import gradio as gr
import httpx

from medapp.ui.cleanup import CLEANUP_INTERVAL, CleanupThread
from medapp.ui.events import GPU
from medapp.ui.page import Page, install_middleware
from medapp.ui.workspace import LIFETIME, home_folder, new_folder, results_folder, uploads_folder


def made(scan: str) -> str:
    """A result in a folder of the visitor's, from the upload."""
    path = new_folder() / "mask.nii"
    path.write_bytes(Path(scan).read_bytes())
    return str(path)


def left() -> dict[str, int]:
    names = [path.name for path in home_folder().rglob("*.nii")]
    return {name: names.count(name) for name in ("scan.nii", "mask.nii")} | {
        "sessions": len(demo.state_holder.session_data)
    }


with Page(delete_cache=(CLEANUP_INTERVAL, LIFETIME)) as demo:
    file, mask = gr.File(), gr.File()
    gr.Button().click(made, file, mask, api_name="made", **GPU)
CleanupThread(results_folder(), uploads_folder()).start()
_, address, _ = demo.launch(
    prevent_thread_lock=True, quiet=True, ssr_mode=False, run_history=False, app_kwargs={"lifespan": install_middleware}
)
with httpx.Client(base_url=address, timeout=60) as client:
    (path,) = client.post("gradio_api/upload", files={"files": ("scan.nii", b"scan")}).json()
    scan = {"path": path, "meta": {"_type": "gradio.FileData"}}
    body = {"data": [scan], "session_hash": "visit"}
    event = client.post("gradio_api/call/made", json=body).json()["event_id"]
    assert "event: complete" in client.get(f"gradio_api/call/made/{event}").text
print(json.dumps(left()), flush=True)
until = time.monotonic() + LIFETIME + 3 * CLEANUP_INTERVAL + 2
while (left()["scan.nii"] or left()["mask.nii"]) and time.monotonic() < until:
    time.sleep(0.2)
print(json.dumps(left()), flush=True)
demo.close()
