"""Load test of the page: `python -m benchmarks.load [--visitors 50] [--runs 1000] [--hour] [--out FILE.csv]`.

Starts the app on a port of this machine and waits till it has worked out its examples. First all visitors, each with
a session of their own, ask for the same run at once over the loopback; then `--warm` runs are made, and after them
`--runs` by one client in one session, and as many by ever new ones. Told are the seconds till the answer, what was
refused and in which words, the memory of the app's processes (resident, shared pages counted in each), and the files
that it keeps on the disk. `--hour` adds visits in real time: a new client every `--every` seconds for 70 minutes, until
what the first ones left must be gone, then 70 minutes in which the rest must go; `--lifetime` shortens them.
"""

import argparse
import csv
import os
import statistics
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from gradio_client import Client, handle_file

from benchmarks import serving
from medapp import examples

MEMORY_INTERVAL = 0.5  # seconds between looks at the memory
IDLE_INTERVAL = 10.0  # seconds in which the app does next to nothing once it has set itself up


class Memory(threading.Thread):
    """Watches the resident memory of a process and all that it has started, in MB."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.pid, self.most = pid, 0.0

    def now(self) -> float:
        return sum(map(resident_mb, process_tree(self.pid)))

    def run(self) -> None:
        while Path(f"/proc/{self.pid}").exists():
            self.most = max(self.most, self.now())
            time.sleep(MEMORY_INTERVAL)


def process_tree(pid: int) -> Iterator[int]:
    """A process and those that descend from it."""
    yield pid
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            below = task.read_text().split()
        except OSError:  # it has ended
            continue
        for child in below:
            yield from process_tree(int(child))


def cpu_seconds(pid: int) -> float:
    """Seconds of processor time that a process and those it has started have taken; 0 for what has ended."""
    total = 0
    for each in process_tree(pid):
        try:
            facts = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        total += int(facts[11]) + int(facts[12])
    return total / os.sysconf("SC_CLK_TCK")


def wait_until_idle(pid: int) -> None:
    """Wait until the app has nothing to do."""
    before = -IDLE_INTERVAL
    while (now := cpu_seconds(pid)) - before > 0.05 * IDLE_INTERVAL:
        before = now
        time.sleep(IDLE_INTERVAL)


def resident_mb(pid: int) -> float:
    """MB; 0 for a process that has ended."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def request_run(client: Client, example: examples.Example) -> tuple[str, float]:
    """What came of one run, "answer" or the words of a refusal, and after how many seconds."""
    began = time.monotonic()
    try:
        facts, _ = client.predict(
            **{role: handle_file(str(path)) for role, path in example.images.items()}, api_name=f"/{example.pipeline}"
        )
        what = "answer" if facts["pipeline"] == example.pipeline else "another method's answer"
    except Exception as error:
        what = str(error)
    return what, time.monotonic() - began


def run_at_once(address: str, example: examples.Example, visitors: int) -> list[tuple[str, float]]:
    """All at once; in the order in which they are done."""
    clients = [Client(address, verbose=False) for _ in range(visitors)]
    outcomes: list[tuple[str, float]] = []

    def request(client: Client) -> None:
        outcomes.append(request_run(client, example))

    threads = [threading.Thread(target=request, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for client in clients:
        client.close()
    return outcomes


def run_in_turn(address: str, example: examples.Example, runs: int, *, new: bool) -> list[tuple[str, float]]:
    """One after the other, in one session, or each by a client and in a session of its own."""
    outcomes, client = [], Client(address, verbose=False)
    for n in range(runs):
        if new and n:
            client.close()
            client = Client(address, verbose=False)
        outcomes.append(request_run(client, example))
    client.close()
    return outcomes


def count_files(place: Path) -> tuple[int, float]:
    """How many files there are in a folder, and their MB."""
    sizes = []
    for folder, _, names in os.walk(place):
        for name in names:
            with suppress(OSError):  # gone in the meantime
                sizes.append((Path(folder) / name).stat().st_size)
    return len(sizes), sum(sizes) / 1e6


def run_for_lifetime(
    address: str, example: examples.Example, place: Path, memory: Memory, lifetime: int, every: float
) -> list[tuple[str, float]]:
    """Visits until what the first ones left is gone, then none until all is."""
    outcomes: list[tuple[str, float]] = []
    began, printed = time.monotonic(), 0.0
    end = lifetime * 7 / 6
    print(f"before: {count_files(place)[0]} files of {count_files(place)[1]:.0f} MB", flush=True)
    while (now := time.monotonic() - began) < 2 * end:
        if now >= printed:
            count, size = count_files(place)
            print(
                f"{now:6.0f} s, {len(outcomes)} visits: {count} files of {size:.0f} MB, memory {memory.now():.0f} MB",
                flush=True,
            )
            printed += end / 6
        if now < end:
            outcomes += run_in_turn(address, example, 1, new=True)
        time.sleep(max(0.0, every - (time.monotonic() - began - now)))
    return outcomes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--visitors", type=int, default=50)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--warm", type=int, default=100, help="runs before memory is compared")
    parser.add_argument("--hour", action="store_true", help="visits in real time")
    parser.add_argument("--lifetime", type=int, default=3600, help="seconds for which the app keeps what is left")
    parser.add_argument("--every", type=float, default=10.0, help="seconds between visits")
    parser.add_argument("--method", default="segment_glioma_ar2unet")
    parser.add_argument("--out", type=Path, help="a line for each part")
    args = parser.parse_args()
    example = next(e for e in examples.every() if e.pipeline == args.method)
    lines = []
    with (
        tempfile.TemporaryDirectory() as folder,
        serving.run_app(TMPDIR=folder, MEDAPP_RATE="0", MEDAPP_PLACES="0", MEDAPP_LIFETIME=str(args.lifetime)) as (
            address,
            pid,
        ),
    ):
        memory = Memory(pid)
        first = Client(address, verbose=False)
        request_run(first, example)  # networks are loaded
        wait_until_idle(pid)
        memory.start()
        parts = {
            "crowd": lambda: run_at_once(address, example, args.visitors),
            "warm": lambda: run_in_turn(address, example, args.warm, new=True),
            "row": lambda: run_in_turn(address, example, args.runs, new=False),
            "strangers": lambda: run_in_turn(address, example, args.runs, new=True),
            "hour": lambda: run_for_lifetime(address, example, Path(folder), memory, args.lifetime, args.every),
        }
        runs = {
            "crowd": args.visitors,
            "warm": args.warm,
            "row": args.runs,
            "strangers": args.runs,
            "hour": args.hour,
        }
        for name, part in parts.items():
            if not runs[name]:
                continue
            memory.most, before, began = 0.0, memory.now(), time.monotonic()
            outcomes = part()
            took = time.monotonic() - began
            time.sleep(5)
            seconds = [s for what, s in outcomes if what == "answer"] or [float("nan")]
            lines.append(
                {
                    "part": name, "asked": len(outcomes), "answered": sum(what == "answer" for what, _ in outcomes),
                    "seconds": round(took, 1), "median_wait": round(statistics.median(seconds), 1),
                    "longest_wait": round(max(seconds), 1), "mb_before": round(before), "mb_most": round(memory.most),
                    "mb_after": round(memory.now()), "files": count_files(Path(folder))[0],
                }
            )  # fmt: skip
            print(lines[-1], flush=True)
            for what, count in Counter(what for what, _ in outcomes if what != "answer").items():
                print(f"  {count} times: {what}", flush=True)
    if args.out:
        with args.out.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(lines[0]))
            writer.writeheader()
            writer.writerows(lines)


if __name__ == "__main__":
    main()
