"""Time and memory against size, beside a peer: `python -m benchmarks.scaling [METHOD ...] --out FILE.csv`.

Each method runs on an example with half, as many and twice the voxels, on 1, 2 and 4 threads (if there are as many),
and on the graphics card if there is one. The peer does the like to the same image: non-local means or bicubic
enlargement for restoration, greedy or demons for registration (the deformable part alone), for segmentation a plain
U-Net with as many parameters, run by torch as it is. Every measurement is a process of its own, which does the job
twice and counts the second time; methods and peers take turns. Seconds are the least of the repeats, memory, which is
that of the whole process, is the median.
"""

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from benchmarks.baselines import baseline_name, make_baseline
from medapp import examples, hardware
from medapp.card import Card
from medapp.imaging.geometry import resample, with_spacing
from medapp.imaging.volume import Volume
from medapp.serving import runtime

COLUMNS = (
    "method", "device", "threads", "size", "voxels", "seconds", "cpu_seconds", "memory_mb", "gpu_mb", "times_size_1",
    "peer", "peer_seconds", "peer_memory_mb", "times_peer_seconds", "times_peer_memory",
)  # fmt: skip


class Way(NamedTuple):
    """A method or its peer, on so many threads of a device, with `size` times the example's voxels."""

    method: str
    peer: bool
    device: str
    threads: int
    size: float


def scaled_example(card: Card, size: float) -> tuple[tuple[Volume | None, ...], dict]:
    """The required images of an example with `size` times its voxels, and the example's settings.

    It is one of the method's own, or the first that has its images. Raises LookupError if there is none.
    """
    needed = [i.name for i in card.inputs if not i.optional]
    fitting = sorted(
        (e for e in examples.every() if set(needed) <= set(e.images)), key=lambda e: e.pipeline != card.name
    )
    if not fitting:
        raise LookupError(f"there is no example with {', '.join(needed)}")
    inputs = [i for i in card.inputs if i.name in needed]
    volumes = {i.name: resize_volume(v, size) for i, v in zip(inputs, fitting[0].volumes(inputs), strict=True) if v}
    settings = fitting[0].settings if fitting[0].pipeline == card.name else {}
    return tuple(volumes.get(i.name) for i in card.inputs), settings


def resize_volume(volume: Volume, size: float) -> Volume:
    """The same field of view with `size` times the voxels, along every axis that has more than one."""
    axes = np.array(volume.shape) > 1
    grid = with_spacing(volume.grid, np.where(axes, volume.spacing * size ** (-1 / axes.sum()), volume.spacing))
    resized = resample(volume, grid)
    return resized.new_like(np.asarray(resized.array).round().astype(np.uint8)) if volume.is_colour else resized


def measure_way(way: Way) -> dict:
    """Do the job twice in this process; seconds, processor seconds and peak memory in MB of the second time."""
    torch.set_num_threads(way.threads)
    card = runtime.find_card(way.method)
    volumes, settings = scaled_example(card, way.size)
    if way.peer:
        job = make_baseline(card, way.device, settings)
    else:
        job = lambda given: runtime.run(card.name, *given, device=way.device, **settings)  # noqa: E731
    job(tuple(v and v.new_like(np.roll(v.array, 1, 0)) for v in volumes))  # another image, so that no answer is kept
    hardware.reset_peak_memory(way.device)
    wall, busy = time.perf_counter(), time.process_time()
    job(volumes)
    seconds, cpu_seconds = time.perf_counter() - wall, time.process_time() - busy
    gpu = torch.cuda.max_memory_allocated() / 2**20 if way.device == "cuda" else 0.0
    voxels = sum(int(np.prod(v.shape)) for v in volumes if v)
    costs = {"voxels": voxels, "seconds": round(seconds, 3), "cpu_seconds": round(cpu_seconds, 3)}
    return costs | {"memory_mb": round(hardware.read_peak_memory(), 1), "gpu_mb": round(gpu, 1)}


def measure_in_process(way: Way) -> dict | None:
    """What `measure_way` finds in a separate process, limited to the threads; None, and why on stderr, if it fails."""
    limits = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS")
    more = dict.fromkeys(limits, str(way.threads))
    command = [sys.executable, "-m", "benchmarks.scaling", "--one", json.dumps(way)]
    with limit_processors(way.threads):
        done = subprocess.run(command, env=os.environ | more, capture_output=True, text=True)
    if done.returncode:
        print(f"{way}: {(done.stderr.strip().splitlines() or ['failed'])[-1]}", file=sys.stderr, flush=True)
        return None
    return json.loads(done.stdout.splitlines()[-1])


