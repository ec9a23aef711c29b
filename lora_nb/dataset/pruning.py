"""Which tags should be pruned? Those that describe the subject itself: the trigger word is to take over what they say.

What a caption names, the model puts down to those words; what it does not name, to the trigger word. So tags of what is
always there (the subject) go, and tags of what varies (pose, expression, background) stay, which keeps it promptable.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from lora_nb.dataset.tags import plain_tag, split_tags

ALWAYS, OFTEN = 0.7, 0.35  # shares of the pictures: the subject's own from here on; worth a look from here on

# how a picture is taken, not what is on it: such tags stay, however constant they are
FRAMING = frozenset(
    {
        *("solo", "1girl", "1boy", "1other", "no humans", "multiple views", "looking at viewer", "looking away"),
        *("portrait", "close-up", "upper body", "full body", "cowboy shot", "from above", "from below", "from behind"),
        *("from side", "straight-on", "depth of field", "blurry", "outdoors", "indoors", "day", "night"),
    }
)
# the last words of tags for what surrounds the subject
SURROUNDINGS = frozenset({"background", "view", "shot", "focus", "lighting", "light", "sky", "scenery"})


@dataclass(frozen=True)
class TagAdvice:
    """What to do with one tag, and why."""

    tag: str
    pictures: int  # that have it
    share: float  # of all pictures, 0 to 1
    advice: Literal["prune", "look", "keep"]
    reason: str


def advise_pruning(captions: Iterable[str], trigger_words: Iterable[str] = ()) -> list[TagAdvice]:
    """Rank all tags by how constant they are: what to prune first, then what to look at, then what to keep.

    captions: one a picture, as a tagger wrote them or as they are. The trigger words are left out.
    """
    triggers = {plain_tag(word) for words in trigger_words for word in split_tags(words)}
    pictures = [{tag: None for tag in split_tags(caption) if plain_tag(tag) not in triggers} for caption in captions]
    counts = Counter(tag for tags in pictures for tag in tags)
    rivals = _count_last_words(counts)
    found = [_advise(tag, count, len(pictures), rivals) for tag, count in counts.items()]
    order = {"prune": 0, "look": 1, "keep": 2}
    return sorted(found, key=lambda each: (order[each.advice], -each.pictures, each.tag))


def tags_to_prune(advice: Iterable[TagAdvice]) -> list[str]:
    """The tags that should go, for `remove_tags`."""
    return [each.tag for each in advice if each.advice == "prune"]


def choose_pruned(advice: Iterable[TagAdvice], also: Iterable[str] = (), keep: Iterable[str] = ()) -> list[str]:
    """The tags that should go by the advice, with some more, and without some that the user wants to keep."""
    kept = {plain_tag(tag) for tag in keep}
    chosen = {plain_tag(tag): tag for tag in [*tags_to_prune(advice), *also]}
    return [tag for name, tag in chosen.items() if name not in kept]


def preview_pruning(captions: Iterable[str], pruned: Iterable[str]) -> tuple[list[str], list[str]]:
    """What the trigger word will mean, and what stays promptable, when these tags are pruned: two lists of tags."""
    gone = {plain_tag(tag) for tag in pruned}
    counts = Counter(tag for caption in captions for tag in dict.fromkeys(split_tags(caption)))
    ordered = [tag for tag, _ in counts.most_common()]
    return [tag for tag in ordered if plain_tag(tag) in gone], [tag for tag in ordered if plain_tag(tag) not in gone]


def _advise(tag: str, count: int, pictures: int, rivals: Counter[str]) -> TagAdvice:
    share = count / pictures
    name = plain_tag(tag)
    where = f"in {count} of {pictures} pictures"
    last = name.split()[-1]
    if name in FRAMING or last in SURROUNDINGS:
        return TagAdvice(
            tag, count, share, "keep", f"It says how the picture is taken, not what the subject is ({where})."
        )
    if share >= ALWAYS:
        return TagAdvice(tag, count, share, "prune", f"It is {where}: it belongs to the subject.")
    if share >= OFTEN:
        others = rivals[last] - 1 if " " in name else 0
        if others:
            reason = f"It is {where}, and {others} other tags end in '{last}': it seems to vary."
            return TagAdvice(tag, count, share, "keep", reason)
        return TagAdvice(tag, count, share, "look", f"It is {where}: prune it if it is always there, and only missed.")
    return TagAdvice(tag, count, share, "keep", f"It is {where}: it varies.")


def _count_last_words(counts: Counter[str]) -> Counter[str]:
    """How many different tags of two or more words end in each word: "red hat" and "blue hat" are rivals."""
    return Counter(plain_tag(tag).split()[-1] for tag in counts if " " in plain_tag(tag))
