"""Other tools for the deformable part of a registration, for `training.evaluation.evaluate --peers`.

Each gets the same prepared pair: both brains cut out, aligned by our affine, scaled, on one grid of 1 mm; so only the
deformable part differs. Each runs in a process of its own, `python -m training.evaluation.registration_peers PEER
FOLDER`, which measures its time and memory; the settings are those that its makers recommend for this task.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np

RegisterPair = Callable[[np.ndarray, np.ndarray], np.ndarray]


class Peer(NamedTuple):
    """The module that must be installed, and the function from fixed and moving image to displacement (3, I, J, K)."""

    module: str
    register: RegisterPair


class Cost(NamedTuple):
    """The cost of the registration alone, without reading, writing and imports; `memory_mb` is the process's peak."""

    seconds: float
    cpu_seconds: float
    memory_mb: float


def greedy(fixed: np.ndarray, moving: np.ndarray, metric: str = "NCC 2x2x2", smooth: float = 0.707) -> np.ndarray:
    """Yushkevich's greedy, by default as its documentation has it for brains; `smooth` in voxels."""
    from picsl_greedy import Greedy3D

    images = {"fixed": _itk(fixed), "moving": _itk(moving), "warp": None}
    tool = Greedy3D()
    tool.execute(
        f"-d 3 -i fixed moving -m {metric} -n 100x50x10 -s 1.732vox {smooth}vox -threads {_threads()} -o warp -V 0",
        **images,
    )
    return _field(tool["warp"])


def greedy_wide(fixed: np.ndarray, moving: np.ndarray) -> np.ndarray:
    """The same with the wider window and the lighter smoothing that we found to suit these scans best."""
    return greedy(fixed, moving, "NCC 3x3x3", 0.5)


def syn(fixed: np.ndarray, moving: np.ndarray) -> np.ndarray:
    """ANTs' `antsRegistrationSyN.sh` without its linear stages: cross-correlation, radius 4, to full resolution."""
    return _ants(fixed, moving, type_of_transform="antsRegistrationSyN[so]")


def syn_fast(fixed: np.ndarray, moving: np.ndarray) -> np.ndarray:
    """ANTs' SyN with cross-correlation, radius 2, to half the resolution."""
    return _ants(
        fixed,
        moving,
        type_of_transform="SyNOnly",
        syn_metric="CC",
        syn_sampling=2,
        reg_iterations=(100, 70, 0),
    )


def syn_quick(fixed: np.ndarray, moving: np.ndarray) -> np.ndarray:
    """ANTs' `antsRegistrationSyNQuick.sh` without its linear stages: mutual information."""
    return _ants(fixed, moving, type_of_transform="antsRegistrationSyNQuick[so]")


def demons(fixed: np.ndarray, moving: np.ndarray) -> np.ndarray:
    """SimpleITK's fast symmetric forces demons, coarse to fine."""
    import SimpleITK as sitk

    target, source = _itk(fixed), _itk(moving)
    field = None
    for factor, steps in ((4, 100), (2, 60), (1, 20)):
        coarse = [sitk.BinShrink(image, [factor] * 3) for image in (target, source)]
        tool = sitk.FastSymmetricForcesDemonsRegistrationFilter()
        tool.SetNumberOfIterations(steps)
        tool.SetSmoothDisplacementField(True)
        tool.SetStandardDeviations(1.0)
        field = tool.Execute(*coarse, *([] if field is None else [sitk.Resample(field, coarse[0])]))
    return _field(field)


def dipy_syn(fixed: np.ndarray, moving: np.ndarray) -> np.ndarray:
    """dipy's SyN with cross-correlation."""
    from dipy.align.imwarp import SymmetricDiffeomorphicRegistration
    from dipy.align.metrics import CCMetric

    mapping = SymmetricDiffeomorphicRegistration(CCMetric(3), level_iters=[100, 50, 10]).optimize(fixed, moving)
    return np.moveaxis(np.asarray(mapping.get_forward_field()), -1, 0)


