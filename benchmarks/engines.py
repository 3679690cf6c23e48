"""Time and error of each engine with a pipeline's network: `python -m benchmarks.engines PIPELINE --size 192 192`.

All engines answer the same slices in turn, round after round, so that what else the machine does burdens them alike.
Seconds are the least of the rounds; processor seconds count every thread and suffer less from a busy machine.
Untrained weights will do for time; give `--weights` for the error of the answer.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file

from medapp import hardware
from medapp.card import Card
from medapp.serving import runtime
from medapp.serving.inference_engine import Engine, make_probe_image

Forward = Callable[[torch.Tensor], torch.Tensor]


def build_network(card: Card, weights: Path | None) -> torch.nn.Module:
    """The card's network, always with the same weights: those of the file, or random ones."""
    if card.build is None:
        raise SystemExit(f"{card.name} has no network of its own")
    torch.manual_seed(0)
    net = card.build()
    if weights:
        net.load_state_dict({name: tensor.float() for name, tensor in load_file(weights).items()})
    return net.eval()


def build_engines(card: Card, weights: Path | None, folder: Path) -> dict[str, Forward]:
    """Every way there is here to answer, the plain one first."""
    plain = build_network(card, weights)
    engine = Engine(build_network(card, weights), "cpu", "torch")
    engines: dict[str, Forward] = {"torch fp32, as trained": plain, "torch fp32, folded": engine.make_torch_form(None)}
    engines["torch bf16, folded, channels last"] = engine.make_torch_form(torch.bfloat16)
    if hardware.find_version("openvino") != "none":
        engines["openvino"] = Engine(build_network(card, weights), "cpu", "openvino", folder)
    return engines


def measure_starts(card: Card, weights: Path | None, folder: Path, x: torch.Tensor) -> list[float]:
    """Seconds to the first answer of an engine that finds nothing in the cache, and of one that finds the network."""
    seconds = []
    for _ in range(2):
        engine = Engine(build_network(card, weights), "cpu", "auto", folder)
        started = time.perf_counter()
        engine(x)
        seconds.append(time.perf_counter() - started)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pipeline")
    parser.add_argument("--size", type=int, nargs="+", default=[192, 192], help="height and width")
    parser.add_argument("--channels", type=int, default=3)
    parser.add_argument("--slices", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--weights", type=Path)
    args = parser.parse_args()
    card = runtime.find_card(args.pipeline)
    torch.set_num_threads(hardware.count_processors())
    x = make_probe_image((args.slices, args.channels, *args.size))
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        cold, warm = measure_starts(card, args.weights, Path(folder) / "net", x[:2])
        engines = build_engines(card, args.weights, Path(folder) / "net")
        answers = {name: forward(x) for name, forward in engines.items()}
        wall: dict[str, list[float]] = {name: [] for name in engines}
        busy: dict[str, list[float]] = {name: [] for name in engines}
        for _ in range(args.rounds):
            for name, forward in engines.items():
                at, used = time.perf_counter(), time.process_time()
                forward(x)
                wall[name].append((time.perf_counter() - at) / args.slices)
                busy[name].append((time.process_time() - used) / args.slices)
    first = next(iter(engines))
    print(f"{card.name}, {' × '.join(map(str, x.shape))}, {hardware.describe_device('cpu')}")
    print(f"\nFirst answer after {cold:.2f} s with an empty cache, {warm:.2f} s with the converted network in it.\n")
    print("| engine | s / slice | CPU-s / slice | times faster | relative error |\n|---|---|---|---|---|")
    for name, answer in answers.items():
        error = float((answer - answers[first]).norm() / answers[first].norm())
        ratio = min(wall[first]) / min(wall[name])
        forward = engines[name]
        label = f"openvino {forward.precision}" if isinstance(forward, Engine) else name
        print(f"| {label} | {min(wall[name]):.4f} | {min(busy[name]):.4f} | {ratio:.1f} | {error:.1e} |")


if __name__ == "__main__":
    main()
