"""Array store: large arrays in files, so that open pages cost disk space, which is monitored, and not memory."""

import mmap
from dataclasses import replace
from pathlib import Path

import numpy as np

from medapp.imaging.deformation import Deformation
from medapp.imaging.volume import Volume
from medapp.result import Result

MIN_FILE_BYTES = 2**20  # smaller arrays stay in memory


def is_stored(array: np.ndarray) -> bool:
    """Tell whether the values of an array lie in a file, or are too few for one."""
    if array.nbytes < MIN_FILE_BYTES:
        return True
    base: object = array
    while isinstance(base, np.ndarray) and not isinstance(base, np.memmap):
        base = base.base
    return isinstance(base, np.memmap | mmap.mmap)


class ArrayStore:
    """Write arrays to files of a new folder and give them back as read-only memory maps; small ones are not moved."""

    def __init__(self, folder: Path) -> None:
        """Create the folder, which must not exist yet."""
        folder.mkdir()
        self.folder = folder
        self._stored: dict[int, tuple[np.ndarray, np.ndarray]] = {}  # by id; holds the array, so that no id is reused

    def store_array(self, array: np.ndarray) -> np.ndarray:
        """Return the array as a memory map; one that is stored stays, and the same array is written only once."""
        if is_stored(array):
            return array
        if id(array) not in self._stored:
            path = self.folder / f"{len(self._stored)}.npy"
            np.save(path, array)
            self._stored[id(array)] = array, np.asarray(np.load(path, mmap_mode="r"))
        return self._stored[id(array)][1]

    def copy_writable(self, array: np.ndarray) -> np.ndarray:
        """Return a copy that may be changed; one store holds one such copy."""
        if array.nbytes < MIN_FILE_BYTES:
            return array.copy()
        copy = np.lib.format.open_memmap(self.folder / "writable.npy", "w+", array.dtype, array.shape)
        copy[...] = array
        return copy

    def store_volume(self, volume: Volume) -> Volume:
        """Return the volume with its voxels in a memory map."""
        stored = self.store_array(volume.array)
        return volume if stored is volume.array else replace(volume, array=stored)

    def store_deformation(self, deformation: Deformation | None) -> Deformation | None:
        """Return the deformation with its vectors in a memory map."""
        return deformation and replace(deformation, vectors=self.store_array(deformation.vectors))

    def store_result(self, result: Result) -> Result:
        """Return the result with its volumes and deformations in memory maps."""
        return replace(
            result,
            volumes={name: self.store_volume(volume) for name, volume in result.volumes.items()},
            deformation=self.store_deformation(result.deformation),
            inverse=self.store_deformation(result.inverse),
        )
