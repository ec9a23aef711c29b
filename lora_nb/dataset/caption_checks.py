"""Do the captions teach what they should? Missing ones, and trigger words that are missing, late or uneven."""

from collections import defaultdict
from collections.abc import Iterator

from lora_nb.config import DataConfig
from lora_nb.dataset.folders import name_some
from lora_nb.dataset.images import Dataset, ImageItem
from lora_nb.dataset.tags import holds_word, join_tags, split_tags, training_caption
from lora_nb.dataset.wildcards import find_brace_mistake
from lora_nb.errors import Problem


def check_captions(dataset: Dataset, data: DataConfig) -> list[Problem]:
    """What is wrong with a dataset's captions and the settings that say how they are read."""
    own = dataset.own()
    found = [*_check_missing(dataset, data), *_check_trigger_words(own, data), *_check_keep_tokens(own, data)]
    return found + list(_check_marks(dataset, data))


def _check_missing(dataset: Dataset, data: DataConfig) -> Iterator[Problem]:
    """Pictures without a caption: allowed, but the user shall know what they are trained with."""
    instead: defaultdict[str, list[ImageItem]] = defaultdict(list)
    for item in dataset.items:
        if not item.has_caption:
            instead[training_caption(item, data)].append(item)
    missing = sum(len(items) for items in instead.values())
    for text, items in instead.items():
        where = f"{len(items)} of {len(dataset.items)} pictures"
        names = name_some([item.name for item in items])
        if not text:
            message = f"They have no caption and are trained without any words, so no prompt calls them: {names}."
            fix = "Write captions, set data.trigger_words, or name the folder like 10_mochi."
            yield Problem(where, message, fix, "warning")
            continue
        source = "their folder's name" if text == items[0].class_name else "the trigger words"
        message = f"They have no caption, so each is trained with {source}, {text!r}: {names}."
        fix = "That works; captions make the LoRA more flexible."
        if missing < len(dataset.items):
            fix = "Write captions for them, too, unless you left them out on purpose."
        yield Problem(where, message, fix, "note" if missing == len(dataset.items) else "warning")


def _check_trigger_words(dataset: Dataset, data: DataConfig) -> Iterator[Problem]:
    if not data.trigger_words:
        yield from _suggest_trigger_words(dataset, data)
        return
    findings: defaultdict[str, list[str]] = defaultdict(list)
    for item in dataset.items:
        if item.has_caption and (finding := _judge(item.caption, data)):
            findings[finding].append(item.name)
    words = join_tags(data.trigger_words)
    for finding, names in findings.items():
        where = f"{len(names)} of {len(dataset.items)} captions"
        fix = f"Put {words!r} first in every caption; add_trigger_words does it for all."
        yield Problem(where, f"{finding}: {name_some(names)}.", fix, "warning")


def _judge(caption: str, data: DataConfig) -> str:
    """What is wrong with the trigger words of one caption; "" if nothing is."""
    words, tags = data.trigger_words, split_tags(caption)
    called = [word for word in words if holds_word(caption, word)]
    alone = [tag for tag in tags if tag.casefold() in {word.casefold() for word in words}]
    in_front = all(holds_word(join_tags(tags[: len(words)]), word) for word in words)
    if not called:
        return f"No trigger word ({join_tags(words)!r} is set)"
    if len(called) < len(words) or len(alone) > len(words):
        count = max(len(called), len(alone))
        return f"Not equally many: {count} where {len(words)} trigger words are set ({join_tags(words)!r})"
    if data.shuffle_tags and not in_front:
        return f"{join_tags(words)!r} does not stand first, so shuffling moves it"
    return ""


def _check_marks(dataset: Dataset, data: DataConfig) -> Iterator[Problem]:
    """Marks and braces that would not be read as they are meant."""
    mark = data.keep_tokens_separator
    texts = [("data.caption_prefix", data.caption_prefix), ("data.caption_suffix", data.caption_suffix)]
    texts += [(item.name, item.caption) for item in dataset.items]
    for name, text in texts:
        if mark and text.count(mark) > 2:
            message = f"The caption has {mark!r} {text.count(mark)} times. All behind the second is kept at the end."
            yield Problem(name, message, "Use it once or twice.", "warning")
        if not mark and "|||" in text:
            fix = "Set data.keep_tokens_separator to '|||', or take it out of the captions."
            yield Problem(name, "The caption has '|||', which is read as text.", fix, "warning")
        if data.wildcards and (mistake := find_brace_mistake(text)):
            yield Problem(name, f"Wildcards are on, and {mistake}.", "Close it, or write \\{ for a real brace.")


def _suggest_trigger_words(dataset: Dataset, data: DataConfig) -> Iterator[Problem]:
    """Without the setting nothing can be checked; if all captions begin alike, that is what it should be."""
    captions = [split_tags(item.caption) for item in dataset.items if item.has_caption]
    first = {tags[0] for tags in captions if tags}
    if len(captions) > 1 and len(first) == 1:
        word = first.pop()
        message = f"Not set, but all captions begin with {word!r}."
        yield Problem("data.trigger_words", message, "Set it, so that the captions can be checked.", "note")


def _check_keep_tokens(dataset: Dataset, data: DataConfig) -> Iterator[Problem]:
    wanted = len(data.trigger_words)
    if not data.trigger_words or data.keep_tokens == wanted or not data.shuffle_tags:
        return
    if not any(item.has_caption for item in dataset.items):
        return
    effect = "some are shuffled away from the front" if data.keep_tokens < wanted else "other tags stay in front, too"
    message = f"{data.keep_tokens} tags are kept in front, but there are {wanted} trigger words: {effect}."
    yield Problem("data.keep_tokens", message, f"Set it to {wanted}.", "warning")
