"""Small pictures for pages that show many: made when they are asked for, and kept."""

import hashlib
import io
from pathlib import Path

from PIL import Image

from lora_nb.dataset.decoding import open_reduced
from lora_nb.files import write_whole

QUALITY = 82  # of WebP; at 256 pixels a thumbnail has 5 to 15 KB


def thumbnail(path: Path, cache: Path, size: int = 256) -> bytes:
    """A picture as WebP, upright, no side longer than `size`. Raises DatasetError naming a file that cannot be read.

    cache: a folder where it is kept for the next time, under the file's name, time and length: an edited file gets a
    new one.
    """
    facts = path.stat() if path.exists() else None
    stamp = f"{path.absolute()} {facts.st_mtime_ns} {facts.st_size} {size}" if facts else ""
    kept = cache / f"{hashlib.sha256(stamp.encode()).hexdigest()[:24]}.webp"
    if facts and kept.is_file():
        return kept.read_bytes()
    picture = open_reduced(path, size)
    picture.thumbnail((size, size), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", quality=QUALITY, method=2)
    write_whole(kept, buffer.getvalue())
    return buffer.getvalue()
