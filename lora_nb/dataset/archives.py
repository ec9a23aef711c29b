"""Unpacking a .zip of pictures without trusting it: nothing lands outside of its folder, nothing fills the disk."""

import errno
import lzma
import shutil
import stat
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import IO

from lora_nb.dataset.folders import EXTENSIONS, MASK_FOLDER, name_some
from lora_nb.errors import DatasetError, Problem
from lora_nb.files import check_file

MOST_FILES = 20_000
LARGEST_FILE = 512 << 20  # bytes, unpacked
LARGEST_TOTAL = 16 << 30
LARGEST_RATIO = 200  # unpacked to packed; pictures hardly shrink at all
_ALWAYS_FINE = 1 << 20  # bytes: captions and drawn pictures do shrink
SPARE = 500 << 20  # bytes of the disk that stay free
LONGEST_NAME = 200  # bytes: disks take 255, and captions and masks get longer names

# what reading a damaged or forged archive raises; OSError comes without a number then
_DAMAGE = (zipfile.BadZipFile, EOFError, RuntimeError, ValueError, OSError, zlib.error, lzma.LZMAError)


def unpack_zip(archive: Path, folder: Path) -> list[Problem]:
    """Unpack pictures and captions into a folder, each in the folder that it was in. Returns what was left out and why.

    Raises DatasetError if the archive is damaged, locked with a password, or made to do harm.
    """
    try:
        check_file(archive)
        with zipfile.ZipFile(archive) as opened:
            members = [member for member in opened.infolist() if not _is_folder(member) and _is_wanted(member)]
            _check(archive, opened.infolist(), members, folder)
            return _unpack(opened, members, folder)
    except _DAMAGE as error:
        _pass_on_trouble_of_the_disk(error)
        message = f"The archive is damaged or of a kind that is not read here ({error})."
        raise _refuse(archive, message, "Make it again, as a plain .zip.") from error


def _check(archive: Path, everything: list[zipfile.ZipInfo], members: list[zipfile.ZipInfo], folder: Path) -> None:
    outside = [member.filename for member in everything if _leads_outside(member.filename)]
    if outside:
        message = f"It wants to write outside of its folder: {name_some(outside)}."
        raise _refuse(archive, message, "Do not trust it. Unpack by hand what you need.")
    if any(member.flag_bits & 1 for member in members):
        raise _refuse(archive, "It is locked with a password.", "Make a .zip without one.")
    if len(everything) > MOST_FILES:
        raise _refuse(archive, f"It holds {len(everything):,} files.", f"Give archives of at most {MOST_FILES:,}.")
    total = sum(member.file_size for member in members)
    for member in members:
        blown_up = member.file_size > LARGEST_RATIO * max(member.compress_size, 1) and member.file_size > _ALWAYS_FINE
        if member.file_size > LARGEST_FILE or blown_up:
            message = f"{member.filename} grows from {member.compress_size:,} to {member.file_size:,} bytes."
            raise _refuse(archive, message, "No picture does that. Take it out of the archive.")
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free - SPARE
    if total > min(LARGEST_TOTAL, max(free, 0)):
        message = f"It unpacks to {total / 2**30:.1f} GiB, and {max(free, 0) / 2**30:.1f} GiB are free."
        raise _refuse(archive, message, f"Free some, or give at most {LARGEST_TOTAL >> 30} GiB at once.")


def _unpack(opened: zipfile.ZipFile, members: list[zipfile.ZipInfo], folder: Path) -> list[Problem]:
    problems = []
    tops: dict[PurePosixPath, int] = {}
    for member in members:
        path = PurePosixPath(member.filename.replace("\\", "/"))
        if stat.S_ISLNK(member.external_attr >> 16):
            message = "It is a link, not a file, and was left out."
            problems.append(Problem(str(path), message, "Put the file itself there.", "warning"))
            continue
        # of its path, an archive chooses only the last names; two folders of one name stay apart
        kept = 3 if path.parent.name == MASK_FOLDER else 2
        top = tops.setdefault(path.parents[kept - 2], len(tops))
        place = folder.joinpath(str(top), *path.parts[-kept:])
        if problem := _find_bad_name(path, place, kept):
            problems.append(problem)
            continue
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            with opened.open(member) as source, place.open("wb") as target:
                _copy(source, target, member.file_size)
        except _DAMAGE as error:
            _pass_on_trouble_of_the_disk(error)
            place.unlink(missing_ok=True)
            message = f"It is damaged in the archive ({error}), and was left out."
            problems.append(Problem(str(path), message, "Make the archive again.", "warning"))
    return problems


def _is_folder(member: zipfile.ZipInfo) -> bool:
    return not member.filename or member.is_dir()  # zipfile stumbles over a name that is empty


def _find_bad_name(path: PurePosixPath, place: Path, kept: int) -> Problem | None:
    if any(len(part.encode()) > LONGEST_NAME for part in path.parts[-kept:]):
        message = f"Its name is longer than {LONGEST_NAME} bytes, so it was left out."
        return Problem(f"{str(path)[:LONGEST_NAME]}...", message, "Give it a shorter one.", "warning")
    if place.exists():
        message = "The archive holds two files of this name. The first was taken, this one was left out."
        return Problem(str(path), message, "Rename one of them.", "warning")
    return None


def _pass_on_trouble_of_the_disk(error: Exception) -> None:
    """Raise an error anew that is not the archive's fault: no room, no permission."""
    if isinstance(error, OSError) and error.errno and error.errno != errno.EINVAL:
        raise error


def _copy(source: IO[bytes], target: IO[bytes], promised: int) -> None:
    """Copy what a member says that it holds; more is a lie."""
    copied = 0
    while chunk := source.read(1 << 20):
        copied += len(chunk)
        if copied > promised:
            raise ValueError("it is longer than it says")
        target.write(chunk)


def _is_wanted(member: zipfile.ZipInfo) -> bool:
    path = PurePosixPath(member.filename.replace("\\", "/"))
    hidden = any(part.startswith((".", "__MACOSX")) for part in path.parts)
    return not hidden and path.suffix.lower() in (*EXTENSIONS, ".txt")


def _leads_outside(name: str) -> bool:
    path = PurePosixPath(name.replace("\\", "/"))
    return path.is_absolute() or ".." in path.parts or "\0" in name or (len(name) > 1 and name[1] == ":")


def _refuse(archive: Path, message: str, fix: str) -> DatasetError:
    return DatasetError("The archive was not unpacked.", [Problem(archive.name, message, fix)])
