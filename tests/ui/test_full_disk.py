"""A disk that runs full is told as that, and what was asked then works as soon as there is room."""

import errno
import json

import full_disk_app as app
import namespaces
import pytest

from medapp import cli
from medapp.io import files, validation


@pytest.mark.parametrize("spare", [0, 10], ids=["full while unpacking", "told before the upload"])
def test_a_full_disk_is_told_and_the_app_goes_on(tmp_path, spare):
    if not namespaces.is_available("-rm", "mount", "-t", "tmpfs", "none", str(tmp_path)):
        pytest.skip("no mount namespaces here")
    output = namespaces.run_script("-rm", app.__file__, str(tmp_path), str(spare))
    refused, answered = (json.loads(line) for line in output.splitlines() if line.startswith("{"))
    assert ("disk" if spare == 0 else "507 Insufficient Storage") in refused["refused"]
    assert answered["pipeline"] == "segment_glioma_ar2unet" and answered["files"] >= 2


def test_on_the_command_line_too(tmp_path, monkeypatch, capsys):
    def out_of_room(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device", "/tmp/Jane_Doe.nii")

    monkeypatch.setattr(files, "TemporaryDirectory", out_of_room)
    assert cli.main(["run", "segment_glioma_ar2unet", str(app.IMAGE), "--out", str(tmp_path)]) == 2
    assert validation.DISK_FULL_MESSAGE in capsys.readouterr().err
