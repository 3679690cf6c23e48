"""Pictures: their place, their colours and their limits."""

from pathlib import Path

import numpy as np
import pytest
from oblique import assert_refused, phantom
from PIL import Image

from medapp.io import files


@pytest.mark.parametrize(
    ("name", "dtype"),
    [("a.png", np.uint8), ("a.png", np.uint16), ("a.tif", np.uint8), ("a.tif", np.uint16), ("a.tif", np.float32)],
)
def test_pictures_have_display_orientation(tmp_path: Path, name: str, dtype: type) -> None:
    drawn = np.zeros((6, 9), dtype)  # rows, columns
    drawn[0, 8] = 60_000 if dtype == np.uint16 else 200  # top right of the picture: front, and the patient's left
    Image.fromarray(drawn).save(tmp_path / name)
    volume = files.read([tmp_path / name])
    assert volume.shape == (9, 6, 1) and volume.axis_codes == "LPS" and volume.array.dtype == dtype
    assert volume.array[8, 0, 0] == drawn.max() and "1 mm" in volume.remarks[0]


def test_colour_pictures(tmp_path: Path) -> None:
    rgb = np.random.default_rng(0).integers(0, 255, (6, 9, 3)).astype(np.uint8)
    Image.fromarray(rgb).save(tmp_path / "a.png")
    assert_refused(tmp_path / "a.png", words="colours")
    volume = files.read([tmp_path / "a.png"], colour=True)
    assert volume.array.dtype == np.uint8
    np.testing.assert_array_equal(volume.array[:, :, 0], rgb.swapaxes(0, 1))
    grey = np.dstack([rgb[..., :1]] * 3 + [np.full((6, 9), 255, np.uint8)])
    Image.fromarray(grey, "RGBA").save(tmp_path / "b.png")
    np.testing.assert_array_equal(files.read([tmp_path / "b.png"]).array[..., 0], rgb[..., 0].T)
    Image.fromarray(rgb).convert("P").save(tmp_path / "c.png")
    assert files.read([tmp_path / "c.png"], colour=True).is_colour


def test_pictures_beyond_pillows_limit_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(np.zeros((30, 30), np.uint8)).save(tmp_path / "a.png")
    for limit in (800, 100):  # Pillow warns beyond the limit, and raises beyond twice as much
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        assert_refused(tmp_path / "a.png", words="too large|could not be read")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    Image.fromarray(phantom(np.uint8)[..., 0]).save(tmp_path / "b.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "b.png").read_bytes()[:60])
    assert_refused(tmp_path / "cut.png", words="damaged")
