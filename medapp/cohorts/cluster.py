"""Cluster: the worker processes, on this machine by default, else those of a Dask scheduler or a job queue.

Dask does the scheduling: it hands out cases, notices workers that die, replaces them and gives their cases to others.
"""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from medapp import hardware
from medapp.errors import InputError, OptionError

JOB_QUEUES = {
    "slurm": "SLURMCluster",
    "pbs": "PBSCluster",
    "sge": "SGECluster",
    "lsf": "LSFCluster",
    "htcondor": "HTCondorCluster",
    "oar": "OARCluster",
}
ALLOWED_DEATHS = 1  # of workers at one case, after which the case is given up
CONNECT_SECONDS = 20
SETTINGS = {
    "distributed.scheduler.allowed-failures": ALLOWED_DEATHS,
    "distributed.scheduler.worker-saturation": 1.0,  # a worker gets its next case when it is free
    "distributed.worker.memory.target": False,  # results are small: there is nothing to move to disk
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,  # networks stay in memory: a paused worker would never go on
    "distributed.worker.memory.terminate": 0.95,
    "distributed.admin.tick.limit": "1h",  # computing holds up a worker's answers, which is no fault
}

LOOPBACK = {"host": "127.0.0.1", "dashboard": False, "dashboard_address": "127.0.0.1:0"}


@contextmanager
def start_cluster(
    scheduler: str, n_jobs: int | None, cases: int, memory_gb: float, device: str | None
) -> Iterator[Any]:
    """Give a Dask client, and end the workers afterwards if they were started here.

    `scheduler` is "" for this machine, an address, or one of JOB_QUEUES. On this machine at most `cases` workers are
    started. Raises OptionError for an unknown scheduler, InputError for one that does not answer.
    """
    import dask
    from distributed import Client

    dask.config.set(SETTINGS)
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    if "://" in scheduler or ":" in scheduler:
        try:
            client = Client(scheduler, timeout=CONNECT_SECONDS)
        except (OSError, ValueError) as error:
            raise InputError(f"The scheduler {scheduler} does not answer; start it with `dask scheduler`.") from error
        with client:
            yield client
        return
    if scheduler and scheduler not in JOB_QUEUES:
        raise OptionError(f"--scheduler takes an address with a port, or one of {', '.join(JOB_QUEUES)}.")
    cluster = _start_queue(scheduler, n_jobs) if scheduler else _start_here(n_jobs, cases, memory_gb, device)
    with cluster, Client(cluster) as client:
        yield client


def choose_workers(n_jobs: int | None, cases: int, memory_gb: float, device: str | None) -> int:
    """Return how many workers to start here: `n_jobs`, or one a GPU, or as many as cores and memory allow.

    Never more than there are cases. Raises OptionError for a number below one.
    """
    if n_jobs is not None and n_jobs < 1:
        raise OptionError("--n-jobs must be 1 or more.")
    if memory_gb <= 0:
        raise OptionError("--memory-gb must be more than 0.")
    gpus = count_gpus(device)
    fitting = int(_available_memory() / (memory_gb * 2**30))
    return max(1, min(cases, n_jobs or gpus or min(hardware.count_processors(), fitting)))


def count_gpus(device: str | None) -> int:
    """Return how many GPUs of CUDA workers may use, 0 if another device is asked for."""
    return hardware.count_gpus() if device in (None, "cuda") else 0


def _start_here(n_jobs: int | None, cases: int, memory_gb: float, device: str | None) -> Any:
    """Workers on this machine, each with its share of cores and memory, and a GPU if there is one.

    They listen on the loopback address alone, and to this process alone, by certificates made for it: who else has an
    account on the machine could run programs as this user otherwise.
    """
    from distributed import Nanny, Scheduler, Security, SpecCluster

    workers, gpus = choose_workers(n_jobs, cases, memory_gb, device), count_gpus(device)
    threads = max(1, hardware.count_processors() // workers)
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if os.environ.get("CUDA_VISIBLE_DEVICES") else None
    security = Security.temporary()
    private = {**LOOPBACK, "protocol": "tls://", "security": security}
    specification = {}
    for number in range(workers):
        environment = {"MEDAPP_THREADS": str(threads), "OMP_NUM_THREADS": str(threads)}
        if gpus:
            gpu = number % gpus
            environment["CUDA_VISIBLE_DEVICES"] = visible[gpu] if visible else str(gpu)
        options = {
            "nthreads": 1,  # one case at a time
            "memory_limit": int(_available_memory() / workers),
            "env": environment,
            **private,
            "silence_logs": logging.CRITICAL,
        }
        specification[number] = {"cls": Nanny, "options": options}
    scheduler = {"cls": Scheduler, "options": private}
    return SpecCluster(specification, scheduler, security=security, silence_logs=logging.CRITICAL)


def _start_queue(name: str, n_jobs: int | None) -> Any:
    """Workers as jobs of a queue, by the user's configuration of dask-jobqueue."""
    import dask_jobqueue

    try:
        cluster = getattr(dask_jobqueue, JOB_QUEUES[name])()
    except (ValueError, TypeError, OSError) as error:
        reason = str(error).splitlines()[0].rstrip(":. ")
        raise InputError(
            f"dask-jobqueue could not start {name}: {reason}. Configure cores, memory and queue in "
            "~/.config/dask/jobqueue.yaml."
        ) from error
    cluster.scale(jobs=n_jobs or 1)
    return cluster


def _available_memory() -> int:
    """Memory in bytes that is free now, within the limit of a container."""
    import psutil
    from distributed.system import MEMORY_LIMIT

    return min(psutil.virtual_memory().available, MEMORY_LIMIT)
