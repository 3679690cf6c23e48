"""Trains what recognises the kind of a scan: `python -m training.methods.scan_classifier --data DATA --out OUT`.

Learns from the real scans of `training.data.scan_kinds`, part "train", and from made-up ones of labelled brains and
bodies, drawn anew (`--made-up` so many at first, each acquired in another way every time). The people of the parts
"validation" and "test" are not seen. OUT gets `scan_classifier.safetensors`, for `weights/`, whose SHA-256 stands
in `medapp/serving/input_fit.py`; `training.evaluation.scan_kinds` scores it.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

from medapp.algorithms.scan_recognition import KINDS, MEASURES, NO_HEAD, SPACING, frame_head, measure_head
from medapp.networks.scan_classifier import ScanClassifier
from training.core.random_source import RandomSource
from training.data.brain_scans import load_heads
from training.data.labelled_brains import list_scans, split_scans
from training.data.made_up_scans import MADE_UP, acquire, make_head, make_stranger
from training.data.scan_kinds import KindScan, real_scans

SEED = 20261130
EXAMPLES = "examples.safetensors"  # measures of the scans, kept in OUT
REAL_SHARE = 0.6  # of the scans of a kind that has real ones
BATCH = 64
SMOOTHING = 0.02  # of the targets


def make_pool(data: Path, count: int, part: str, bodies: list[KindScan], seed: int) -> list[KindScan]:
    """Return `count` made-up scans of the brains of a part, as many of each kind, and as many strangers."""
    heads = load_heads(data, split_scans(list_scans(data / "brain_t1"))[part], 2, ())
    rng, kinds = RandomSource(seed), (*MADE_UP, NO_HEAD)
    pool = []
    for number in range(count):
        kind = kinds[number % len(kinds)]
        head = heads[rng.randint(len(heads))]
        pool.append(make_stranger(bodies, rng) if kind == NO_HEAD else make_head(head, kind, rng))
    return pool


def draw_examples(
    real: list[KindScan], made: list[KindScan], count: int, seed: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return measures (N, MEASURES) of acquired scans and their classes (N,), every kind as often."""
    rng = RandomSource(seed)
    measures, classes = [], []
    for number in range(count):
        kind = KINDS[number % len(KINDS)]
        lists = [[scan for scan in scans if scan.kind == kind] for scans in (real, made)]
        pool = lists[0] if lists[0] and (rng.bernoulli(REAL_SHARE) or not lists[1]) else lists[1]
        scan = pool[rng.randint(len(pool))]
        measures.append(measure_head(*frame_head(acquire(scan, SPACING, rng))))
        classes.append(KINDS.index(kind))
        if number % 500 == 499:
            print(f"{number + 1} of {count} scans", flush=True)
    return torch.from_numpy(np.stack(measures)), torch.tensor(classes)


def fit(x: torch.Tensor, target: torch.Tensor, epochs: int, rate: float) -> ScanClassifier:
    """Train the classifier on examples, and return it in eval mode."""
    net = ScanClassifier(MEASURES, len(KINDS))
    optimizer = torch.optim.AdamW(net.parameters(), lr=rate, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=epochs * (len(x) // BATCH))
    for _ in range(epochs):
        order = torch.randperm(len(x))
        for batch in order[: len(x) // BATCH * BATCH].split(BATCH):
            noisy = x[batch] * (1 + 0.03 * torch.randn(x[batch].shape))
            logits = net.forward_members(noisy)
            targets = target[batch].repeat(len(logits))
            loss = F.cross_entropy(logits.flatten(0, 1), targets, label_smoothing=SMOOTHING)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return net.eval()


def train(args: argparse.Namespace) -> None:
    torch.manual_seed(SEED)
    data, out = Path(args.data), Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    if not (out / EXAMPLES).exists():
        real = real_scans(data, "train")
        made = make_pool(data, args.made_up, "train", [scan for scan in real if scan.kind == NO_HEAD], SEED)
        print(f"{len(real)} real scans, {len(made)} made up", flush=True)
        x, target = draw_examples(real, made, args.examples, SEED + 1)
        x_held, target_held = draw_held(real_scans(data, "validation"))
        save_file({"x": x, "target": target, "x_held": x_held, "target_held": target_held}, out / EXAMPLES)
    kept = load_file(out / EXAMPLES)
    net = fit(kept["x"], kept["target"], args.epochs, args.rate)
    with torch.inference_mode():
        answers = net(kept["x_held"]).argmax(1)
    print(f"validation people: {float((answers == kept['target_held']).float().mean()):.3f} right before any threshold")
    save_file(net.state_dict(), out / "scan_classifier.safetensors")


def draw_held(scans: list[KindScan]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return measures and classes of real scans, each acquired three times."""
    rng = RandomSource(SEED + 2)
    measures = [measure_head(*frame_head(acquire(scan, SPACING, rng))) for scan in scans for _ in range(3)]
    classes = [KINDS.index(scan.kind) for scan in scans for _ in range(3)]
    return torch.from_numpy(np.stack(measures)), torch.tensor(classes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--examples", type=int, default=3360, help="scans to learn from, each acquired anew")
    parser.add_argument("--made-up", type=int, default=280)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--rate", type=float, default=3e-3)
    train(parser.parse_args())


if __name__ == "__main__":
    main()
