"""What does the model hear of a caption? Encoded anew while the text encoder learns, remembered while it does not."""

from collections import OrderedDict

import torch

from lora_nb.config import TrainConfig
from lora_nb.models.base import Conditioning, DiffusionModel

REMEMBERED_CAPTIONS = 512  # about 120 MB for Stable Diffusion 1.x: 77 tokens of 768 numbers each


class CaptionEncoder:
    """Turn captions into conditioning: `encode(["mochi, forest"])` => {"encoder_hidden_states": (B, 77, D)}."""

    def __init__(self, model: DiffusionModel, config: TrainConfig) -> None:
        self._model = model
        self._clip_skip = config.model.clip_skip
        self._learns = config.adapter.train_text_encoder
        self._known: OrderedDict[str, Conditioning] = OrderedDict()

    def __call__(self, captions: list[str]) -> Conditioning:
        if self._learns:
            return self._model.encode_captions(captions, self._clip_skip)
        parts = [self._remember(caption) for caption in captions]
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}

    def _remember(self, caption: str) -> Conditioning:
        if caption not in self._known:
            with torch.no_grad():
                self._known[caption] = self._model.encode_captions([caption], self._clip_skip)
        self._known.move_to_end(caption)
        if len(self._known) > REMEMBERED_CAPTIONS:
            self._known.popitem(last=False)
        return self._known[caption]
