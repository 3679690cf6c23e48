"""Scores scan recognition: `python -m training.evaluation.scan_kinds --data DATA [--part test]`.

People of the part "test" (or "validation", by which MIN_CERTAINTY is chosen) were never learned from. Each scan is
shown as it is and in the CONDITIONS; T2, PD, CT and PET of heads are made up of the brains of the part, and one T2 is
real.
Prints a row for each kind: scans named rightly, wrongly, not at all; then who is named wrongly.
"""

import argparse
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
from nibabel.affines import from_matvec
from scipy.spatial.transform import Rotation

from medapp.algorithms.scan_recognition import (
    KINDS,
    MIN_CERTAINTY,
    NO_HEAD,
    Evidence,
    measure_kinds,
    name_kinds,
)
from medapp.imaging.geometry import resample
from medapp.imaging.volume import Grid, Volume
from medapp.networks.scan_classifier import ScanClassifier
from medapp.serving.input_fit import RECOGNITION
from medapp.serving.network_loading import build_network
from medapp.serving.weight_files import LocatedWeights
from training.core.random_source import RandomSource
from training.data.made_up_scans import acquire
from training.data.scan_kinds import KindScan, real_scans
from training.data.scanner import resample_thick
from training.methods.scan_classifier import make_pool

MADE_UP_COUNT = 96
THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.97)


def to_volume(scan: KindScan, image: np.ndarray | None = None) -> Volume:
    """Return a scan, or another image on its grid, as a volume."""
    return Volume(scan.image if image is None else image, np.diag([scan.step] * 3 + [1.0]), name=scan.person)


def strip_skull(scan: KindScan) -> Volume | None:
    return None if scan.brain is None else to_volume(scan, scan.image * scan.brain)


def deface(scan: KindScan) -> Volume:
    y, z = (np.arange(n) / n for n in scan.image.shape[1:])
    return to_volume(scan, np.where((y[:, None] - z > 0.35)[None], 0, scan.image))


def turn(scan: KindScan) -> Volume:
    """Return the scan as acquired in oblique slices, told by its header."""
    volume = to_volume(scan)
    rotation = Rotation.from_euler("xyz", (18, -8, 10), degrees=True).as_matrix()
    middle = volume.grid.to_mm((np.array(volume.shape) - 1) / 2)
    turned = from_matvec(rotation, middle - rotation @ middle) @ volume.affine
    return resample(volume, Grid(volume.shape, turned))


def shrink(scan: KindScan) -> Volume:
    """Return the scan with the head of a small child."""
    return Volume(scan.image, np.diag([0.76 * scan.step] * 3 + [1.0]))


def shade(scan: KindScan) -> Volume:
    """Return the scan acquired anew by the simulation that is trained on."""
    array = acquire(scan, 2.0, RandomSource(len(scan.person) + int(scan.image[::9, ::9, ::9].sum())))
    return Volume(array, np.diag([2.0, 2.0, 2.0, 1.0]))


CONDITIONS: dict[str, Callable[[KindScan], Volume | None]] = {
    "as it is": to_volume,
    "skull stripped": strip_skull,
    "8 mm slices": lambda scan: resample_thick(to_volume(scan), 8.0),
    "oblique": turn,
    "child's size": shrink,
    "defaced": deface,
    "other scanner": shade,
}


def score(net: ScanClassifier, data: Path, part: str) -> list[tuple[KindScan, str, Evidence]]:
    """Return every scan, the condition in which it was shown, and the evidence."""
    real = real_scans(data, part)
    bodies = [scan for scan in real if scan.kind == NO_HEAD]
    made = make_pool(data, MADE_UP_COUNT, part, bodies, seed=7)
    rows = []
    for scan in real:
        for name, condition in CONDITIONS.items():
            if (scan.kind != NO_HEAD or name == "as it is") and (volume := condition(scan)) is not None:
                rows.append((scan, name, measure_kinds(net, volume)))
    rows += [(scan, "made up", measure_kinds(net, shade(scan))) for scan in made]
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--part", choices=("validation", "test"), default="test")
    parser.add_argument("--weights", type=Path, default=Path("weights/scan_classifier.safetensors"))
    args = parser.parse_args()
    net = build_network(RECOGNITION.build, LocatedWeights(args.weights, "", "given"), "scan_classifier")
    rows = score(net.eval(), args.data, args.part)
    for least in THRESHOLDS:
        named = [(scan.kind, name_kinds(p, least).kinds) for scan, _, p in rows]
        wrong = sum(bool(kinds) and kind not in kinds for kind, kinds in named)
        unsure = sum(not kinds for _, kinds in named)
        print(f"at {least}: {wrong} of {len(rows)} wrong, {unsure} not sure")
    table: dict[tuple[str, str], Counter] = defaultdict(Counter)
    people: dict[str, set[str]] = defaultdict(set)
    mistakes = []
    for scan, condition, p in rows:
        kinds = name_kinds(p).kinds
        answer = (
            "not sure"
            if not kinds
            else "wrong"
            if scan.kind not in kinds
            else "right"
            if len(kinds) == 1
            else "right, two"
        )
        for group in (condition, "all real" if condition != "made up" else "all made up"):
            table[scan.kind, group][answer] += 1
        people[scan.kind].add(scan.person.split("/")[0])
        if answer == "wrong":
            mistakes.append(
                f"{scan.person}, {condition}: {scan.kind} taken for {' or '.join(kinds)}, {p.probabilities.max():.3f}"
            )
    print(f"\nAt {MIN_CERTAINTY}:\nkind | shown | people | right | right, two | wrong | not sure")
    for kind in KINDS:
        for (of, group), counts in table.items():
            if of == kind:
                cells = [counts[a] for a in ("right", "right, two", "wrong", "not sure")]
                print(" | ".join(map(str, (kind, group, len(people[kind] - {"made up"}) or "–", *cells))))
    print("\n" + "\n".join(mistakes))


if __name__ == "__main__":
    main()
