"""The command line: `python -m medapp list`, `run PIPELINE INPUT... --out DIR`, `compare MASK... --out DIR` and
`bids BIDS_DIR OUT LEVEL`."""

import argparse
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from medapp.analysis.hand_correction import AUTOMATIC, CORRECTION
from medapp.card import Card
from medapp.cohorts.arguments import add_arguments
from medapp.errors import InputError, OptionError, UserError
from medapp.imaging.volume import Volume
from medapp.io import files
from medapp.io.validation import DISK_FULL_MESSAGE, is_disk_full
from medapp.options import Choice, Landmarks, RenamedWarning
from medapp.presenters import get_presenter
from medapp.presenters.comparison import prepare_comparison
from medapp.presenters.given_mask import MASK_HELP, check_given_mask, lay_given_mask, require_mask_role
from medapp.presenters.mask_comparison import WRITTEN_ROLES, compare_masks_alone
from medapp.presenters.raters import check_rater, name_rater
from medapp.presenters.report import describe_method, render_report
from medapp.result import NOT_A_DIAGNOSIS, Result
from medapp.serving import runtime
from medapp.serving.earlier_result import find_earlier_result
from medapp.serving.input_fit import Level, judge_input


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0, or 2 after one sentence on standard error; `bids` has more."""
    args = _parser().parse_args(arguments)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = partial(_show_warning, warnings.showwarning)
            return args.command(args) or 0
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    except OSError as error:
        if not is_disk_full(error):
            raise
        print(DISK_FULL_MESSAGE, file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m medapp", description=NOT_A_DIAGNOSIS)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    lister = commands.add_parser("list", help="the methods, what they take and which options they have")
    lister.set_defaults(command=_list)

    runner = commands.add_parser("run", help="run a method on images and write its results to a folder")
    runner.set_defaults(command=_run)
    runner.add_argument("pipeline", help="a name from `list`")
    runner.add_argument(
        "inputs", nargs="+", metavar="INPUT", help="an image file, a DICOM folder or a zip; in the order `list` gives"
    )
    runner.add_argument(
        "--out", required=True, type=Path, metavar="DIR", help="folder for the results, made if missing"
    )
    runner.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="an option; may be repeated; NAME=FILE also for an optional input, and regions=FILE for a map of your own",
    )
    for name in _optional():
        runner.add_argument(
            f"--{name.replace('_', '-')}", type=Path, metavar="FILE", help=f"the input {name}, by its name"
        )
    for name in _former():
        runner.add_argument(f"--{name.replace('_', '-')}", type=Path, help=argparse.SUPPRESS)
    runner.add_argument("--reference", type=Path, metavar="FILE", help="a mask, or a clean image, to compare with")
    runner.add_argument(
        "--mask",
        type=Path,
        metavar="FILE",
        help=f"{MASK_HELP}, with a report; where DIR holds the result of the same images, the network does not run",
    )
    runner.add_argument(
        "--rater",
        action="append",
        default=[],
        type=Path,
        metavar="FILE",
        help="the mask of another rater, to compare with the result and the reference; may be repeated",
    )
    runner.add_argument(
        "--reference-by-voxels",
        action="store_true",
        help="lay the reference's voxels on the image's, whatever its header says, for one whose header is lost",
    )
    runner.add_argument(
        "--device", choices=("cuda", "mps", "cpu"), help="where to compute; the best there is by default"
    )
    runner.add_argument(
        "--series",
        action="append",
        default=[],
        metavar="[NAME=]NUMBER",
        help="which DICOM series of an input that holds several, by its number in the list that is then shown, or by "
        "its uid; may be repeated; NAME is an input, or reference",
    )
    runner.add_argument("--quiet", action="store_true", help="no progress on standard error")

    comparer = commands.add_parser("compare", help="compare two or more raters' masks of one image with each other")
    comparer.set_defaults(command=_compare)
    comparer.add_argument("masks", nargs="+", type=Path, metavar="MASK", help="a mask; the first one's grid counts")
    comparer.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder for the tables and masks")

    cohort = commands.add_parser("bids", help="run a method on every person of a study, as a BIDS App")
    add_arguments(cohort)
    cohort.set_defaults(command=_bids)
    return parser


def _bids(args: argparse.Namespace) -> int:
    from medapp.cohorts.command import run_command

    return run_command(args, dict(_pair(text) for text in args.set))


def _compare(args: argparse.Namespace) -> None:
    masks = [_read(path, "mask", {}, name=name_rater(path), labels=True) for path in args.masks]
    _write(compare_masks_alone(masks), args.out, WRITTEN_ROLES)


def _list(args: argparse.Namespace) -> None:
    for card in runtime.load_cards().values():
        print(f"{card.name}: {card.title}")
        for source in card.inputs:
            print(f"    input {source.name}{' (optional)' if source.optional else ''}: {source.title}. {source.about}")
        for option in card.options:
            print(f"    option {option.name} = {option.default}: {option.about or option.title}")


def _run(args: argparse.Namespace) -> None:
    card = runtime.find_card(args.pipeline)
    presenter = get_presenter(card)
    options = _texts(card, card.use_present_names(dict(_pair(text) for text in args.set)))
    uploads = _uploads(card, options) | _named(card, args)
    if args.mask or args.rater:
        require_mask_role(card)
    card.parse_settings(options)  # a wrong option is said before a big file is read
    colour = any(source.colour for source in card.inputs)
    series = card.parse_series(args.series)
    volumes = [
        None
        if path is None
        else _read(path, source.name, series, name=source.title, colour=source.colour, labels=source.labels)
        for source, path in zip(card.inputs, _arranged(card, args.inputs, uploads), strict=True)
    ]
    mask = None
    if args.mask:
        read = _read(args.mask, "mask", series, name="mask", labels=True)
        mask = check_given_mask(read, card.name_inputs(volumes))
    raters = [
        check_rater(_read(path, "rater", series, name=name_rater(path), labels=True), card.name_inputs(volumes))
        for path in args.rater
    ]
    if args.reference:
        _files(args.reference)  # a wrong path is wrong use
    how = {"name": "reference", "colour": colour, "labels": presenter.has_label_reference}
    comparison = prepare_comparison(
        card,
        card.name_inputs(volumes),
        lambda: _read(args.reference, "reference", series, **how) if args.reference else None,
        by_voxels=args.reference_by_voxels,
    )
    _warn(comparison.note)
    for source, volume in zip(card.inputs, volumes, strict=True):
        fit = judge_input(source, volume) if volume is not None else None
        _warn(fit.sentence if fit and fit.level == Level.DOUBT else "")  # before it is waited for
    earlier = None if mask is None else _find_earlier(card, args.out, volumes, options)
    result = earlier or runtime.run(
        card.name, *volumes, device=args.device, progress=None if args.quiet else _tell, **options
    )
    if mask is not None:
        result = lay_given_mask(card, result, mask)
    if comparison.wanted:
        result, made = comparison.apply(presenter, result, result.settings)
        _warn(made.note if made is not comparison else "")
    if raters:
        result = presenter.rate(result, raters, comparison.reference)
    there = earlier.volumes if earlier else {}
    roles = [role for role in presenter.files if result.volumes.get(role) is not there.get(role)]
    has_report = mask is not None or bool(raters)
    _write(
        result,
        args.out,
        tuple(roles),
        (lambda: render_report(result, presenter, card.title, describe_method(card))) if has_report else None,
    )


def _write(result: Result, folder: Path, roles: tuple[str, ...], report: Callable[[], str] | None = None) -> None:
    """Write the files of a result, and its report where there is one, and print what it says."""
    try:
        written = result.write_files(folder, roles)
        if report is not None:
            page = folder / f"{result.name_part('report')}.html"
            page.write_text(report(), encoding="utf-8")
            written.paths.append(page)
    except OSError as error:
        raise InputError(f"The results could not be written to {folder}: {error.strerror}.") from error
    for name, metric in written.result.metrics.items():
        print(f"{name}: {'not defined' if metric.value is None else metric.value} {metric.unit}".rstrip())
    for warning in written.result.warnings:
        print(f"warning: {warning}")
    for note in written.result.notes:
        print(f"note: {note}")
    print("wrote " + ", ".join(str(path) for path in written.paths))


def _find_earlier(card: Card, folder: Path, volumes: Sequence[Volume | None], options: dict[str, str]) -> Result | None:
    """The result that the folder holds of a run with these inputs and options, if there is one."""
    presenter, settings = get_presenter(card), card.parse_settings(options)
    roles = [role for role in presenter.files if role not in (AUTOMATIC, CORRECTION)]
    measure = partial(presenter.recompute, reference=None, settings=settings)
    return find_earlier_result(folder, card, card.name_inputs(volumes), settings, roles, measure)


def _read(path: Path, place: str, series: dict[str, str], **how: Any) -> Volume:
    """The image for the input `place`. Raises InputError, which lists the series where there are several."""
    try:
        return files.read(_files(path), series.get(place), **how)
    except files.SeveralSeriesError as several:
        listed = "\n".join(f"  {one.title}" for one in several.series)
        raise InputError(
            f"{path.name} holds {len(several.series)} series. Choose one with --series {place}=NUMBER:\n{listed}"
        ) from several


def _show_warning(show: Callable[..., None], message: Warning | str, category: type[Warning], *where: Any) -> None:
    """Print that a name has changed as a note, and any other warning by `show`."""
    if issubclass(category, RenamedWarning):
        _warn(str(message))
    else:
        show(message, category, *where)


def _warn(note: str) -> None:
    if note:
        print(f"note: {note}", file=sys.stderr)


def _texts(card: Card, options: dict[str, str]) -> dict[str, str]:
    """The options, landmarks that were given as a file read from it. Raises InputError."""
    for option in card.options:
        path = Path(options.get(option.name, ""))  # or the text itself, however long
        if isinstance(option, Landmarks) and options.get(option.name) and os.path.isfile(path):
            try:
                options[option.name] = path.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise InputError(f"{path.name} could not be read as text.") from error
    return options


def _uploads(card: Card, options: dict[str, str]) -> dict[str, Path]:
    """Input's name to file, for optional inputs, and options that were given a file in place of a word.

    Those are taken out of `options`.
    """
    found = {s.name: Path(options.pop(s.name)) for s in card.inputs if s.optional and s.name in options}
    for option in card.options:
        value = options.get(option.name, "")
        if isinstance(option, Choice) and option.upload and value not in ("", *option.values) and os.path.exists(value):
            found[option.upload] = Path(options.pop(option.name))
    return found


def _optional() -> list[str]:
    """The names of all methods' optional inputs."""
    return list(dict.fromkeys(s.name for card in runtime.load_cards().values() for s in card.inputs if s.optional))


