"""How files are written so that a crash never leaves half of one, and read so that none can hang the program."""

import errno
import os
import stat
import tempfile
from pathlib import Path

LONGEST_START = 40  # characters; each takes up to 4 of the 255 bytes of a name


def write_whole(path: Path, content: bytes) -> None:
    """Write a file completely or not at all: into a temporary neighbour, flushed, then renamed over the old one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    start = path.name[:LONGEST_START]  # of a name that is nearly too long, more would not leave room for the rest
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{start}.", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, _default_mode())  # mkstemp makes files that only their owner may read
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def read_file(path: Path, most: int) -> bytes:
    """Read a file that anybody may have put there, if it has at most so many bytes. Raises OSError with its reason."""
    check_file(path)
    size = path.stat().st_size
    if size > most:
        raise OSError(errno.EFBIG, f"it has {size:,} bytes, and {most:,} is the most that is read", str(path))
    return path.read_bytes()


def read_text(path: Path, most: int) -> str:
    """Read a text file of at most so many bytes, with or without a byte order mark. Raises OSError or ValueError."""
    return read_file(path, most).decode("utf-8-sig")


def check_file(path: Path) -> None:
    """Raise OSError for what has a name but is no file: a pipe or a device would keep its reader waiting for ever."""
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "it is a folder", str(path))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "it is no file, but a pipe or a device", str(path))


def _default_mode() -> int:
    """The permissions that a plain open() would give a new file."""
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask
