"""Network loading: networks with the weights of a file that was found and verified, see `weight_files`."""

from collections.abc import Callable
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from medapp import hardware
from medapp.errors import WeightsError
from medapp.serving.weight_files import LocatedWeights


def build_network(build: Callable[[], Any], located: LocatedWeights, name: str) -> Any:
    """Return `build()` with the weights of the file in float32; raises WeightsError if they do not fit."""
    torch.set_num_threads(hardware.count_processors())
    net, file = build(), located.path
    try:
        state = load_file(file) if file.suffix == ".safetensors" else torch.load(file, "cpu", weights_only=True)
        net.load_state_dict({key: tensor.float() for key, tensor in state.items()})
    except (SafetensorError, RuntimeError, UnpicklingError) as error:
        raise WeightsError(f"{file.name} does not fit the network of {name}.") from error
    return net
