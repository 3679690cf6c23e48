"""Records of a made-up study: four people at two exams, one of them with an outlier, and one who failed."""

from medapp.cohorts.case_record import CaseRecord

VOLUMES = {"01": (2.0, 3.0), "02": (2.2, 2.1), "03": (1.9, 2.0), "04": (2.1, 40.0)}  # ml at both exams


def make_record(person: str, exam: str, ml: float, **more) -> CaseRecord:
    """A case that is done."""
    facts = {
        "metrics": {"volume": {"value": ml, "unit": "ml"}, "hd95": {"value": None, "unit": "mm"}},
        "warnings": ["<b>check</b> this"],
        "doubt": "",
        "seconds": 1.0,
        "peak_memory_mb": 500.0,
    }
    return CaseRecord(f"sub-{person}_ses-{exam}", {"sub": person, "ses": exam}, "done", facts=facts, **more)


def make_records() -> list[CaseRecord]:
    """All of them."""
    records = [make_record(p, str(n), ml) for p, pair in VOLUMES.items() for n, ml in enumerate(pair, 1)]
    return [*records, CaseRecord("sub-05", {"sub": "05"}, "failed", "No FLAIR was found.")]
