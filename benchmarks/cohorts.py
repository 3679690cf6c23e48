"""Cohorts: cases an hour beside a shell loop, the scheduler's share, and what follows for a cluster.

`python -m benchmarks.cohorts throughput` times a study of copies of an example by a loop over `medapp run` and by
`medapp bids` with 1 and 2 workers: wall-clock time of the whole command, and the peak of the memory (PSS where the
system tells, which counts shared pages once) of all its processes. `overhead` times empty tasks. `simulate` follows
a study on many nodes, with the figures of the other two.
"""

import argparse
import heapq
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import nibabel as nib
import numpy as np
import psutil

from medapp import examples
from medapp.cohorts.cluster import start_cluster
from medapp.hardware import find_version

METHOD, EXAMPLE = "segment_glioma_ar2unet", "flair_frontal"
SAMPLE_SECONDS = 0.2


class Timing(NamedTuple):
    """How long a command took, and how much memory its processes had at most."""

    seconds: float
    peak_mb: float


class Simulation(NamedTuple):
    """A study that was simulated: hours until all is done, and the share of the workers' time that went into cases."""

    hours: float
    efficiency: float


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, dest="command")
    throughput = commands.add_parser("throughput")
    throughput.add_argument("--cases", type=int, default=8)
    throughput.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    overhead = commands.add_parser("overhead")
    overhead.add_argument("--tasks", type=int, default=5000)
    simulation = commands.add_parser("simulate")
    simulation.add_argument("--cases", type=int, default=10_000)
    simulation.add_argument("--nodes", type=int, default=16)
    simulation.add_argument("--workers", type=int, default=16, help="on each node")
    simulation.add_argument("--seconds", type=float, required=True, help="of a case")
    simulation.add_argument("--spread", type=float, default=0.2, help="standard deviation of its logarithm")
    simulation.add_argument("--start", type=float, default=10.0, help="seconds until a worker has loaded its networks")
    simulation.add_argument("--overhead", type=float, default=0.004, help="seconds of the scheduler for a case")
    args = parser.parse_args(arguments)
    if args.command == "throughput":
        measure_throughput(args.cases, args.workers)
    elif args.command == "overhead":
        seconds = measure_overhead(args.tasks)
        print(
            f"{1000 * seconds:.2f} ms for each of {args.tasks} empty tasks; distributed {find_version('distributed')}"
        )
    else:
        workers = args.nodes * args.workers
        done = simulate(args.cases, workers, args.seconds, args.spread, args.start, args.overhead)
        print(
            f"{args.cases} cases of {args.seconds:g} s on {workers} workers: {done.hours:.2f} h, "
            f"{args.cases / done.hours:.0f} cases an hour, {done.efficiency:.1%} of the time in cases"
        )


def measure_throughput(cases: int, workers: Sequence[int]) -> None:
    """Print a row of a table for the loop and for each number of workers."""
    folder = Path(tempfile.mkdtemp(prefix="medapp-cohort-"))
    try:
        scans = write_copies(folder / "study", cases)
        medapp = [sys.executable, "-m", "medapp"]
        loop = [
            [*medapp, "run", METHOD, str(scan), "--out", str(folder / "loop" / scan.stem), "--quiet"] for scan in scans
        ]
        study = [*medapp, "bids", str(folder / "study")]
        options = ["participant", "--method", METHOD, "--skip-bids-validation", "--quiet"]
        print("| Command | Time (s) | Cases an hour | Peak memory (MB) |\n|---|---|---|---|", flush=True)
        print_row("loop over `medapp run`", time_commands(loop), cases)
        for count in workers:
            command = [*study, str(folder / f"out{count}"), *options, "--n-jobs", str(count)]
            print_row(f"`medapp bids`, {count} worker{'s' * (count > 1)}", time_commands([command]), cases)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def write_copies(study: Path, cases: int) -> list[Path]:
    """Write a study of as many people, each with the example's FLAIR in other noise, and list the scans."""
    flairs = [e.images["flair"] for e in examples.of_task("segmentation") if "flair" in e.images]
    image = nib.load(next(flair for flair in flairs if flair.parent.name == EXAMPLE))
    array = np.asarray(image.dataobj, np.float32)
    study.mkdir(parents=True)
    (study / "dataset_description.json").write_text(json.dumps({"Name": "Copies", "BIDSVersion": "1.10.0"}))
    scans = []
    for number in range(1, cases + 1):
        noise = np.random.default_rng(number).normal(0, 0.01 * array.max(), array.shape)
        scans.append(study / f"sub-{number:03d}" / "anat" / f"sub-{number:03d}_FLAIR.nii.gz")
        scans[-1].parent.mkdir(parents=True)
        nib.save(nib.Nifti1Image((array + noise * (array > 0)).astype(np.float32), image.affine), scans[-1])
    return scans


def time_commands(commands: Sequence[Sequence[str]]) -> Timing:
    """Run commands one after another, and watch the memory of each with all its processes."""
    began, peak = time.perf_counter(), 0.0
    for command in commands:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None:
            peak = max(peak, read_memory(process.pid))
            time.sleep(SAMPLE_SECONDS)
        if process.returncode:
            raise ChildProcessError(f"{' '.join(command)} ended with {process.returncode}")
    return Timing(time.perf_counter() - began, peak)


def read_memory(pid: int) -> float:
    """Memory of a process and its children in MB; of one that has ended, 0."""
    total = 0.0
    try:
        root = psutil.Process(pid)
        for process in (root, *root.children(recursive=True)):
            used = process.memory_full_info()
            total += getattr(used, "pss", used.rss)
    except psutil.Error:
        return total / 2**20
    return total / 2**20


def print_row(title: str, timing: Timing, cases: int) -> None:
    print(
        f"| {title} | {timing.seconds:.0f} | {3600 * cases / timing.seconds:.0f} | {timing.peak_mb:.0f} |", flush=True
    )


def measure_overhead(tasks: int) -> float:
    """Seconds for each of many empty tasks, through two workers of this machine."""
    with start_cluster("", 2, 2, 1.0, "cpu") as client:
        client.gather(client.map(abs, range(10), pure=False))
        began = time.perf_counter()
        client.gather(client.map(abs, range(tasks), pure=False, batch_size=1000))
        return (time.perf_counter() - began) / tasks


def simulate(cases: int, workers: int, seconds: float, spread: float, start: float, overhead: float) -> Simulation:
    """Simulate workers that start together, cases of log-normal length, and a scheduler that hands them out one by one.

    The length's mean is `seconds`, and it takes `overhead` to hand a case out.
    """
    lengths = np.random.default_rng(0).lognormal(np.log(seconds) - spread**2 / 2, spread, cases)
    free = [start] * workers
    heapq.heapify(free)
    scheduler = end = 0.0
    for length in lengths:
        scheduler = max(heapq.heappop(free), scheduler) + overhead
        heapq.heappush(free, scheduler + length)
        end = max(end, scheduler + length)
    return Simulation(end / 3600, float(lengths.sum()) / (end * workers))


if __name__ == "__main__":
    main()
