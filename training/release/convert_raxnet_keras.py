"""Takes over RAX-Net weights from Keras.

`python -m training.release.convert_raxnet_keras FILE.h5 --out FILE.safetensors`.

FILE.h5 is what `model.save` or `model.save_weights` of Keras 2 writes. Layers of one kind are taken in the order of
their numbers, which is the order in which they were made, wherever the count began.
"""

import argparse
import re
from collections.abc import Mapping
from pathlib import Path

import h5py
import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from medapp.networks.raxnet import RAXNet, Up
from training.methods.segment_stroke_raxnet import add_input_channels

NORM = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}
Layers = Mapping[str, Mapping[str, np.ndarray]]  # layer -> variable -> values


def read_layers(file: Path) -> dict[str, dict[str, np.ndarray]]:
    """Return the variables of every layer in a Keras file."""
    layers: dict[str, dict[str, np.ndarray]] = {}

    def keep(path: str, item: h5py.Group | h5py.Dataset) -> None:
        if isinstance(item, h5py.Dataset):
            layer, *_, variable = path.split("/")
            layers.setdefault(layer, {})[variable.partition(":")[0]] = item[()]

    with h5py.File(file) as content:
        content.get("model_weights", content).visititems(keep)
    return layers


def convert_layers(layers: Layers) -> dict[str, Tensor]:
    """Return the state dict of a RAXNet of these widths. Raises ValueError if the layers are not those of RAX-Net."""
    kinds: dict[str, list[str]] = {}
    for name in sorted(layers, key=lambda name: int((re.search(r"_(\d+)$", name) or [0, 0])[1])):
        kinds.setdefault(re.sub(r"_\d+$", "", name), []).append(name)
    queues = {kind: iter(names) for kind, names in kinds.items()}

    def following(kind: str) -> Mapping[str, np.ndarray]:
        name = next(queues.get(kind, iter(())), None)
        if name is None:
            raise ValueError(f"too few layers called {kind} for RAX-Net")
        return layers[name]

    try:
        widths = tuple(layers[kinds["conv2d"][n]]["kernel"].shape[3] for n in (0, 1, 3, 6))
        net = RAXNet(layers[kinds["conv2d"][-1]]["kernel"].shape[3], widths)
    except (KeyError, IndexError) as error:
        raise ValueError("these are not the layers of RAX-Net") from error
    turned = {id(m) for up in net.modules() if isinstance(up, Up) for m in up.main if isinstance(m, nn.Conv2d)}
    state: dict[str, np.ndarray] = {}
    separable: Mapping[str, np.ndarray] | None = None
    for name, module in net.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            values = following("batch_normalization")
            state |= {f"{name}.{ours}": values[theirs] for theirs, ours in NORM.items()}
            state[f"{name}.num_batches_tracked"] = np.array(0)
        elif isinstance(module, nn.Conv2d):
            if module.groups > 1:
                separable = following("separable_conv2d")
                state[f"{name}.weight"] = separable["depthwise_kernel"].transpose(2, 3, 0, 1)
                continue
            if separable:
                values, separable = {**separable, "kernel": separable["pointwise_kernel"]}, None
            else:
                values = following("conv2d_transpose" if id(module) in turned else "conv2d")
            kernel = values["kernel"]
            if id(module) in turned:  # (H, W, out, in), to be turned round
                kernel = kernel[::-1, ::-1].swapaxes(2, 3)
            state |= {f"{name}.weight": kernel.transpose(3, 2, 0, 1), f"{name}.bias": values["bias"]}
    if left := [name for kind in {"batch_normalization", "separable_conv2d"} & set(queues) for name in queues[kind]]:
        raise ValueError(f"too many layers for RAX-Net: {', '.join(left)}")
    tensors = {name: torch.from_numpy(np.array(value)) for name, value in state.items()}
    try:
        net.load_state_dict(tensors, strict=True)
    except RuntimeError as error:
        raise ValueError(f"these are not the layers of RAX-Net: {error}") from error
    return tensors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--channels", type=int, default=1, help="5 for the app, whose networks see more than a slice")
    args = parser.parse_args()
    save_file(add_input_channels(convert_layers(read_layers(args.file)), args.channels), args.out)
    print(args.out, args.out.stat().st_size)


if __name__ == "__main__":
    main()