def _former() -> list[str]:
    """The former names of all methods' optional inputs, where no input has them now."""
    sources = (source for card in runtime.load_cards().values() for source in card.inputs if source.optional)
    names = dict.fromkeys(name for source in sources for name in source.former)
    return [name for name in names if name not in _optional()]


def _named(card: Card, args: argparse.Namespace) -> dict[str, Path]:
    """Input's name to file, for optional inputs given by name. Raises OptionError for one of another method."""
    paths = {name: path for name in (*_optional(), *_former()) if (path := getattr(args, name))}
    paths = card.use_present_names(paths)
    known = {source.name for source in card.inputs}
    if wrong := paths.keys() - known:
        raise OptionError(f"{card.name} has no input {', '.join(sorted(wrong))}; it has {', '.join(sorted(known))}.")
    return paths


def _arranged(card: Card, given: Sequence[str], uploads: dict[str, Path]) -> list[Path | None]:
    """A path, or None, for every input of the card."""
    names = [source.name for source in card.inputs]
    paths = dict(zip(names, card.arrange_inputs([Path(path) for path in given]), strict=True))
    return [uploads.get(name, paths[name]) for name in names]


def _files(path: Path) -> list[Path]:
    """The path itself with what it names beside it, or the files in a folder. Raises InputError if there is nothing."""
    if os.path.isdir(path):
        found = sorted(p for p in path.rglob("*") if p.is_file() and not (p.is_symlink() or p.name.startswith(".")))
        if not found:
            raise InputError(f"The folder {path.name} is empty.")
        return found
    if not os.path.isfile(path):
        raise InputError(f"There is no file {str(path)[:200]}.")
    return files.with_data_files(path)


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise OptionError(f"--set wants NAME=VALUE, not {text!r}.")
    return name.strip(), value.strip()


def _tell(fraction: float, stage: str) -> None:
    if sys.stderr.isatty():
        print(f"\r{fraction:4.0%} {stage:<40}", end="" if fraction < 1 else "\n", file=sys.stderr, flush=True)
