"""Whose turn is it to write? One at a time, among all threads and programs of a machine that edit one folder."""

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from lora_nb.errors import LoraNbError

PATIENCE = 60.0  # seconds: an edit of a thousand captions on a slow disk takes half of that


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Read and write in a folder while no other notebook does: two that are open on one project lose no edit.

    It may be entered again within itself. A process that dies gives its turn back. Raises LoraNbError after a minute.
    The locks lie in the machine's folder for temporary files, because Google Drive knows none; so two machines that
    share a folder do not wait for each other.
    """
    lock = FileLock(_find_place() / f"{_name(folder)}.lock", timeout=PATIENCE, is_singleton=True)
    try:
        lock.acquire()
    except Timeout:
        raise LoraNbError(
            f"Another notebook has been writing in {folder} for {PATIENCE:.0f} seconds, so nothing was changed here. "
            "Wait until it is done, or restart its kernel, and try again."
        ) from None
    try:
        yield
    finally:
        lock.release()


def _find_place() -> Path:
    place = Path(tempfile.gettempdir()) / f"lora_nb-{getattr(os, 'getuid', int)()}"  # of this user alone
    place.mkdir(mode=0o700, exist_ok=True)
    return place


def _name(folder: Path) -> str:
    return hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:16]
