"""The values in Kohya's files: strings that mean numbers, several spellings of nothing, one key under many names."""

import ast
import re
from collections.abc import Mapping
from typing import Any

EMPTY = ("", "none", "null")

# what sd-scripts' arguments and the ss_* metadata call it => what the form of Kohya_SS calls it
ALIASES = {
    "resolution": "max_resolution",
    "optimizer_type": "optimizer",
    "num_epochs": "epoch",
    "batch_size_per_device": "train_batch_size",
    "batch_size": "train_batch_size",
    "debiased_estimation": "debiased_estimation_loss",
    "network_weights": "lora_network_weights",
    "stop_text_encoder_training_pct": "stop_text_encoder_training",
    "scale_v_pred_loss_like_noise_pred_loss": "scale_v_pred_loss_like_noise_pred",
    "alpha_mask": "masked_loss",
    "conv_rank": "conv_dim",
    "tag_dropout_rate": "caption_tag_dropout_rate",
    "shuffle_captions": "shuffle_caption",
    "use_tucker": "use_cp",
    "sample_at_first": "sample_at_first",
    "pretrained_model": "pretrained_model_name_or_path",
}


class Values(Mapping[str, Any]):
    """What a file says, by the names of Kohya_SS's form; several names for one thing are one."""

    def __init__(self, found: Mapping[str, Any]) -> None:
        self._found = {name_of(key): value for key, value in found.items()}

    def __getitem__(self, key: str) -> Any:
        return self._found[key]

    def __iter__(self) -> Any:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)

    def text(self, key: str) -> str:
        return str(self.get(key, "")).strip()

    def flag(self, key: str) -> bool:
        return is_on(self.get(key))

    def number(self, key: str) -> float:
        """0 for what is empty, missing or no number: what Kohya takes as off."""
        try:
            return read_number(self.get(key))
        except ValueError:
            return 0.0


def name_of(key: str) -> str:
    """ "ss_resolution", "resolution" => "max_resolution"."""
    plain = key.removeprefix("ss_")
    return ALIASES.get(plain, plain)


def is_empty(value: Any) -> bool:
    """Whether a value says nothing: no text, "None", an empty list."""
    return value is None or value in ([], {}) or (isinstance(value, str) and value.strip().lower() in EMPTY)


def is_on(value: Any) -> bool:
    return value is True or str(value).strip().lower() in ("true", "1", "1.0", "yes", "on")


def read_number(value: Any) -> float:
    """ "1e-4", " 5 ", 5.0 => a number; nothing is 0. Raises ValueError for anything else."""
    if is_empty(value) or value is False:
        return 0.0
    return float(str(value).strip().rstrip("%"))


def read_whole(value: Any) -> int:
    number = read_number(value)
    if number != int(number):
        raise ValueError(f"{value!r} is no whole number")
    return int(number)


def read_sides(value: Any) -> tuple[int, int]:
    """ "512,650", "(512, 650)", 512 => width and height."""
    numbers = [int(float(number)) for number in re.findall(r"\d+(?:\.\d+)?", str(value))]
    if not 1 <= len(numbers) <= 2 or not all(numbers):
        raise ValueError(f"{value!r} is no size")
    return numbers[0], numbers[-1]


def read_arguments(value: Any) -> dict[str, Any]:
    """ "weight_decay=0.01 betas=0.9,0.99", a list of such words, or JSON's object => names and values."""
    if isinstance(value, Mapping):
        return dict(value)
    words = value if isinstance(value, list | tuple) else re.split(r"[\s,;]+(?=[A-Za-z_]\w*\s*=)", str(value).strip())
    found = {}
    for word in words:
        name, sign, text = str(word).strip().strip("\"'").partition("=")
        if not sign:
            raise ValueError(f"{word!r} is not name=value")
        found[name.strip()] = _literal(text.strip())
    return found


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError):  # the last two: brackets within brackets
        return {"true": True, "false": False}.get(text.lower(), text)
