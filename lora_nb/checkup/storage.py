"""Can the project's folder be written to, and is there room?"""

import shutil
import tempfile
from pathlib import Path

from lora_nb.checkup.findings import Finding

SMALL_DISK_GIB = 2.0


def look_at_folder(folder: Path) -> list[Finding]:
    """Write to the folder, and measure its disk."""
    where = str(folder)
    if not folder.is_dir():
        return [Finding(where, "There is no such folder.", "Make it first, or choose another one.", "error")]
    return [_try_writing(folder, where), look_at_disk(shutil.disk_usage(folder).free / 2**30)]


def look_at_disk(free_gib: float) -> Finding:
    """Is there room for models, checkpoints and pictures?"""
    if free_gib >= SMALL_DISK_GIB:
        return Finding("disk", f"{free_gib:.1f} GiB are free.")
    fix = "Free some space, or put the project on another disk."
    return Finding("disk", f"Only {free_gib:.1f} GiB are free.", fix, "warning")


def _try_writing(folder: Path, where: str) -> Finding:
    """Really write: permissions say yes to an administrator and on read-only disks, too."""
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".doctor.") as file:
            file.write(b"can this be written?")
    except OSError as error:
        return Finding(where, f"It cannot be written to: {error.strerror}.", "Choose another folder.", "error")
    return Finding(where, "It can be written to.")
