"""How CLIP reads a caption: tokens in, one list of numbers a token out."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from lora_nb.errors import ModelError


@dataclass(frozen=True)
class ClipText:
    """What a CLIP text encoder makes of captions."""

    hidden_states: Tensor  # (B, 77, D) one list of numbers a token
    pooled: Tensor  # (B, P) one for the whole caption


def encode_clip(
    tokenizer: Any, encoder: Any, captions: list[str], *, layers_back: int = 0, final_norm: bool = True
) -> ClipText:
    """Captions => what CLIP says about them. Tokens after the 75th are cut off.

    layers_back: how many layers before the last to read; 0 is the last. CLIP's final norm follows unless it is
    switched off: SD wants it, SDXL was trained without it.
    """
    layers = encoder.config.num_hidden_layers
    if not 0 <= layers_back < layers:
        raise ModelError(f"clip_skip is {layers_back + 1}, but this model's text encoder has {layers} layers.")
    tokens = tokenizer(  # (B, 77): start, up to 75 tokens, end, filled up
        captions,
        padding="max_length",
        max_length=encoder.config.max_position_embeddings,
        truncation=True,
        return_tensors="pt",
    )
    needs_layers = layers_back > 0 or not final_norm
    output = encoder(tokens.input_ids.to(encoder.device), output_hidden_states=needs_layers)
    hidden_states = output.last_hidden_state
    if needs_layers:
        hidden_states = output.hidden_states[-1 - layers_back]
        if final_norm:
            inner = getattr(encoder, "text_model", encoder)  # transformers before 5 wraps the encoder once more
            hidden_states = inner.final_layer_norm(hidden_states)
    projected = getattr(output, "text_embeds", None)  # of the encoders that have a projection behind them
    return ClipText(hidden_states, output.pooler_output if projected is None else projected)


def count_tokens(tokenizer: Any, caption: str) -> int:
    """How many tokens a caption has, without the start and the end."""
    return len(tokenizer(caption, truncation=False, verbose=False).input_ids) - 2
