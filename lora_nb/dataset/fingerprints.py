"""Is this the dataset that a run was started with? What each picture was, and what is different now."""

import hashlib
from typing import Any

from lora_nb.config import DataConfig
from lora_nb.dataset.held_out import hash_picture
from lora_nb.dataset.images import Dataset
from lora_nb.dataset.masks import open_mask
from lora_nb.errors import Problem

Fingerprint = dict[str, dict[str, Any]]  # by the picture's name


def fingerprint_dataset(dataset: Dataset, data: DataConfig) -> Fingerprint:
    """All that a training sees of each picture, in short."""
    found: Fingerprint = {}
    for item in dataset.items:
        mask = open_mask(item, data)
        found[item.name] = {
            "picture": hash_picture(item),
            "caption": _hash("\n".join(item.lines)),
            "mask": _hash(mask.tobytes()) if mask else "",
            "repeats": item.repeats,
            "is_regularisation": item.is_regularisation,
        }
    return found


def find_changes(before: Fingerprint, now: Fingerprint) -> list[Problem]:
    """What has happened to the pictures since."""
    fix = "Put it back as it was."
    problems = [Problem(name, "The picture is gone.", fix) for name in before if name not in now]
    problems += [Problem(name, "The picture was added.", "Take it out again.") for name in now if name not in before]
    for name in before:
        changed = [what for what, value in before[name].items() if name in now and now[name].get(what) != value]
        if changed:
            problems.append(Problem(name, f"Changed: {', '.join(changed)}.", fix))
    return problems


def _hash(content: str | bytes) -> str:
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()