PEERS: Mapping[str, Peer] = {
    "greedy": Peer("picsl_greedy", greedy),
    "greedy-wide": Peer("picsl_greedy", greedy_wide),
    "syn": Peer("ants", syn),
    "syn-fast": Peer("ants", syn_fast),
    "syn-quick": Peer("ants", syn_quick),
    "demons": Peer("SimpleITK", demons),
    "dipy": Peer("dipy", dipy_syn),
}


def choose_peers(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the peers of these names, the installed ones for "all". Raises ValueError for one that is missing."""
    installed = tuple(name for name, peer in PEERS.items() if find_spec(peer.module))
    if "all" in names:
        return installed
    if missing := set(names) - set(installed):
        raise ValueError(
            f"no such peer, or not installed: {', '.join(sorted(missing))}; there are {', '.join(installed)}"
        )
    return names


def run_peer(name: str, fixed: np.ndarray, moving: np.ndarray) -> tuple[np.ndarray, Cost]:
    """Run a peer in a separate process; return its displacement (3, I, J, K) in voxels, fixed to moving, and its cost.

    Images (I, J, K) are from 0 to 1 on voxels of 1 mm. Raises CalledProcessError if the peer fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        for role, image in (("fixed", fixed), ("moving", moving)):
            np.save(Path(folder, f"{role}.npy"), np.asarray(image, np.float32))
        count = str(_threads())
        more = {"ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": count, "OMP_NUM_THREADS": count, "TMPDIR": folder}
        command = [sys.executable, "-m", "training.evaluation.registration_peers", name, folder]
        subprocess.run(command, env=os.environ | more, check=True, stdout=subprocess.DEVNULL)
        cost = Cost(**json.loads(Path(folder, "cost.json").read_text()))
        return np.load(Path(folder, "flow.npy")), cost


def _threads() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _itk(image: np.ndarray):
    """A SimpleITK image whose axes are those of the array (I, J, K), voxels of 1 mm from the origin."""
    import SimpleITK as sitk

    return sitk.GetImageFromArray(np.ascontiguousarray(image.T))


def _field(image) -> np.ndarray:
    """(3, I, J, K) of SimpleITK's vectors on such an image."""
    import SimpleITK as sitk

    return np.moveaxis(sitk.GetArrayFromImage(image), -1, 0).transpose(0, 3, 2, 1)


def _ants(fixed: np.ndarray, moving: np.ndarray, **settings) -> np.ndarray:
    import ants
    import nibabel as nib

    target, source = (ants.from_numpy(image) for image in (fixed, moving))
    result = ants.registration(target, source, initial_transform="identity", **settings)
    (warp,) = (path for path in result["fwdtransforms"] if path.endswith(".nii.gz"))
    return np.moveaxis(np.asarray(nib.load(warp).dataobj, np.float32)[:, :, :, 0], -1, 0)


def _peak_mb() -> float:
    """The most memory that this process held (Linux; elsewhere 0)."""
    try:
        return round(int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) / 2**10, 1)
    except OSError:
        return 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("peer", choices=PEERS)
    parser.add_argument("folder", type=Path, help="holds fixed.npy and moving.npy, gets flow.npy and cost.json")
    args = parser.parse_args()
    images = [np.load(args.folder / f"{role}.npy") for role in ("fixed", "moving")]
    import_module(PEERS[args.peer].module)
    wall, cpu = time.perf_counter(), time.process_time()
    flow = PEERS[args.peer].register(*images)
    cost = Cost(round(time.perf_counter() - wall, 2), round(time.process_time() - cpu, 2), _peak_mb())
    np.save(args.folder / "flow.npy", np.asarray(flow, np.float32))
    (args.folder / "cost.json").write_text(json.dumps(cost._asdict()))


if __name__ == "__main__":
    main()
