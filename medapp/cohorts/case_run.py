"""Case run: one case in a worker process, from its images to its record. Whatever fails stops this case alone."""

import shutil
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

import medapp
from medapp.algorithms.mni_template import load_template
from medapp.card import Card
from medapp.cohorts.atomic_files import write_atomically
from medapp.cohorts.case import Case, Study
from medapp.cohorts.case_log import CaseLog
from medapp.cohorts.case_record import CaseRecord, compute_fingerprint, is_done, read_record
from medapp.cohorts.derivative_files import DerivativeWriter
from medapp.errors import UserError
from medapp.imaging.volume import Volume
from medapp.io import files
from medapp.io.validation import DISK_FULL_MESSAGE, is_disk_full
from medapp.presenters import get_presenter
from medapp.presenters.derivative_names import TEMPLATE_NAME
from medapp.serving import runtime

WORK = ".work"  # folder of a dataset, for files that are not whole yet
PACKAGE = Path(medapp.__file__).parent
SPARE_BYTES = 64 * 2**20  # of the disk, below which no case is begun


@dataclass(frozen=True)
class Outcome:
    """What became of a case: `done`, `kept` (done before), `failed` with the reason, or `busy` (another command's)."""

    name: str
    status: str
    reason: str = ""
    seconds: float = 0.0
    peak_memory_mb: float = 0.0


def run_case(study: Study, case: Case, wait: bool = False) -> Outcome:
    """Run a case unless it is done; write its derivatives, its log and, last, its record.

    Another command that works on the same case makes it `busy`; with `wait` its end is waited for. Errors are reported
    in the outcome and the record, and none is raised.
    """
    started = time.perf_counter()
    log = CaseLog(study.dataset, case)
    try:
        (study.dataset / WORK).mkdir(parents=True, exist_ok=True)
        with FileLock(study.dataset / WORK / f"{case.name}.lock", timeout=-1 if wait else 0):
            if is_done(study, case):
                return Outcome(case.name, "kept")
            return _run_locked(study, case, log)
    except Timeout:
        return Outcome(case.name, "busy")
    except BaseException as error:
        reason = log.clean(explain_error(error))
        _record_failure(study, case, reason, log)
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise
        return Outcome(case.name, "failed", reason, time.perf_counter() - started)


def record_failure(study: Study, case: Case, reason: str) -> Outcome:
    """Record that a case has failed, for one that no worker could say it of."""
    _record_failure(study, case, reason, CaseLog(study.dataset, case))
    return Outcome(case.name, "failed", reason)


def _run_locked(study: Study, case: Case, log: CaseLog) -> Outcome:
    """Run a case that no other process works on."""
    started = time.perf_counter()
    before, fingerprint = read_record(study.dataset, case.name), compute_fingerprint(study, case)
    if shutil.disk_usage(study.dataset).free < SPARE_BYTES:
        raise UserError(DISK_FULL_MESSAGE)
    log.begin(study.method)
    card = runtime.find_card(study.method)
    presenter = get_presenter(card)
    volumes = read_images(case, card)
    result = runtime.run(card.name, *volumes, device=study.device, progress=log.report_stage, **study.settings)
    log.report_stage(1.0, "Writing")
    folder = study.dataset / WORK / case.name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        writer = DerivativeWriter(study, case, folder)
        writer.write_result(result, presenter)
        sizes = {path.as_posix(): (folder / path).stat().st_size for path in writer.written}
        for path in writer.written:
            write_atomically(study.dataset / path, (folder / path).replace)
        for name in set(before.files if before else ()) - set(sizes):  # of another version or setting
            (study.dataset / name).unlink(missing_ok=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    facts = {key: value for key, value in result.facts().items() if key != "tables"}
    facts |= {key: [log.clean(text) for text in facts[key]] for key in ("warnings", "notes")}
    CaseRecord(
        case.name,
        case.entities,
        "done",
        fingerprint=fingerprint,
        files=sizes,
        picture=writer.picture,
        template_mask=writer.template_mask,
        facts=facts,
    ).write(study.dataset)
    for warning in result.warnings:
        log.write(f"warning: {warning}")
    seconds = time.perf_counter() - started
    log.write(f"done in {seconds:.1f} s")
    return Outcome(case.name, "done", "", seconds, facts["peak_memory_mb"])


def read_images(case: Case, card: Card) -> list[Volume | None]:
    """Read the images of a case in the order of the card's inputs, None for one that it lacks. Raises InputError."""
    volumes: list[Volume | None] = []
    for source in card.inputs:
        path = case.images.get(source.name)
        if source.name == "fixed" and path is None and case.fixed == TEMPLATE_NAME:
            volumes.append(load_template())
        elif path is None:
            volumes.append(None)
        else:
            parts = files.with_data_files(path) if path.is_file() else [path]
            volumes.append(files.read(parts, name=source.title, colour=source.colour, labels=source.labels))
    return volumes


def explain_error(error: BaseException) -> str:
    """Say why a case failed: a user's error in its own words, any other by its type and place, without its text."""
    if isinstance(error, UserError):
        return str(error)
    if is_disk_full(error):
        return DISK_FULL_MESSAGE
    if isinstance(error, MemoryError):
        return "There was not enough memory. Use fewer workers (--n-jobs)."
    if isinstance(error, OSError) and error.strerror:
        return f"A file could not be read or written: {error.strerror}."
    if isinstance(error, KeyboardInterrupt | SystemExit):
        return "It was interrupted."
    frames = list(traceback.extract_tb(error.__traceback__))
    frames = [frame for frame in frames if Path(frame.filename).is_relative_to(PACKAGE)] or frames
    place = f" in {Path(frames[-1].filename).name}, line {frames[-1].lineno}" if frames else ""
    return f"This is a fault of ours: {type(error).__name__}{place}."


def _record_failure(study: Study, case: Case, reason: str, log: CaseLog) -> None:
    """Write record and log of a failure as far as the disk allows; what an earlier run has written stays listed."""
    before = read_record(study.dataset, case.name)
    try:
        log.write(f"failed: {reason}")
        files_before = before.files if before else {}
        CaseRecord(case.name, case.entities, "failed", reason, files=files_before).write(study.dataset)
    except OSError:
        return
