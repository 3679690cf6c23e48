"""A NiiVue document holds the image and the masks in their places and colours."""

import base64
import gzip
import json

import nibabel as nib
import numpy as np
import pytest
from ball_masks import AFFINES

from medapp.imaging.volume import Volume
from medapp.presenters.base import Presenter
from medapp.rendering.layers import Layer
from medapp.result import Result
from medapp.ui.niivue_document import find_fractions, write_document

SHAPE = (14, 12, 10)


class MaskPresenter(Presenter):
    def layers(self, result):
        image, mask, places = (result.volumes[role] for role in ("image", "mask", "places"))
        colours = {1: (255, 0, 0), 2: (0, 0, 255)}
        layers = {"Lesion": Layer(mask, "mask", opacity=0.9), "Places": Layer(places, "mask", colours=colours)}
        return {"Image": Layer(image), "Chance": Layer(image, "heat", opacity=0.0), **layers}


@pytest.mark.parametrize("grid", AFFINES)
def test_all_layers_lie_where_they_were(grid, tmp_path):
    image = Volume(np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE), AFFINES[grid])
    labels = np.zeros(SHAPE, np.uint8)
    labels[2:5, 3, 4], labels[9, 9, 9] = 1, 2
    mask = image.new_like((labels == 1).astype(np.uint8), labels={1: "lesion"})
    places = image.new_like(labels, labels={1: "a", 2: "b"})
    mm = image.grid.to_mm(np.array([2, 3, 4]))
    result = Result({"image": image, "mask": mask, "places": places})
    path = write_document(result, MaskPresenter(), mm, "A title", tmp_path / "a.nvd")
    document = json.loads(gzip.decompress(path.read_bytes()))
    assert document["title"] == "A title" and "diagnosis" in document["customData"]
    blobs = [nib.Nifti1Image.from_bytes(base64.b64decode(blob)) for blob in document["encodedImageBlobs"]]
    options = document["imageOptionsArray"]
    assert [each["name"] for each in options] == ["Image.nii", "Chance.nii", "Places.nii", "Lesion.nii"]
    assert [bool(each["opacity"]) for each in options] == [True, False, True, True]
    for blob in blobs:
        np.testing.assert_allclose(blob.affine, image.affine, atol=1e-3)
    np.testing.assert_array_equal(np.asarray(blobs[0].dataobj), image.array)
    np.testing.assert_array_equal(np.asarray(blobs[3].dataobj), mask.array)
    coloured = np.asarray(blobs[2].dataobj)
    assert coloured[2, 3, 4].tolist() == (255, 0, 0, 255) and coloured[9, 9, 9].tolist() == (0, 0, 255, 255)
    assert coloured[0, 0, 0]["A"] == 0
    shares = find_fractions(image.grid, mm)
    far = find_fractions(image.grid, mm + np.array([1.0, 1.0, 1.0]))
    assert (far > shares).all() and ((shares > 0) & (shares < 1)).all(), "to the right, front and head"
