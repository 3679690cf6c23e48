"""Time and memory of restoration beside other denoisers: `python -m benchmarks.restoration [--size 512] [--paper]`.

Each way has a process of its own, so that its peak memory is its own, and works on the same noisy slice; ratios are to
non-local means of scikit-image in the same run. Loading is not counted, one warming run is not either.
"""

import argparse
import multiprocessing
import resource
import time
from collections.abc import Callable

import numpy as np
import torch

from medapp import hardware
from medapp.imaging.index_maps import superpixels
from medapp.imaging.volume import Volume
from medapp.networks.rat import RAT
from medapp.serving import runtime
from training.evaluation.restoration_peers import DENOISERS

OURS = {"ours, one region": "one", "ours, superpixels": "superpixels", "ours, MobileSAM": "mobilesam"}
PAPER = {"RAT of the paper's size, superpixels": "superpixels", "RAT of the paper's size, one region": "one"}
REFERENCE = "non-local means"


def draw_phantom(side: int, seed: int) -> np.ndarray:
    """Discs in a body, with noise, HU (side, side) float32; every seed another picture, so that nothing is cached."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[:side, :side] / side - 0.5
    image = np.where(rows**2 + columns**2 < 0.2, 40.0, -1000.0)
    for _ in range(12):
        y, x = random.uniform(-0.3, 0.3, 2)
        image[(rows - y) ** 2 + (columns - x) ** 2 < random.uniform(0.02, 0.1) ** 2] = random.uniform(-80, 250)
    return (image + random.normal(0, 25, image.shape)).astype(np.float32)


def make_job(name: str, side: int) -> Callable[[int], object]:
    """What is timed; its argument is the seed of the picture."""
    if name in OURS:

        def served(seed: int) -> object:
            image = Volume(draw_phantom(side, seed)[..., None], np.diag([0.7, 0.7, 1, 1]), name="CT", unit="HU")
            return runtime.run("restore_ct_rat", image, regions=OURS[name])

        return served
    if name in PAPER:
        net = RAT(limit=4096).eval()

        @torch.inference_mode()
        def paper(seed: int) -> object:
            image = draw_phantom(side, seed)
            labels = superpixels(image) if PAPER[name] == "superpixels" else np.zeros(image.shape)
            with torch.autocast("cpu", hardware.choose_half_precision("cpu") or torch.bfloat16):
                return net(torch.from_numpy(image)[None, None], torch.from_numpy(labels.astype(np.int64))[None])

        return paper
    denoise = DENOISERS[name][0]
    return lambda seed: denoise(draw_phantom(side, seed), 25.0)


def measure_job(name: str, side: int, rounds: int, queue: "multiprocessing.Queue[tuple[float, float]]") -> None:
    """Put the least seconds of the rounds and the peak memory in MB."""
    torch.set_num_threads(hardware.count_processors())
    job, seconds = make_job(name, side), []
    for seed in range(rounds + 1):
        started = time.perf_counter()
        job(seed)
        seconds.append(time.perf_counter() - started)
    queue.put((min(seconds[1:] or seconds), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=512, help="pixels a side")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--paper", action="store_true", help="RAT of the paper's size too; takes minutes")
    args = parser.parse_args()
    spawn, measurements = multiprocessing.get_context("spawn"), {}
    for name in (REFERENCE, *(n for n in DENOISERS if n != REFERENCE), *OURS, *(PAPER if args.paper else ())):
        queue = spawn.Queue()
        process = spawn.Process(target=measure_job, args=(name, args.size, 0 if name in PAPER else args.rounds, queue))
        process.start()
        process.join()
        if process.exitcode == 0:
            measurements[name] = queue.get()
    print(f"{args.size} × {args.size}, {hardware.describe_device('cpu')}\n")
    print(f"| way | seconds | times the time of {REFERENCE} | peak memory, MB |\n|---|---|---|---|")
    for name, (seconds, memory) in measurements.items():
        print(f"| {name} | {seconds:.2f} | {seconds / measurements[REFERENCE][0]:.1f} | {memory:.0f} |")


if __name__ == "__main__":
    main()
