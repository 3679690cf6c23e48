"""One folder for what is kept, and the variables that move it."""

from pathlib import Path

import pytest

from medapp.cache import cache_folder
from medapp.serving import runtime
from medapp.ui.viewer import niivue_asset


def test_medapp_cache_comes_before_xdg_cache_home(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("MEDAPP_CACHE", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own"
    monkeypatch.setenv("MEDAPP_CACHE", "")
    assert cache_folder() == tmp_path / "xdg" / "medapp"


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="Linux has ~/.cache, other systems folders of their own")
def test_without_variables_it_lies_in_the_users_cache_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("MEDAPP_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "medapp"


def test_networks_and_the_viewers_script_share_it():
    assert runtime.cache_folder is cache_folder
    assert niivue_asset.cache_folder is cache_folder