@contextmanager
def limit_processors(threads: int) -> Iterator[None]:
    """So many processors for this process and those that it starts (Linux; elsewhere nothing is done)."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(before)[:threads])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def list_devices(threads: Sequence[int]) -> list[tuple[str, int]]:
    """Devices with threads: the CPU with each number that there is, a graphics card with all of them."""
    most = hardware.count_processors()
    devices = [("cpu", n) for n in threads if n <= most] or [("cpu", most)]
    return devices + [(device, most) for device in hardware.list_devices() if device == "cuda"]


def result_rows(repeats_of: dict[Way, list[dict]]) -> list[dict]:
    """A row of COLUMNS for every method, device, number of threads and size, from the repeats of each way."""
    whole = {way: merge_repeats(repeats) for way, repeats in repeats_of.items() if repeats}
    rows = []
    for way, own in whole.items():
        if not way.peer:
            unit, other = whole.get(way._replace(size=1.0)), whole.get(way._replace(peer=True))
            row = {**dict.fromkeys(COLUMNS), **{k: v for k, v in way._asdict().items() if k != "peer"}}
            row |= {k: own[k] for k in ("voxels", "seconds", "cpu_seconds", "memory_mb", "gpu_mb")}
            row["times_size_1"] = round(own["seconds"] / unit["seconds"], 2) if unit else None
            if other:
                row["peer"] = baseline_name(runtime.find_card(way.method), way.device)
                row |= {"peer_seconds": other["seconds"], "peer_memory_mb": other["memory_mb"]}
                row["times_peer_seconds"] = round(own["seconds"] / max(other["seconds"], 1e-3), 2)
                row["times_peer_memory"] = round(own["memory_mb"] / max(other["memory_mb"], 1e-3), 2)
            rows.append(row)
    return rows


def merge_repeats(repeats: list[dict]) -> dict:
    """The least seconds and the median memory of the repeats."""
    least = {k: min(r[k] for r in repeats) for k in ("seconds", "cpu_seconds")}
    return repeats[0] | least | {k: statistics.median(r[k] for r in repeats) for k in ("memory_mb", "gpu_mb")}


TABLE_COLUMNS = {  # title: of which column, times what, with how many digits
    "M voxels": ("voxels", 1e-6, 2),
    "seconds": ("seconds", 1, 2),
    "processor seconds": ("cpu_seconds", 1, 2),
    "MB": ("memory_mb", 1, 0),
    "MB of the graphics card": ("gpu_mb", 1, 0),
    "times the peer's seconds": ("times_peer_seconds", 1, 2),
    "times the peer's MB": ("times_peer_memory", 1, 2),
}


def render_table(rows: list[dict]) -> str:
    """Markdown: a row for each method and what it ran on, figures from the smallest size to the largest."""
    columns = {title: form for title, form in TABLE_COLUMNS.items() if any(row[form[0]] for row in rows)}
    out = [f"| method | peer | on | {' | '.join(columns)} |", "|---" * (len(columns) + 3) + "|"]
    same: dict[tuple, list[dict]] = {}
    for row in rows:
        same.setdefault((row["method"], row["device"], row["threads"]), []).append(row)
    for (method, device, threads), sizes in same.items():
        on = f"{threads} thread{'s' * (threads > 1)}" if device == "cpu" else device
        figures = [
            " / ".join(f"{row[name] * unit:.{digits}f}" for row in sizes if row[name] is not None)
            for name, unit, digits in columns.values()
        ]
        out.append(f"| {' | '.join([method, sizes[0]['peer'] or '', on, *figures])} |")
    return "\n".join(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("methods", nargs="*", help="all by default")
    parser.add_argument("--sizes", type=float, nargs="+", default=[0.5, 1.0, 2.0], help="times the example's voxels")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("scaling.csv"))
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measure_way(Way(*json.loads(args.one)))))
        return
    ways = [
        Way(method, peer, device, threads, size)
        for method in args.methods or runtime.load_cards()
        for device, threads in list_devices(args.threads)
        for size in args.sizes
        for peer in (False, True)
        if not peer or baseline_name(runtime.find_card(method), device)
    ]
    repeats_of: dict[Way, list[dict]] = {way: [] for way in ways}
    for number in range(args.repeats):
        for way in ways:
            if len(repeats_of[way]) == number and (one := measure_in_process(way)):  # what failed once is left
                repeats_of[way].append(one)
    rows = result_rows(repeats_of)
    with args.out.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    versions = ", ".join(f"{package} {version}" for package, version in hardware.list_versions("openvino").items())
    print(f"{hardware.describe_device('cpu')}; {versions}\n")
    print(render_table(rows))


if __name__ == "__main__":
    main()
