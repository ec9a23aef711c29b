"""How CLIP reads a caption: tokens in, one list of numbers a token out."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lora_nb.errors import ModelError
from lora_nb.models.weighted import parse_weights


@dataclass(frozen=True)
class ClipText:
    """What a CLIP text encoder makes of captions."""

    hidden_states: Tensor  # (B, T, D) one list of numbers a token: T is 77, or 154 or 231 for long captions
    pooled: Tensor  # (B, P) one for the whole caption


def encode_clip(
    tokenizer: Any,
    encoder: Any,
    captions: list[str],
    *,
    layers_back: int = 0,
    final_norm: bool = True,
    max_tokens: int = 75,
    weighted: bool = False,
) -> ClipText:
    """Captions => what CLIP says about them. Tokens after max_tokens are cut off.

    layers_back: how many layers before the last to read; 0 is the last. CLIP's final norm follows unless it is
    switched off: SD wants it, SDXL was trained without it.
    max_tokens: CLIP reads 75 at once. Longer captions are read in pieces of 75, each with its start and end, and what
    is said about the pieces is put in a row, as the web UIs do.
    weighted: whether brackets say how much words count (see weighted.py): what is said about a token is multiplied.
    """
    layers = encoder.config.num_hidden_layers
    if not 0 <= layers_back < layers:
        raise ModelError(f"clip_skip is {layers_back + 1}, but this model's text encoder has {layers} layers.")
    length = encoder.config.max_position_embeddings  # 77: start, 75 tokens, end
    pieces = max(max_tokens // (length - 2), 1)
    rows = [_tokenize(tokenizer, caption, length, pieces, weighted) for caption in captions]
    tokens = torch.tensor([ids for ids, _ in rows], device=encoder.device)  # (B, pieces x 77)
    needs_layers = layers_back > 0 or not final_norm
    output = encoder(tokens.view(-1, length), output_hidden_states=needs_layers)
    hidden_states = output.last_hidden_state
    if needs_layers:
        hidden_states = output.hidden_states[-1 - layers_back]
        if final_norm:
            inner = getattr(encoder, "text_model", encoder)  # transformers before 5 wraps the encoder once more
            hidden_states = inner.final_layer_norm(hidden_states)
    hidden_states = hidden_states.reshape(*tokens.shape, -1)  # (B x pieces, 77, D) => (B, pieces x 77, D)
    if weighted:
        weights = torch.tensor([weights for _, weights in rows], device=encoder.device)
        hidden_states = hidden_states * weights.to(hidden_states.dtype)[..., None]
    projected = getattr(output, "text_embeds", None)  # of the encoders that have a projection behind them
    pooled = output.pooler_output if projected is None else projected
    return ClipText(hidden_states, pooled[::pieces])  # of each caption's first piece


def count_tokens(tokenizer: Any, caption: str) -> int:
    """How many tokens a caption has, without the start and the end."""
    return len(_read(tokenizer, caption))


def _tokenize(tokenizer: Any, caption: str, length: int, pieces: int, weighted: bool) -> tuple[list[int], list[float]]:
    """A caption as `pieces` x `length` tokens, each piece with start and end and filled up; and each token's weight."""
    size = length - 2
    read: list[tuple[int, float]] = []
    for text, weight in parse_weights(caption) if weighted else [(caption, 1.0)]:
        read += [(token, weight) for token in _read(tokenizer, text)]
    ids: list[int] = []
    weights: list[float] = []
    for piece in range(pieces):
        part = read[piece * size : (piece + 1) * size]
        filling = size - len(part)
        ids += [tokenizer.bos_token_id, *(token for token, _ in part), tokenizer.eos_token_id]
        ids += [tokenizer.pad_token_id] * filling
        weights += [1.0, *(weight for _, weight in part), 1.0] + [1.0] * filling
    return ids, weights


def _read(tokenizer: Any, text: str) -> list[int]:
    ids: list[int] = tokenizer(text, add_special_tokens=False, truncation=False, verbose=False).input_ids
    return ids
