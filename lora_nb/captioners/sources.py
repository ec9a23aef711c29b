"""Where is a captioner? In a folder of the user's, or on the Hugging Face hub."""

import re
from collections.abc import Iterable
from pathlib import Path

from lora_nb.errors import ModelError


def find_captioner(base: str, files: tuple[str, ...]) -> Path:
    """The folder that holds a captioner; one of the hub is downloaded once, only the files that are needed.

    base: a folder, or a name on the hub such as "SmilingWolf/wd-swinv2-tagger-v3"; files: patterns like "*.onnx".
    """
    folder = Path(base).expanduser()
    if folder.is_dir():
        return folder
    if not re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", base):
        raise ModelError(f"There is no captioner at {base!r}. Give its folder, or its name on the Hugging Face hub.")
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(base, allow_patterns=list(files)))
    except Exception as error:  # the hub's client raises many kinds, which differ between its versions
        first = str(error).strip().splitlines()[:1]
        raise ModelError(
            f"The captioner {base!r} could not be fetched from the Hugging Face hub ({type(error).__name__}: "
            f"{''.join(first)}). Check the spelling and the internet connection, or give a folder that holds it."
        ) from error


def find_downloaded(bases: Iterable[str], name: str) -> Path | None:
    """The first of these models whose file of that name is on this machine already; asks no server."""
    from huggingface_hub import try_to_load_from_cache

    for base in bases:
        path = Path(base).expanduser() / name
        if path.is_file():
            return path
        found = try_to_load_from_cache(base, name) if base.count("/") == 1 else None
        if isinstance(found, str):
            return Path(found)
    return None
