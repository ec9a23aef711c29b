"""Which pictures are held out? Chosen by what they show and the seed, so that none is ever trained on.

A picture's bytes decide, not its name or place: a copy under another name falls on the same side, and adding pictures
hardly changes which of the others are held out.
"""

import hashlib
from dataclasses import replace
from typing import NamedTuple

from lora_nb.config import TrainConfig
from lora_nb.dataset.chance import mix_seed
from lora_nb.dataset.images import Dataset, ImageItem
from lora_nb.errors import DatasetError, Problem


class Split(NamedTuple):
    """A dataset in two parts that share no picture."""

    training: Dataset
    held_out: Dataset


def split_dataset(dataset: Dataset, config: TrainConfig) -> Split:
    """Hold out `data.validation_split` of the pictures; regularisation pictures are all trained on.

    Raises DatasetError if there are not two different pictures.
    """
    share = config.data.validation_split
    if not share:
        return Split(dataset, replace(dataset, items=()))
    contents = {item: hash_picture(item) for item in dataset.items if not item.is_regularisation}
    different = sorted(set(contents.values()), key=lambda content: mix_seed(config.run.seed, "held out", content))
    if len(different) < 2:
        message = f"{share:.0%} of the pictures shall be held out, but there are not two different ones."
        raise DatasetError(
            "No picture can be held out.", [Problem("data.validation_split", message, "Set it to 0, or add pictures.")]
        )
    count = min(max(round(share * len(different)), 1), len(different) - 1)
    chosen = {item for item, content in contents.items() if content in set(different[:count])}
    training = tuple(item for item in dataset.items if item not in chosen)
    return Split(
        replace(dataset, items=training), replace(dataset, items=tuple(i for i in dataset.items if i in chosen))
    )


def hash_picture(item: ImageItem) -> str:
    """A hash of the picture file: another picture has another one. Raises DatasetError if the file is gone."""
    try:
        return hashlib.sha256(item.path.read_bytes()).hexdigest()
    except OSError as error:
        found = f"It was there a moment ago, and cannot be read now ({error.strerror})."
        problem = Problem(item.name, found, "Put it back, or start again without it.")
        raise DatasetError("A picture is gone.", [problem]) from error
