"""One file of the cache: tensors that are checked when they are read, so that a damaged one is made again."""

import hashlib
import json
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from lora_nb.files import write_whole


def write_entry(path: Path, tensors: dict[str, Tensor]) -> None:
    """Save tensors with a checksum of their bytes: the whole file or nothing."""
    content = save(tensors)
    _, body = _take_apart(content)
    write_whole(path, save(tensors, metadata={"sha256": hashlib.sha256(body).hexdigest()}))


def read_entry(path: Path) -> dict[str, Tensor] | None:
    """Read what `write_entry` saved; None if there is no such file, or if one byte of it has changed."""
    try:
        content = path.read_bytes()
        header, body = _take_apart(content)
        if header["__metadata__"]["sha256"] != hashlib.sha256(body).hexdigest():
            return None
        return load(content)
    except (FileNotFoundError, SafetensorError, ValueError, KeyError, TypeError):
        return None


def _take_apart(content: bytes) -> tuple[dict[str, dict[str, str]], bytes]:
    """A .safetensors file is the header's length (8 bytes), the header (JSON) and the numbers."""
    end = 8 + int.from_bytes(content[:8], "little")
    return json.loads(content[8:end]), content[end:]
