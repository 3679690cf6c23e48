"""BIDS validation: what the BIDS validator says of a study, if it is installed."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

from medapp.errors import InputError

VALIDATOR = "bids-validator-deno"
SHOWN_ERRORS = 5


def require_valid_study(study: Path) -> None:
    """Raise InputError if the validator finds errors in a study; without a validator a note is printed instead."""
    errors = find_errors(study)
    if errors is None:
        print(f"note: {VALIDATOR} is not installed or does not run: {study.name} was not validated", file=sys.stderr)
    elif errors:
        more = f"\nand {len(errors) - SHOWN_ERRORS} more" if len(errors) > SHOWN_ERRORS else ""
        raise InputError(
            f"The BIDS validator finds errors in {study}. Correct them, or run with --skip-bids-validation:\n"
            + "\n".join(errors[:SHOWN_ERRORS])
            + more
        )


def find_errors(study: Path) -> list[str] | None:
    """List the errors of a BIDS dataset, each with its place; None if there is no validator that runs."""
    program = shutil.which(VALIDATOR) or shutil.which(VALIDATOR, path=str(Path(sys.executable).parent))
    if program is None:
        return None
    command = [program, "--json", "--ignoreWarnings", str(study)]
    try:
        answer = json.loads(subprocess.run(command, capture_output=True, check=False).stdout)
        issues = answer["issues"]["issues"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    keys = ("location", "code", "subCode", "issueMessage")
    return [
        " ".join(str(issue[key]).strip() for key in keys if issue.get(key))
        for issue in issues
        if issue.get("severity") == "error"
    ]
