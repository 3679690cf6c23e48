"""The fine part of brain extraction learns, and whole real heads are learned from and scored."""

import csv

import nibabel as nib
import numpy as np
import pytest
from safetensors.torch import load, load_file, save_file
from scipy import ndimage

from medapp.networks.coarse_to_fine import CoarseToFine
from training.core import data_cache, smoke
from training.data import template_head
from training.methods.segment_brain_unet import CONDITIONS, main, read_cases
from training.release.install import pack_parts


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Small brains, one of them within a shell as a whole head; what is kept of them is kept apart."""
    folder = tmp_path_factory.mktemp("brain")
    smoke.make_small_brains(folder)
    (folder / "heads").mkdir()
    image = nib.load(folder / "brain_t1" / "0000_t1.nii.gz")
    t1 = np.asarray(image.dataobj).astype(float)
    brain = t1 > 0
    far = ndimage.distance_transform_edt(~brain)
    t1[(far > 1) & (far < 4)] = 240
    for array, kind in ((t1, "t1"), (brain, "brain")):
        nib.save(nib.Nifti1Image(array.astype(np.uint8), image.affine), folder / "heads" / f"anna_{kind}.nii.gz")
    ball = np.linalg.norm(np.indices((100, 100, 100)) - 49.5, axis=0) < 35
    signed = ndimage.distance_transform_edt(~ball) - ndimage.distance_transform_edt(ball)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data_cache, "CACHE_ROOT", folder / "kept")
        patch.setattr(template_head, "average_head", lambda: (np.float32(90 * (signed < 15)), np.float32(signed)))
        yield folder


def test_the_fine_part_learns_from_brains_and_real_heads(data, tmp_path):
    coarse = tmp_path / "coarse.safetensors"
    save_file(CoarseToFine(4, 4).coarse.state_dict(), coarse)
    main(["--part", "fine", "--data", str(data), "--out", str(tmp_path), "--real", "anna", "--coarse", str(coarse)]
         + ["--steps", "2", "--every", "2", "--width", "4", "--device", "cpu"])  # fmt: skip
    with (tmp_path / "log.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert float(row["loss"]) > 0 and {*CONDITIONS, "anna", "anna_over"} <= set(row)
    assert 0 <= float(row["anna"]) <= 1
    content = pack_parts({"coarse": coarse, "fine": tmp_path / "best.safetensors"})
    CoarseToFine(4, 4).load_state_dict(load(content))
    assert load_file(tmp_path / "last.safetensors").keys() == load_file(tmp_path / "best.safetensors").keys()


def test_cases_are_real_heads_and_people_in_every_condition(data):
    each = list(read_cases(data, "validation"))
    assert [case.condition for case in each] == ["whole head", *CONDITIONS]
    for case in each:
        assert case.volumes[0].grid.is_same(case.truth.grid)
        assert case.truth.array.any() and not case.truth.array.all()
