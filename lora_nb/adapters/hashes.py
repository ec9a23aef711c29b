"""Which base model was it? The hashes by which web UIs recognise a checkpoint file."""

import hashlib
from functools import cache
from pathlib import Path


@cache
def hash_checkpoint(base: Path) -> tuple[str, str]:
    """The web UIs' old and new hash of a single checkpoint file; once a process, for it may hold gigabytes."""
    if not base.is_file():
        return "IsADirectory", "IsADirectory"  # kohya hashes single files only
    with base.open("rb") as file:
        full = hashlib.file_digest(file, "sha256").hexdigest()
        file.seek(0x100000)
        return hashlib.sha256(file.read(0x10000)).hexdigest()[:8], full
