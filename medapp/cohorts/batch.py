"""Batch: all cases of a study through the workers, with progress, and what became of them."""

import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError
from typing import Any

from medapp.cohorts.case import Case, Study
from medapp.cohorts.case_run import Outcome, record_failure, run_case
from medapp.cohorts.cluster import ALLOWED_DEATHS
from medapp.errors import InputError

DIED = (
    f"The worker process died {ALLOWED_DEATHS + 1} times: it ran out of memory or crashed. Use fewer workers "
    "(--n-jobs) with more memory each."
)
SECONDS_BETWEEN_LINES = 30  # of progress, where it is no terminal


def run_cases(client: Any, study: Study, cases: Sequence[Case], *, quiet: bool = False) -> list[Outcome]:
    """Run cases by a Dask client and return their outcomes, in the order in which they ended.

    Cases that another command works on are taken up again at the end, when it has left them. Raises InputError if the
    connection to the scheduler is lost.
    """
    from tqdm import tqdm

    outcomes: list[Outcome] = []
    spacing = 0.5 if sys.stderr.isatty() else SECONDS_BETWEEN_LINES
    with tqdm(total=len(cases), unit="case", disable=quiet, mininterval=spacing, smoothing=0, file=sys.stderr) as bar:
        for wait in (False, True):
            busy = []
            for case, outcome in _run_in_workers(client, study, cases, wait):
                if outcome.status == "busy":
                    busy.append(case)
                    continue
                outcomes.append(outcome)
                if outcome.status == "failed" and not quiet:
                    bar.write(f"{outcome.name}: {outcome.reason}", file=sys.stderr)
                bar.update()
            cases = busy
            if not busy:
                break
    return outcomes


def _run_in_workers(client: Any, study: Study, cases: Sequence[Case], wait: bool) -> Iterator[tuple[Case, Outcome]]:
    """Yield each case with its outcome as it ends."""
    from distributed import KilledWorker, as_completed

    futures = client.map(run_case, [study] * len(cases), cases, [wait] * len(cases), pure=False, batch_size=1000)
    case_of = dict(zip((future.key for future in futures), cases, strict=True))
    for future in as_completed(futures):
        case = case_of[future.key]
        try:
            yield case, future.result()
        except KilledWorker:
            yield case, record_failure(study, case, DIED)
        except (CancelledError, OSError) as error:
            raise InputError("The connection to the scheduler was lost; run the command again to go on.") from error
        future.release()
