"""Command: `python -m medapp bids`, from its arguments to its exit code."""

import argparse
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from medapp.card import Card
from medapp.cohorts import bids_study, path_list
from medapp.cohorts.case import Case, Study
from medapp.cohorts.case_record import is_done
from medapp.cohorts.dataset import describe_dataset, name_dataset
from medapp.errors import InputError, OptionError, WeightsError
from medapp.serving import runtime
from medapp.serving.weight_files import locate_weights

NEEDED = ("ancpbids", "distributed", "filelock", "tqdm")
INTERRUPTED = 130  # exit code of a shell command that was interrupted
SHOWN_FAILURES = 20


def run_command(args: argparse.Namespace, settings: Mapping[str, str]) -> int:
    """Run one level and return the exit code: 0 all done, 1 some cases failed, 130 interrupted.

    `settings` are the options of the method as the user gave them. Raises UserError for wrong use.
    """
    if missing := [name for name in NEEDED if not find_spec(name)]:
        raise OptionError(f"`bids` needs {', '.join(missing)}: pip install -r requirements-cohort.txt.")
    card = runtime.find_card(args.method)
    if not args.bids_dir.exists():
        raise InputError(f"There is no folder or file {args.bids_dir}.")
    source = args.bids_dir if args.bids_dir.is_dir() else args.bids_dir.parent
    study = Study(
        card.name,
        card.parse_settings(card.use_present_names(settings)),
        source.resolve(),
        name_dataset(args.output_dir, card.name).resolve(),
        args.device,
        list_weights(card),
    )
    selection = bids_study.Selection(
        _strip_prefix(args.participant_label, "sub-"),
        _strip_prefix(args.session_label, "ses-"),
        bids_study.parse_filters(args.filter, card),
        args.fixed,
        args.longitudinal,
    )
    if args.level == "group":
        from medapp.cohorts.group import report_group

        return report_group(study, card, selection)
    return _run_participants(args, study, card, selection)


def list_weights(card: Card) -> dict[str, str]:
    """Map the files of a method's weights that are at hand to their sha256. Raises WeightsError for its main one."""
    located = {card.weights.file: locate_weights(card.weights).sha256}
    for network in card.networks.values():
        if network.weights.file not in located:
            try:
                located[network.weights.file] = locate_weights(network.weights).sha256
            except WeightsError:  # of a setting that is not in use
                continue
    return located


def find_cases(args: argparse.Namespace, card: Card, selection: bids_study.Selection) -> list[Case]:
    """Find the cases of a BIDS study, a CSV or a folder. Raises UserError where there is none."""
    path: Path = args.bids_dir
    if path.is_file():
        return path_list.read_csv_cases(path.resolve(), card, selection)
    if not is_bids(path):
        return path_list.read_folder_cases(path.resolve(), card, selection)
    if not args.skip_bids_validation:
        from medapp.cohorts.bids_validation import require_valid_study

        require_valid_study(path)
    return bids_study.find_cases(path.resolve(), card, selection)


def is_bids(folder: Path) -> bool:
    """Whether a folder is a BIDS study, and not just any folder of images."""
    return (folder / "dataset_description.json").is_file() or any(folder.glob("sub-*/"))


def _run_participants(args: argparse.Namespace, study: Study, card: Card, selection: bids_study.Selection) -> int:
    """Run all cases and say what became of them."""
    from medapp.cohorts.batch import run_cases
    from medapp.cohorts.case_run import Outcome, record_failure
    from medapp.cohorts.cluster import choose_workers, start_cluster

    choose_workers(args.n_jobs, 1, args.memory_gb, args.device)  # wrong use is said before a study is searched
    cases = find_cases(args, card, selection)
    describe_dataset(study, card)
    outcomes, waiting = [], []
    for case in cases:
        if case.missing:
            outcomes.append(record_failure(study, case, f"{case.missing[0].upper()}{case.missing[1:]}."))
        elif is_done(study, case):
            outcomes.append(Outcome(case.name, "kept"))
        else:
            waiting.append(case)
    try:
        if waiting:
            with start_cluster(args.scheduler, args.n_jobs, len(waiting), args.memory_gb, args.device) as client:
                outcomes += run_cases(client, study, waiting, quiet=args.quiet)
    except KeyboardInterrupt:
        print(f"\nInterrupted. What is done stays in {study.dataset}; run the command again to go on.", file=sys.stderr)
        return INTERRUPTED
    count = Counter(outcome.status for outcome in outcomes)
    kept = f" ({count['kept']} of them before)" if count["kept"] else ""
    print(
        f"{count['done'] + count['kept']} of {len(cases)} cases done{kept}, {count['failed']} failed: {study.dataset}"
    )
    failures = [outcome for outcome in outcomes if outcome.status == "failed"]
    for outcome in failures[:SHOWN_FAILURES]:
        print(f"failed: {outcome.name}: {outcome.reason}")
    if len(failures) > SHOWN_FAILURES:
        print(f"and {len(failures) - SHOWN_FAILURES} more; the group level lists them all")
    return 1 if failures else 0


def _strip_prefix(labels: Sequence[str], prefix: str) -> list[str]:
    return [label.removeprefix(prefix) for label in labels]
