"""Case log: what happened to a case, one line a step. It names people by their BIDS labels alone."""

import time
from pathlib import Path

from medapp.cohorts.case import Case

LOGS = "logs"  # folder of a dataset


class CaseLog:
    """Appends lines to logs/CASE.log of a dataset; a line that the disk does not take is lost."""

    def __init__(self, dataset: Path, case: Case) -> None:
        """Log a case; nothing is written yet."""
        self.path = dataset / LOGS / f"{case.name}.log"
        self._names = {path.name: name for name, path in case.images.items()}
        self._stage = ""

    def begin(self, method: str) -> None:
        """Say that a run begins."""
        self.write(f"{method} begins")

    def report_stage(self, fraction: float, stage: str) -> None:
        """Write a stage of the run when it changes; numbers in its name do not count as a change."""
        plain = "".join(c for c in stage if not c.isdigit())
        if plain != self._stage:
            self._stage = plain
            self.write(f"{fraction:4.0%} {stage}")

    def write(self, text: str) -> None:
        """Append a line with the time."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as file:
                file.write(f"{time.strftime('%Y-%m-%dT%H:%M:%S')} {self.clean(text)}\n")
        except OSError:
            return

    def clean(self, text: str) -> str:
        """A text with the input's name in place of its file's, which may tell a patient's."""
        for name, source in sorted(self._names.items(), key=lambda pair: -len(pair[0])):
            text = text.replace(name, source)
        return text
