"""One file copied whole to a place that may fail at any moment: under another name, read back, then renamed."""

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

PIECE = 2**20  # bytes that are moved at a time
PART = ".copy.part"  # how the other name ends

OnBytes = Callable[[int], None]  # told how many bytes have been moved, while they are


def _do_nothing(count: int) -> None:
    pass


@dataclass(frozen=True)
class Copy:
    """What a file is, byte for byte."""

    bytes: int
    sha256: str


class SourceGone(Exception):
    """The file that was to be copied is not there any more, or is shorter."""


class TornCopy(OSError):
    """What was read back is not what was written."""


def copy_whole(
    source: Path, target: Path, root: Path, size: int | None = None, on_bytes: OnBytes = _do_nothing
) -> Copy:
    """Copy a file, or its first `size` bytes, and check the copy. Until it is whole, the old one stays in its place.

    root: the folder that must be there already; below it, folders are made. Raises SourceGone for what is wrong with
    the source, and OSError for what is wrong with the target's place.
    """
    return _put(_read_source(source, size), target, root, on_bytes)


def write_copy(content: bytes, target: Path, root: Path) -> Copy:
    """The same for content that is no file yet."""
    return _put(iter([content]), target, root, _do_nothing)


def measure_file(path: Path, size: int | None = None, on_bytes: OnBytes = _do_nothing) -> Copy:
    """What a file, or its first `size` bytes, is."""
    return _measure(_read_source(path, size), on_bytes)


def make_folder(folder: Path, root: Path) -> None:
    """Make a folder and those around it, but never `root`: where a mount is lost, no folder may take its place."""
    os.stat(root)
    for place in [*reversed([p for p in folder.parents if p.is_relative_to(root) and p != root]), folder]:
        if place != root:
            place.mkdir(exist_ok=True)


def sweep_parts(root: Path) -> None:
    """Delete what an earlier process, which was killed, has left half copied."""
    for path in root.rglob(f".*{PART}"):
        path.unlink(missing_ok=True)


def remove_copies(folder: Path) -> None:
    """Delete a folder of copies."""
    if folder.is_dir():
        shutil.rmtree(folder)


def _put(pieces: Iterator[bytes], target: Path, root: Path, on_bytes: OnBytes) -> Copy:
    make_folder(target.parent, root)
    part = target.with_name(f".{target.name}{PART}")
    try:
        copy = _write(pieces, part, on_bytes)
    except SourceGone:
        part.unlink(missing_ok=True)
        raise
    if _measure(_read(part), on_bytes) != copy:
        raise TornCopy(f"{target} was not written as it should be")
    part.replace(target)
    return copy


def _write(pieces: Iterator[bytes], part: Path, on_bytes: OnBytes) -> Copy:
    written, size = hashlib.sha256(), 0
    with part.open("wb") as file:
        for piece in pieces:
            file.write(piece)
            written.update(piece)
            size += len(piece)
            on_bytes(len(piece))
        file.flush()
        os.fsync(file.fileno())
        _forget_memory(file.fileno())
    return Copy(size, written.hexdigest())


def _measure(pieces: Iterator[bytes], on_bytes: OnBytes) -> Copy:
    found, size = hashlib.sha256(), 0
    for piece in pieces:
        found.update(piece)
        size += len(piece)
        on_bytes(len(piece))
    return Copy(size, found.hexdigest())


def _read(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            yield piece


def _read_source(path: Path, size: int | None) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            left = os.fstat(file.fileno()).st_size if size is None else size
            while left:
                piece = file.read(min(PIECE, left))
                if not piece:
                    raise SourceGone(f"{path} has become shorter")
                left -= len(piece)
                yield piece
    except OSError as error:
        raise SourceGone(str(error)) from error


def _forget_memory(handle: int) -> None:
    """Have the file read from its place again, not from this machine's memory, where the system can do that."""
    if hasattr(os, "posix_fadvise"):
        with suppress(OSError):
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
