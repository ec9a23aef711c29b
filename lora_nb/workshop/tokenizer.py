"""The small model's own CLIP tokenizer: every tag word is one token, and any other word falls apart into letters.

An unknown trigger word such as `mochi` therefore keeps its identity, as it does with the real CLIP tokenizer.
"""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

from transformers import CLIPTokenizer

from lora_nb.workshop.world import all_tags

START, END = "<|startoftext|>", "<|endoftext|>"
LONGEST = 77  # positions of a CLIP text encoder
EXTRA_WORDS = ("a", "an", "the", "with", "and", "in", "on", "at", "of", "creature", "picture", ",")
Merge = tuple[str, str]


def save_tokenizer(folder: Path) -> CLIPTokenizer:
    """Write vocab.json and merges.txt, load them as transformers does, and save the loaded tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    words = sorted({word for tag in all_tags() for word in tag.split()} | set(EXTRA_WORDS))
    merges = _learn_merges(words)
    letters = _byte_letters()
    tokens = [*letters, *(letter + "</w>" for letter in letters), *(a + b for a, b in merges), START, END]
    vocabulary = {token: number for number, token in enumerate(dict.fromkeys(tokens))}
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False), encoding="utf-8")
    lines = ["#version: 0.2", *(f"{a} {b}" for a, b in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    tokenizer = CLIPTokenizer.from_pretrained(folder, model_max_length=LONGEST, pad_token=END)
    tokenizer.name_or_path = ""  # no path of the building machine in the files
    tokenizer.save_pretrained(folder)
    return tokenizer


def _learn_merges(words: list[str]) -> list[Merge]:
    """Rules that join each word's letters into one token. Later rules never undo what earlier ones do."""
    merges: list[Merge] = []
    for word in words:
        pieces = _apply(merges, [*word[:-1], word[-1] + "</w>"])
        while len(pieces) > 1:
            merges.append((pieces[0], pieces[1]))
            pieces = [pieces[0] + pieces[1], *pieces[2:]]
    return merges


def _apply(merges: list[Merge], pieces: list[str]) -> list[str]:
    """Join pieces as byte-pair encoding does: the oldest rule that fits goes first."""
    ranks = {merge: rank for rank, merge in enumerate(merges)}
    while len(pieces) > 1:
        pairs = list(pairwise(pieces))
        best = min(pairs, key=lambda pair: ranks.get(pair, len(ranks)))
        if best not in ranks:
            break
        joined: list[str] = []
        for piece in pieces:
            if joined and (joined[-1], piece) == best:
                joined[-1] += piece
            else:
                joined.append(piece)
        pieces = joined
    return pieces


def _byte_letters() -> list[str]:
    """One printable character for each of the 256 bytes, as GPT-2 and CLIP choose them."""
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    letters, spare = [], 256
    for byte in range(256):
        letters.append(chr(byte if byte in printable else spare))
        spare += byte not in printable
    return letters
