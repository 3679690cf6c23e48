"""Dataset: the folder of a method's derivatives and the files that describe it."""

import os
from pathlib import Path
from urllib.parse import quote

from medapp import hardware
from medapp.card import Card
from medapp.cohorts.atomic_files import write_json, write_text
from medapp.cohorts.case import Study
from medapp.errors import InputError
from medapp.presenters import derivative_sidecars
from medapp.presenters.derivative_names import IGNORED
from medapp.result import NOT_A_DIAGNOSIS

SOURCE_LINK = "raw"  # the name of the study in BIDS URIs
README = """{title}

{notice}

Derivatives of {method} (medapp {version}), one folder for each person. Masks, probabilities, label maps and images
follow BIDS. What BIDS has no rules for, or none yet, is listed in .bidsignore: transforms (*_xfm.*), CT and microscopy,
tables of a case (*_stats.tsv), regions without names (*_seg-regions_dseg.*), pictures (figures), the record of what
became of each case (cases), its log (logs), and the tables and pages of the group (group).

Positions in tables are RAS+ mm in the space of the scan. Licence of the results: {licence}. Please cite: {cite}
"""


def name_dataset(output: Path, method: str) -> Path:
    """The folder of a method's derivatives."""
    return output / f"medapp-{method}"


def describe_dataset(study: Study, card: Card) -> None:
    """Write dataset_description.json, .bidsignore and README.md. Raises InputError where nothing can be written."""
    versions = hardware.list_versions()
    description = derivative_sidecars.describe_dataset(card, study.source.name, versions, study.weights)
    description |= {
        "SourceDatasets": [{"URL": locate_source(study)}],
        "DatasetLinks": {SOURCE_LINK: locate_source(study)},
    }
    readme = README.format(
        title=card.title,
        notice=NOT_A_DIAGNOSIS,
        method=card.name,
        version=versions["medapp"],
        licence=card.licence,
        cite=card.cite,
    )
    try:
        write_json(study.dataset / "dataset_description.json", description)
        write_text(study.dataset / ".bidsignore", "\n".join(IGNORED) + "\n")
        write_text(study.dataset / "README.md", readme)
    except OSError as error:
        raise InputError(f"Nothing can be written to {study.dataset}: {error.strerror}.") from error


def locate_source(study: Study) -> str:
    """Where the study is, for a program: relative to the dataset if that lies in it, else as a file URI."""
    source, dataset = study.source.resolve(), study.dataset.resolve()
    if dataset.is_relative_to(source):
        return Path(os.path.relpath(source, dataset)).as_posix()
    return f"file://{quote(source.as_posix())}"


def make_uri(study: Study, path: Path) -> str:
    """The BIDS URI of a file of the study, or a file URI of one elsewhere."""
    source, path = study.source.resolve(), Path(os.path.abspath(path))
    if path.is_relative_to(source):
        return f"bids:{SOURCE_LINK}:{quote(path.relative_to(source).as_posix())}"
    return f"file://{quote(path.as_posix())}"
