"""Large arrays are kept in files, once each, and read as they were."""

import mmap

import numpy as np

from medapp.imaging.deformation import Deformation
from medapp.imaging.volume import Volume
from medapp.result import Result
from medapp.ui.array_store import ArrayStore


def is_mapped(array: np.ndarray) -> bool:
    while array is not None and not isinstance(array, mmap.mmap):
        array = getattr(array, "base", None)
    return array is not None


def test_a_result_is_read_from_files_which_are_written_once(tmp_path):
    array = np.random.default_rng(0).normal(size=(80, 80, 60)).astype(np.float32)
    image = Volume(array, np.diag([1, 2, 3, 1.0]), name="FLAIR", unit="HU")
    small = Volume(array[:4, :4, :4], image.affine)
    deformation = Deformation(np.stack([array] * 3), image.affine)
    store = ArrayStore(tmp_path / "voxels")
    result = store.store_result(Result({"image": image, "twice": image, "small": small}, deformation=deformation))
    stored = result.volumes["image"]
    np.testing.assert_array_equal(stored.array, array)
    np.testing.assert_array_equal(result.deformation.vectors[1], array)
    assert (stored.name, stored.unit) == ("FLAIR", "HU") and not stored.array.flags.writeable
    assert is_mapped(stored.array) and is_mapped(result.deformation.vectors)
    assert not is_mapped(result.volumes["small"].array)
    assert len(list((tmp_path / "voxels").iterdir())) == 2


def test_a_writable_copy_leaves_the_stored_array_alone(tmp_path):
    array = np.zeros((128, 128, 20), np.float32)
    store = ArrayStore(tmp_path / "voxels")
    stored, copy = store.store_array(array), store.copy_writable(array)
    copy[0] = 1
    assert is_mapped(copy) and not stored.any() and not array.any()
