"""Which captions are longer than the model reads? Named with the word where they are cut."""

from collections.abc import Callable, Iterable

from lora_nb.config import TrainConfig
from lora_nb.dataset.final_captions import all_captions
from lora_nb.dataset.images import ImageItem
from lora_nb.errors import Problem


def find_long_captions(
    items: Iterable[ImageItem], config: TrainConfig, count_tokens: Callable[[str], int], most: int
) -> list[Problem]:
    """Look at everything that the model will read in the run, and report each picture whose caption is cut once.

    count_tokens: of the model's tokenizer. most: how many tokens the model reads.
    """
    longest: dict[ImageItem, tuple[int, str]] = {}
    counts: dict[str, int] = {}
    for item, text in all_captions(items, config):
        if text not in counts:
            counts[text] = count_tokens(text)
        if counts[text] > max(most, longest.get(item, (0, ""))[0]):
            longest[item] = (counts[text], text)
    fix = "Shorten it" + (", or raise data.max_tokens." if most in (75, 150) else ".")
    return [
        Problem(item.name, f"{_say(count, most)} {find_cut(text, count_tokens, most)!r}.", fix, "warning")
        for item, (count, text) in longest.items()
    ]


def find_cut(text: str, count_tokens: Callable[[str], int], most: int) -> str:
    """The first tag that is not read as a whole, or the first word of a long sentence; "" if everything is read."""
    words = text.split(" ")
    low, high = 0, len(words)  # so many words are surely read; so many at most
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if count_tokens(" ".join(words[:middle])) <= most else (low, middle - 1)
    if low == len(words):
        return ""
    before = " ".join(words[:low])
    start = before.rfind(",") + 1
    tag = text[start:].split(",")[0].strip()
    return tag if len(tag.split()) <= 6 else words[low]


def _say(count: int, most: int) -> str:
    return f"The caption has {count} tokens, but only {most} are read. It is cut at"
