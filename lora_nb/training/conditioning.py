"""What does the model hear of a caption? Encoded anew while the text encoder learns, remembered while it does not."""

import hashlib
import json
from collections import OrderedDict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch

from lora_nb.config import TrainConfig
from lora_nb.models.base import Conditioning, DiffusionModel
from lora_nb.training.cache import fingerprint_module
from lora_nb.training.entries import read_entry, write_entry

TEXT_CACHE_VERSION = 2  # raised whenever the same caption would be encoded to something else
REMEMBERED_BYTES = 200_000_000  # in memory: 800 captions of Stable Diffusion 1.x, 77 tokens of 768 numbers each
LARGEST_CACHE = 4_000_000_000  # bytes on disk that a run takes without being asked


class CaptionEncoder:
    """Turn captions into conditioning: `encode(["mochi, forest"])` => {"encoder_hidden_states": (B, 77, D)}.

    folder: where encoded captions are kept between runs. An entry is named by the caption, how it is read and what
    reads it (tokenizers and text encoders), so an edited caption or another model finds no old entry, and a damaged
    entry is made again.
    """

    def __init__(self, model: DiffusionModel, config: TrainConfig, folder: Path | None = None) -> None:
        self._model = model
        self._config = config
        self._learns = config.adapter.train_text_encoder
        self._known: OrderedDict[str, Conditioning] = OrderedDict()
        self._known_bytes = 0
        self._folder = folder if config.data.cache_text != "never" and not self._learns else None
        self._names = ""  # what the entries' names begin with

    def __call__(self, captions: list[str]) -> Conditioning:
        if self._learns:
            return self._encode(captions)
        parts = [self._remember(caption) for caption in captions]
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}

    def prepare(
        self, captions: Iterable[str], on_progress: Callable[[int, int], None] = lambda done, total: None
    ) -> bool:
        """Encode all captions of a run and keep them on disk. True if the text encoder is not needed for them any more.

        False if it learns, if that is switched off, or if they would take too much space.
        """
        texts = sorted(set(captions))
        if self._folder is None or not texts:
            return False
        size = _count_bytes(self._remember(texts[0])) * len(texts)
        if self._config.data.cache_text == "auto" and size > LARGEST_CACHE:
            self._folder = None
            return False
        for done, text in enumerate(texts, start=1):
            self._remember(text)
            on_progress(done, len(texts))
        return True

    def _encode(self, captions: list[str]) -> Conditioning:
        data = self._config.data
        return self._model.encode_captions(
            captions, self._config.model.clip_skip, data.max_tokens, data.weighted_captions
        )

    def _remember(self, caption: str) -> Conditioning:
        known = self._known.pop(caption, None)
        if known is None:
            known = self._read_or_make(caption)
            self._known_bytes += _count_bytes(known)
        self._known[caption] = known
        while self._known_bytes > REMEMBERED_BYTES and len(self._known) > 1:
            self._known_bytes -= _count_bytes(self._known.popitem(last=False)[1])
        return known

    def _read_or_make(self, caption: str) -> Conditioning:
        path = self._path(caption)
        stored = read_entry(path) if path else None
        if stored:
            return {name: tensor.to(self._model.device) for name, tensor in stored.items()}
        with torch.no_grad():
            made = self._encode([caption])
        if path:
            write_entry(path, {name: tensor.detach().cpu().contiguous() for name, tensor in made.items()})
        return made

    def _path(self, caption: str) -> Path | None:
        if self._folder is None:
            return None
        if not self._names:
            self._names = self._name_reading()
        return self._folder / f"{hashlib.sha256(f'{self._names}/{caption}'.encode()).hexdigest()}.safetensors"

    def _name_reading(self) -> str:
        """Everything but the caption that decides what becomes of it."""
        model, data = self._config.model, self._config.data
        encoders = {**self._model.text_encoders, **self._model.frozen_text_encoders}
        weights = [f"{name}:{fingerprint_module(encoder)}" for name, encoder in encoders.items()]
        words = [f"{name}:{fingerprint_tokenizer(part)}" for name, part in self._model.tokenizers.items()]
        length = [getattr(model, name, None) for name in ("t5_tokens", "t5_attention_mask")]
        reading = [model.family, model.clip_skip, data.max_tokens, data.weighted_captions, *length]
        return "/".join(map(str, [TEXT_CACHE_VERSION, *weights, *words, *reading]))


def fingerprint_tokenizer(tokenizer: Any) -> str:
    """A hash of how captions are cut into tokens: two that cut one word otherwise have different ones."""
    if tokenizer is None:
        return ""
    rules = json.loads(tokenizer.backend_tokenizer.to_str())
    for state in ("padding", "truncation"):  # left over from the last caption that was read
        rules.pop(state)
    ends = [tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id]
    return hashlib.sha256(json.dumps([rules, ends]).encode()).hexdigest()


def _count_bytes(conditioning: Conditioning) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in conditioning.values())
