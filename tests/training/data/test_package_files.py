"""Real images are those of the package and version that is named."""

import hashlib
from types import SimpleNamespace

import pytest

from medapp.errors import UserError
from training.data import package_files
from training.data.package_files import PackageFile


def test_only_the_very_file_of_an_installed_package_is_taken(monkeypatch, tmp_path):
    (tmp_path / "head.nii").write_bytes(b"a head")
    shipped = SimpleNamespace(locate_file=lambda path: tmp_path / path)
    monkeypatch.setattr(package_files, "distribution", lambda name: shipped)
    right = hashlib.sha256(b"a head").hexdigest()
    assert PackageFile("heads", "1.0", "head.nii", right, "CC0").find() == tmp_path / "head.nii"
    with pytest.raises(UserError, match="sha256"):
        PackageFile("heads", "1.0", "head.nii", 64 * "0", "CC0").find()


def test_a_package_that_is_not_there_is_named_with_its_version():
    with pytest.raises(UserError, match="no-such-package-of-heads"):
        PackageFile("no-such-package-of-heads", "1.0", "head.nii", "", "CC0").find()
