"""Sentences for photographs from Florence-2 (Xiao et al. 2023, arXiv:2311.06242), through transformers' own class.

Works with the `florence-community/Florence-2-*` models of the Hugging Face hub (base, base-ft, large, large-ft), or a
folder that holds one. The older `microsoft/Florence-2-*` ones bring program code of their own, which is not run here.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from lora_nb.captioners.sources import find_captioner
from lora_nb.dataset.decoding import to_rgb
from lora_nb.errors import ModelError

FLORENCE = "florence-community/Florence-2-large"
FILES = ("*.json", "*.safetensors", "*.txt")
TASKS = {  # what is asked for => Florence-2's word for it
    "short": "<CAPTION>",
    "detailed": "<DETAILED_CAPTION>",
    "paragraph": "<MORE_DETAILED_CAPTION>",
}
BEAMS, LONGEST = 3, 1024  # as the model's authors generate: three candidates at a time, at most so many tokens

# how Florence-2 likes to begin, which says nothing about the picture
_OPENING = re.compile(
    r"^\s*(?:in\s+)?(?:the|this|an?)\s+(?:image|picture|photo|photograph)\s+"
    r"(?:(?:shows|depicts|features|displays|captures|contains|is\s+of|is)\s+|,\s*|(?:we\s+)?(?:can\s+)?see\s+)",
    re.IGNORECASE,
)
_WE_SEE = re.compile(
    r"^\s*in\s+th(?:e|is)\s+(?:image|picture|photo|photograph),?\s+(?:we\s+can\s+see\s+)?", re.IGNORECASE
)


class Florence:
    """A loaded Florence-2. `caption` describes one picture in a sentence or more."""

    def __init__(self, base: str | Path = FLORENCE, device: str = "cpu", task: str = "detailed") -> None:
        """Load the model, in half precision on a GPU. Raises ModelError if it cannot be found or read.

        task: "short" (one sentence), "detailed" (two or three) or "paragraph".
        """
        if task not in TASKS:
            raise ModelError(f"Florence-2 has no task {task!r}. Choose one of: {', '.join(TASKS)}.")
        self.task, self.device = TASKS[task], torch.device(device)
        self.dtype = torch.float32 if self.device.type == "cpu" else torch.float16  # a T4 has no bf16
        self._model, self._processor = _load(find_captioner(str(base), FILES), self.dtype)
        self._model.to(self.device)

    def describe_device(self) -> str:
        """Where the model runs, for the user to read."""
        return f"Florence-2 on {self.device}, {str(self.dtype).removeprefix('torch.')}"

    @torch.no_grad()
    def caption(self, picture: Image.Image) -> str:
        """Describe a picture, without the opening that says only that it is one."""
        picture = to_rgb(picture)
        inputs = self._processor(text=self.task, images=picture, return_tensors="pt").to(self.device, self.dtype)
        longest = min(LONGEST, self._model.config.text_config.max_position_embeddings - 1)
        tokens = self._model.generate(**inputs, max_new_tokens=longest, num_beams=BEAMS, do_sample=False)
        return clean_description(self._processor.batch_decode(tokens, skip_special_tokens=True)[0])


def clean_description(text: str) -> str:
    """Take away "The image shows" and its kind; the picture's own words begin the caption."""
    text = " ".join(text.split())
    shorter = _WE_SEE.sub("", _OPENING.sub("", text))
    return shorter[:1].upper() + shorter[1:] if shorter else text


def trim_sentences(text: str, count_tokens: Callable[[str], int], limit: int) -> str:
    """Keep as many whole sentences as the model can read; of a first one that is too long, as many words.

    count_tokens: how many tokens a text has, such as a model's `count_tokens`; limit: 75 for SD and SDXL.
    """
    if count_tokens(text) <= limit:
        return text
    sentences = re.split(r"(?<=[.!?])\s+", text)
    kept = _longest(sentences, count_tokens, limit)
    return kept or _longest(text.split(), count_tokens, limit).rstrip(",;:")


def _longest(pieces: list[str], count_tokens: Callable[[str], int], limit: int) -> str:
    """As many of the pieces, from the first on, as stay within the limit."""
    text = ""
    for count in range(1, len(pieces) + 1):
        longer = " ".join(pieces[:count])
        if count_tokens(longer) > limit:
            break
        text = longer
    return text


def _load(folder: Path, dtype: torch.dtype) -> tuple[Any, Any]:
    from transformers import AutoConfig, AutoProcessor, Florence2ForConditionalGeneration

    advice = f"Use {FLORENCE!r}, or another Florence-2 of florence-community on the Hugging Face hub."
    try:
        kind = AutoConfig.from_pretrained(folder, trust_remote_code=False).model_type
    except (OSError, ValueError) as error:
        raise ModelError(f"{folder} holds no model that transformers knows: {error} {advice}") from error
    if kind != "florence2":
        raise ModelError(f"{folder} holds a {kind!r} model and not a Florence-2. {advice}")
    try:
        processor = AutoProcessor.from_pretrained(folder)
        model = Florence2ForConditionalGeneration.from_pretrained(folder, dtype=dtype, use_safetensors=True)
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise ModelError(f"The Florence-2 in {folder} cannot be read: {error} Download it again.") from error
    return model.eval(), processor
