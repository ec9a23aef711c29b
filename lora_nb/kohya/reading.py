"""Open what Kohya's programs write: the form's JSON, sd-scripts' TOML, the metadata of a LoRA file."""

import json
import tomllib
from pathlib import Path
from typing import Any

from lora_nb.errors import ConfigError, Problem
from lora_nb.files import check_file, read_text

LARGEST_FILE = 10 << 20  # bytes of a settings file
LONGEST_HEADER = 100 * 2**20  # bytes, the limit that safetensors itself sets


def read_kohya_file(path: Path) -> dict[str, Any]:
    """Every key of a settings file or LoRA, flat. Raises ConfigError when it is none."""
    readers = {".json": _read_json, ".toml": _read_toml, ".safetensors": _read_metadata}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise _error(path, f"A {path.suffix or 'file without ending'} holds no Kohya settings that can be read.")
    try:
        values = reader(path)
    except OSError as error:
        raise _error(path, f"It cannot be opened: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:  # of JSON, TOML or text that is none
        raise _error(path, f"It is damaged, or no {path.suffix}: {error}.") from error
    if not values:
        raise _error(path, "It holds no settings.")
    return values


def _read_json(path: Path) -> dict[str, Any]:
    values = json.loads(read_text(path, LARGEST_FILE))
    if not isinstance(values, dict):
        raise ValueError("it is a list or a single value")
    return values


def _read_toml(path: Path) -> dict[str, Any]:
    return _flatten(tomllib.loads(read_text(path, LARGEST_FILE)))


def _flatten(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Tables only sort sd-scripts' arguments; of several data sets, the first is what can be taken over."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= _flatten(value, prefix)
        elif isinstance(value, list) and value and all(isinstance(part, dict) for part in value):
            flat |= _flatten(value[0], prefix)
            for number, other in enumerate(value[1:], start=2):
                flat |= {f"{key}[{number}].{name}": text for name, text in _flatten(other).items()}
        else:
            flat[prefix + key] = value
    return flat


def _read_metadata(path: Path) -> dict[str, Any]:
    """The metadata of a LoRA file, without its tensors."""
    check_file(path)
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > min(LONGEST_HEADER, path.stat().st_size):
            raise ValueError("its header is longer than the file")
        header = json.loads(file.read(length))
    metadata = header.get("__metadata__") if isinstance(header, dict) else None
    return metadata if isinstance(metadata, dict) else {}


def _error(path: Path, message: str) -> ConfigError:
    fix = "Give the .json that Kohya_SS saves, a .toml of sd-scripts, or a LoRA in .safetensors."
    return ConfigError("No settings could be imported.", [Problem(str(path), message, fix)])
