"""The folder is really written to."""

import errno
import os

from lora_nb.checkup import storage
from lora_nb.checkup.storage import look_at_disk, look_at_folder


def test_a_folder_that_can_be_written_to_is_left_as_it_was(tmp_path):
    folder, disk = look_at_folder(tmp_path)
    assert folder.severity == disk.severity == "ok" and not list(tmp_path.iterdir())


def test_a_read_only_disk_is_an_error_even_for_an_administrator(tmp_path, monkeypatch):
    def refuse(**_):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(storage.tempfile, "NamedTemporaryFile", refuse)
    found = look_at_folder(tmp_path)[0]
    assert found.severity == "error" and "Read-only file system" in found.message


def test_a_folder_that_is_not_there_is_an_error(tmp_path):
    (found,) = look_at_folder(tmp_path / "none")
    assert found.severity == "error" and "no such folder" in found.message


def test_a_full_disk_is_warned_of():
    assert look_at_disk(1.5).severity == "warning" and look_at_disk(20).severity == "ok"
