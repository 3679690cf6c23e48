"""Arguments: those of a BIDS App, and a few more."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `python -m medapp bids`."""
    parser.add_argument(
        "bids_dir", type=Path, metavar="BIDS_DIR", help="a BIDS study; or a CSV of paths, or a folder of images"
    )
    parser.add_argument(
        "output_dir", type=Path, metavar="OUT", help="folder for the derivatives; results go to OUT/medapp-METHOD"
    )
    parser.add_argument(
        "level", choices=("participant", "group"), help="participant: run the method; group: tables and pages of all"
    )
    parser.add_argument("--method", required=True, metavar="NAME", help="a name from `list`")
    parser.add_argument(
        "--participant-label", "--participant_label", nargs="+", default=[], metavar="LABEL", help="these people only"
    )
    parser.add_argument(
        "--session-label", "--session_label", nargs="+", default=[], metavar="LABEL", help="these exams only"
    )
    parser.add_argument(
        "--filter",
        action="append",
        default=[],
        metavar="[INPUT.]ENTITY=VALUE",
        help="only scans with this BIDS entity, such as acq=3d, run=1 or t1.acq=3d; run=none: without; may be repeated",
    )
    parser.add_argument(
        "--fixed",
        default="template",
        metavar="PERSON",
        help="of a registration: a participant, such as sub-01 or sub-01_ses-2, or template: the MNI152 template",
    )
    parser.add_argument(
        "--longitudinal",
        action="store_true",
        help="give each exam the scan of the exam before it, to a method that takes an earlier scan",
    )
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="an option; may be repeated")
    parser.add_argument("--device", choices=("cuda", "mps", "cpu"), help="where to compute; the best by default")
    parser.add_argument(
        "--n-jobs",
        "--n_jobs",
        type=int,
        metavar="N",
        help="worker processes; by default one a GPU, or as many as cores and memory allow",
    )
    parser.add_argument(
        "--memory-gb", type=float, default=3.0, metavar="GB", help="memory that a worker needs; 3 by default"
    )
    parser.add_argument(
        "--scheduler",
        default="",
        metavar="ADDRESS",
        help="of a Dask scheduler, such as tcp://10.0.0.1:8786; or slurm, pbs, sge, lsf, htcondor, oar, configured as "
        "dask-jobqueue describes",
    )
    parser.add_argument(
        "--skip-bids-validation", "--skip_bids_validation", action="store_true", help="do not run the BIDS validator"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress on standard error")
