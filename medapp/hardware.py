"""The hardware: devices, processors, peak memory of a run, and the versions of the software on it."""

import os
import platform
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import cache
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed
from pathlib import Path
from typing import TypeVar

import torch

import medapp

T = TypeVar("T")
REPORTED_LIBRARIES = ("numpy", "scipy", "nibabel", "pydicom", "torch")


def list_devices() -> tuple[str, ...]:
    """List the devices that are available, the best first, of "cuda", "mps" and "cpu"."""
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    return tuple(device for device, is_available in available.items() if is_available)


def choose_half_precision(device: str) -> torch.dtype | None:
    """Choose the 16-bit type in which the device is fastest, or None where that is float32."""
    if device == "cuda":
        return torch.bfloat16 if torch.cuda.get_device_capability() >= (8, 0) else torch.float16
    if device == "cpu" and {"avx512_bf16", "amx_bf16"} & set(_read_cpuinfo("flags").split()):
        return torch.bfloat16
    return None


def count_gpus() -> int:
    """Count the GPUs of CUDA that this process may use."""
    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def count_processors() -> int:
    """Count the processors that this process may use, including a container's quota (Linux, cgroup v2).

    MEDAPP_THREADS sets a smaller number, for one process among several.
    """
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with suppress(KeyError, ValueError):
        count = max(1, min(count, int(os.environ["MEDAPP_THREADS"])))
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return max(1, min(count, round(int(quota) / int(period))))
    except (OSError, ValueError):  # no cgroup, or the quota is "max"
        return count


def run_in_threads(*jobs: Callable[[], T]) -> list[T]:
    """Run jobs in as many threads as there are processors and return their results; for code that releases the GIL."""
    with ThreadPoolExecutor(count_processors()) as pool:
        return [running.result() for running in [pool.submit(job) for job in jobs]]


def lower_thread_priority() -> None:
    """Let the calling thread, and those that it starts from now on, compute after all others (Linux)."""
    if sys.platform == "linux":
        thread = threading.get_native_id()
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, thread, min(19, os.getpriority(os.PRIO_PROCESS, thread) + 5))


@contextmanager
def limit_to_one_thread() -> Iterator[None]:
    """Keep torch to one thread: on a busy machine, threads wait for each other longer than a single image takes."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def describe_device(device: str) -> str:
    """Describe the device, a GPU with its peak memory since `reset_peak_memory`: "cpu (AMD EPYC, 2 threads)"."""
    if device == "cuda":
        return f"cuda ({torch.cuda.get_device_name()}, peak {torch.cuda.max_memory_allocated() / 2**20:.0f} MB)"
    name = _read_cpuinfo("model name") or platform.processor() or platform.machine()
    return f"cpu ({name}, {count_processors()} threads)" if device == "cpu" else device


def reset_peak_memory(device: str) -> None:
    """Start measuring peak memory anew where the system can (Linux); elsewhere it is that of the whole process."""
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def read_peak_memory() -> float:
    """Read the peak main memory since `reset_peak_memory`, in MB (2**20 bytes); 0 where it is unknown."""
    with suppress(OSError, IndexError, ValueError):
        status = Path("/proc/self/status").read_text()
        return round(int(status.partition("VmHWM:")[2].split()[0]) / 2**10, 1)
    try:
        import resource
    except ImportError:  # Windows
        return 0.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10), 1)


def list_versions(*more: str) -> dict[str, str]:
    """List the versions of the app, Python, the libraries that affect a result, and `more` packages."""
    packages = {name: find_version(name) for name in dict.fromkeys((*REPORTED_LIBRARIES, *more))}
    return {"medapp": medapp.__version__, "python": platform.python_version(), **packages}


@cache
def find_version(package: str) -> str:
    """Return the package's version, or "none" if it is not installed."""
    try:
        return installed(package)
    except PackageNotFoundError:
        return "none"


@cache
def _read_cpuinfo(field: str) -> str:
    """The value of the first such field of /proc/cpuinfo, or ""."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(field)), "")
