"""Average several sets of weights of one network.

`python -m training.core.average_weights FILE FILE ... --out FILE`.

Where they were trained one from the other, their mean keeps much of what each can do that the others cannot
(Wortsman et al. 2022, arXiv:2203.05482).
"""

import argparse
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor


def average_states(states: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Return the mean of the tensors of each name, computed in float32, in the dtype of the first state.

    Raises ValueError if the states have different names.
    """
    if any(state.keys() != states[0].keys() for state in states):
        raise ValueError("these are weights of different networks")
    return {
        name: torch.stack([state[name].float() for state in states]).mean(0).to(first.dtype).contiguous()
        for name, first in states[0].items()
    }


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args(arguments)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    save_file(average_states([load_file(file) for file in args.files]), args.out)


if __name__ == "__main__":
    main()
