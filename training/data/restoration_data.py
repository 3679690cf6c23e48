"""Make image pairs for restoration, degraded by physics.

`python -m training.data.restoration_data ct|pet --data DATA --out OUT`.

DATA is a folder with `index.json`, `ct_fulldose/` and `pet/`. One `.npz` per slice or batch is written into OUT; a
killed run goes on where it stopped. (Degraded pathology fields are cheap: its training makes them on the fly.)
"""

import argparse
from pathlib import Path

import torch

from training.data.ct_pairs import make_ct_pairs
from training.data.pet_pairs import make_pet_pairs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("set", choices=("ct", "pet"))
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--brains", type=Path, help="folder of *_labels.nii.gz; brain_t1 beside DATA unless given")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.set == "ct":
        make_ct_pairs(arguments.data, arguments.out)
    else:
        make_pet_pairs(arguments.data, arguments.brains or arguments.data.parent / "brain_t1", arguments.out)


if __name__ == "__main__":
    main()
