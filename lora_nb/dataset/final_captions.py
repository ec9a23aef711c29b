"""What does the model read? From a caption file to the words of one look at a picture.

All chance is a function of (seed, epoch, picture, the how-manieth look), so what will be read can be shown beforehand.
"""

import re
from collections.abc import Iterable, Iterator

from lora_nb.config import DataConfig, TrainConfig
from lora_nb.dataset.buckets import resolutions_of
from lora_nb.dataset.chance import make_random
from lora_nb.dataset.images import ImageItem
from lora_nb.dataset.tags import join_tags, split_tags, training_caption
from lora_nb.dataset.wildcards import expand_wildcards

PUNCTUATION = ",.;:!?"  # behind one of these a prefix needs no comma


def final_caption(item: ImageItem, config: TrainConfig, epoch: int, look: int = 0) -> str:
    """The text that the model reads with this picture in this epoch (counted from 1): what training itself uses.

    look: a picture with several repeats is seen several times in an epoch; 0 is the first time.
    """
    data = config.data
    place = (epoch, item.name, look)
    if data.caption_dropout_every_n_epochs and epoch and epoch % data.caption_dropout_every_n_epochs == 0:
        return ""
    if make_random(config.run.seed, "caption dropout", *place).random() < data.caption_dropout:
        return ""
    text = training_caption(item, data)
    prefix, suffix = ("", "") if item.is_regularisation else (data.caption_prefix.strip(), data.caption_suffix.strip())
    if data.wildcards:
        rng = make_random(config.run.seed, "wildcards", *place)
        text = rng.choice(item.lines) if item.lines else text
        prefix, text, suffix = (expand_wildcards(part, rng) for part in (prefix, text, suffix))
    has_mark = bool(data.keep_tokens_separator) and data.keep_tokens_separator in text
    if not (has_mark or data.shuffle_tags or data.tag_dropout):
        return _join_text(prefix, text, suffix)  # as it was written: it may be a sentence
    front, loose, end = _part(text, data, kept=data.keep_tokens - len(_split(prefix, data)))
    loose = _drop_and_shuffle(loose, config, place)
    return join_tags([*_split(prefix, data), *front, *loose, *end, *_split(suffix, data)])


def plain_caption(item: ImageItem, config: TrainConfig) -> str:
    """The caption without shuffling and dropout, always the same: what held-out pictures are judged with."""
    calm = {"caption_dropout": 0.0, "caption_dropout_every_n_epochs": 0, "shuffle_tags": False, "tag_dropout": 0.0}
    data = config.data.model_copy(update=calm)
    return final_caption(item, config.model_copy(update={"data": data}), epoch=0)


def looks_per_epoch(item: ImageItem, data: DataConfig) -> int:
    """How often a picture is seen in an epoch: its repeats, at every resolution."""
    return item.repeats * len(resolutions_of(data))


def all_captions(items: Iterable[ImageItem], config: TrainConfig) -> Iterator[tuple[ImageItem, str]]:
    """Every caption that the model will read in the whole run, each once for every picture: their number is finite."""
    for item in items:
        looks = range(looks_per_epoch(item, config.data))
        seen = {final_caption(item, config, epoch, look) for epoch in range(1, config.run.epochs + 1) for look in looks}
        yield from ((item, text) for text in sorted(seen))


def _drop_and_shuffle(tags: list[str], config: TrainConfig, place: tuple[int, str, int]) -> list[str]:
    """Drop and shuffle by separate chances, so that the dropout does not change the order of what is left."""
    chance, rate = make_random(config.run.seed, "tag dropout", *place), config.data.tag_dropout
    dropped = [chance.random() < rate for _ in tags]
    order = list(range(len(tags)))
    if config.data.shuffle_tags:
        make_random(config.run.seed, "shuffle", *place).shuffle(order)
    return [tags[position] for position in order if not dropped[position]]


def _part(text: str, data: DataConfig, kept: int) -> tuple[list[str], list[str], list[str]]:
    """Tags that stay in front, tags that may move, tags that stay at the end."""
    mark = data.keep_tokens_separator
    if mark and mark in text:
        front, loose, *ends = text.split(mark)
        return _split(front, data), _split(loose, data), [tag for end in ends for tag in _split(end, data)]
    tags = _split(text, data)
    kept = max(kept, 0)
    return tags[:kept], tags[kept:], []


def _split(text: str, data: DataConfig) -> list[str]:
    """Tags between commas. A comma inside (brackets, with a weight:1.2) does not end a tag where weights are read."""
    if not data.weighted_captions:
        return split_tags(text)
    parts, depth = [""], 0
    for part in re.split(r"(\\.|[()\[\],])", text):
        depth = max(depth + (part in ("(", "[")) - (part in (")", "]")), 0)
        if part == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += part
    return [tag for part in parts if (tag := " ".join(part.split()))]


def _join_text(prefix: str, text: str, suffix: str) -> str:
    """Put texts together, with a comma where one ends without punctuation."""
    result = ""
    for part in (prefix, text, suffix):
        if result and part:
            result += " " if result[-1] in PUNCTUATION else ", "
        result += part
    return result
