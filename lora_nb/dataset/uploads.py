"""Files that arrive from a browser in pieces. Each piece is answered with how much is there, so that none is lost.

The page sends the next piece when the last one is answered, and goes on from there after a break. What has arrived lies
in `cache/incoming`, until `finish_upload` takes it into the project.
"""

import re
import shutil
from pathlib import Path, PurePosixPath

from lora_nb.dataset.adding import Added, add_pictures
from lora_nb.dataset.archives import LARGEST_TOTAL, LONGEST_NAME, SPARE
from lora_nb.dataset.folders import MASK_FOLDER
from lora_nb.errors import DatasetError, Problem
from lora_nb.project import Project

PIECE = 512 << 10  # bytes: larger messages do not arrive on Colab


def receive_piece(project: Project, upload: str, name: str, offset: int, total: int, piece: bytes) -> int:
    """Put a piece of a file where it belongs, and return how many bytes of it are there.

    upload: one word that names what is dropped together. name: the file's, perhaps with its folder: "12_mochi/001.png".
    A piece that does not join what is there changes nothing: send the one that begins at the number returned.
    """
    path = _place(project, upload, name)
    if not 0 < len(piece) <= PIECE and total:
        raise _refuse(name, f"A piece has {len(piece):,} bytes.", f"Send 1 to {PIECE:,}.")
    path.parent.mkdir(parents=True, exist_ok=True)
    there = path.stat().st_size if path.exists() else 0
    free = shutil.disk_usage(path.parent).free - SPARE
    if total - there > min(free, LARGEST_TOTAL):
        message = f"It has {total / 2**30:.1f} GiB, and {max(free, 0) / 2**30:.1f} GiB are free."
        raise _refuse(name, message, "Free some, or put it on Drive and give its path.")
    if offset == there and offset + len(piece) <= total:
        with path.open("ab") as file:
            file.write(piece)
        there += len(piece)
    return there


def finish_upload(project: Project, upload: str, repeats: int | None = None, name: str = "") -> Added:
    """Take what has arrived into the project, as `add_pictures` does, and clear it away."""
    folder = _folder(project, upload)
    if not folder.is_dir():
        raise _refuse(upload, "Nothing has arrived.", "Choose the files again.")
    added = add_pictures(project, folder, repeats=repeats, name=name)
    shutil.rmtree(folder)
    return added


def cancel_upload(project: Project, upload: str) -> None:
    """Forget what has arrived."""
    shutil.rmtree(_folder(project, upload), ignore_errors=True)


def _folder(project: Project, upload: str) -> Path:
    if not re.fullmatch(r"[A-Za-z0-9-]{1,40}", upload):
        raise _refuse(repr(upload[:40]), "An upload's name is one short word.", "Use letters and digits.")
    return project.cache / "incoming" / upload


def _place(project: Project, upload: str, name: str) -> Path:
    """Where a file is gathered: its own name, in its own folder if it has one."""
    parts = [part for part in PurePosixPath(name.replace("\\", "/")).parts if part not in ("/", "..", ".")]
    parts = parts[-3:] if parts[-2:-1] == [MASK_FOLDER] else parts[-2:]
    text = "/".join(parts).encode("utf-8", "replace").decode()  # halves of characters become question marks
    if not parts or text != "/".join(parts) or "\0" in text or any(len(p.encode()) > LONGEST_NAME for p in parts):
        raise _refuse(text[:80] or "(no name)", "This cannot be a file's name.", "Rename the file.")
    path = _folder(project, upload).joinpath(*parts)
    if path.is_dir() or path.parent.is_file():
        raise _refuse(name, "A file and a folder have the same name.", "Rename one of them.")
    return path


def _refuse(where: str, message: str, fix: str) -> DatasetError:
    return DatasetError("The file was not received.", [Problem(where, message, fix)])
