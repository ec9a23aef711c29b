"""What can be done to the tags of many captions at once? Add, rename, replace, sort, tidy, set the trigger words.

Every edit takes a dataset, which may be a part of one (see filtering.py), and returns what it changed. With
`dry_run=True` nothing is written. Taking tags out and putting trigger words first is in tags.py.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

from lora_nb.dataset.images import Dataset
from lora_nb.dataset.tags import (
    KEEP_MARK,
    CaptionChange,
    edit_captions,
    edit_tags,
    plain_tag,
    remove_tags,
    split_whole_tags,
)
from lora_nb.dataset.vocabulary import spell_tag
from lora_nb.errors import DatasetError, Problem

Place = Literal["end", "start", "after triggers"]
Order = Literal["alphabet", "frequency", "length"]


def add_tags(
    dataset: Dataset, tags: Iterable[str], *, place: Place = "end", kept: int = 1, dry_run: bool = False
) -> list[CaptionChange]:
    """Add tags to every caption that does not hold them yet.

    place: "end", "start", or "after triggers", which is behind the first `kept` tags. Those that a caption holds
    already stay where they are.
    """
    new = [tag for each in tags for tag in split_whole_tags(each)]
    if place not in ("end", "start", "after triggers"):
        raise _error("place", f"{place!r} is no place.", "Choose end, start or after triggers.")

    def add(old: list[str]) -> list[str]:
        known = {plain_tag(tag) for tag in old}
        missing = [tag for tag in new if plain_tag(tag) not in known]
        at = {"end": len(old), "start": 0, "after triggers": _count_kept(old, kept)}[place]
        return [*old[:at], *missing, *old[at:]]

    return edit_tags(dataset, add, dry_run=dry_run)


def rename_tag(dataset: Dataset, old: str, new: str, *, dry_run: bool = False) -> list[CaptionChange]:
    """Call a tag otherwise in every caption, at its place; where the new name is there already, the old one goes.

    Upper case and underscores make no difference in the old name, so that this also mends spelling.
    """
    name, names = plain_tag(old), split_whole_tags(new)
    if not name or not names:
        raise _error("rename", "A name is missing.", "Write the tag and its new name; to take it out, remove it.")

    def rename(tags: list[str]) -> list[str]:
        if name not in map(plain_tag, tags):
            return tags
        return _once([each for tag in tags for each in (names if plain_tag(tag) == name else [tag])])

    return edit_tags(dataset, rename, dry_run=dry_run)


def replace_text(
    dataset: Dataset,
    find: str,
    replacement: str,
    *,
    regex: bool = False,
    match_case: bool = True,
    dry_run: bool = False,
) -> list[CaptionChange]:
    r"""Replace text anywhere in the captions: inside tags, over several of them, or in sentences.

    regex: `find` is a regular expression and `replacement` may name its groups (\1). What is left is not tidied, apart
    from commas and spaces that would stand twice.
    """
    if not find:
        raise _error("find", "There is nothing to look for.", "Write the text that is to be replaced.")
    try:
        pattern = re.compile(find if regex else re.escape(find), 0 if match_case else re.IGNORECASE)
        pattern.sub(replacement if regex else "", "")
    except (re.error, IndexError) as error:
        fix = "Mend it, or search for the text as it stands, without regular expressions."
        raise _error("find", f"{find!r} => {replacement!r} is no regular expression: {error}.", fix) from error
    new = replacement if regex else replacement.replace("\\", r"\\")

    def replace(line: str) -> str:
        try:
            changed = pattern.sub(new, line)
        except (re.error, IndexError) as error:  # a group that is only missed where something was found
            raise _error("replacement", f"{replacement!r} does not fit: {error}.", "Mend the replacement.") from error
        if changed == line:
            return line
        return " ".join(re.sub(r"\s*,(?:\s*,)+", ",", changed).strip(" ,").split())

    return edit_captions(dataset, replace, dry_run=dry_run)


def sort_tags(dataset: Dataset, *, by: Order = "alphabet", kept: int = 1, dry_run: bool = False) -> list[CaptionChange]:
    """Bring the tags of every caption into one order, behind the first `kept`, which stay.

    by: "alphabet", "frequency" (the most common of these captions first) or "length". What stands before a mark |||,
    and behind a second one, stays as well. Training shuffles tags anyway; order helps people to compare them.
    """
    counts: dict[str, int] = {}
    for item in dataset.items:
        for tag in dict.fromkeys(map(plain_tag, split_whole_tags(item.caption))):
            counts[tag] = counts.get(tag, 0) + 1
    orders: dict[str, Callable[[str], Any]] = {
        "alphabet": plain_tag,
        "frequency": lambda tag: (-counts.get(plain_tag(tag), 0), plain_tag(tag)),
        "length": lambda tag: (len(tag), plain_tag(tag)),
    }
    if by not in orders:
        raise _error("by", f"{by!r} is no order.", f"Choose {', '.join(orders)}.")

    def sort(tags: list[str]) -> list[str]:
        start = _count_kept(tags, kept)
        end = next((at for at in range(start, len(tags)) if tags[at] == KEEP_MARK), len(tags))
        return [*tags[:start], *sorted(tags[start:end], key=orders[by]), *tags[end:]]

    return edit_tags(dataset, sort, dry_run=dry_run)


def tidy_tags(dataset: Dataset, *, dry_run: bool = False) -> list[CaptionChange]:
    """Write tags as captions write them: each once, spaces for underscores (faces like ^_^ stay), no empty ones."""
    return edit_tags(dataset, lambda tags: _once([spell_tag(tag) for tag in tags]), dry_run=dry_run)


def dedupe_tags(dataset: Dataset, *, dry_run: bool = False) -> list[CaptionChange]:
    """Leave each tag once in a caption, where it stands first. Upper case and underscores make no difference."""
    return edit_tags(dataset, _once, dry_run=dry_run)


def set_trigger_words(
    dataset: Dataset, words: Iterable[str], *, instead_of: Iterable[str] = (), dry_run: bool = False
) -> list[CaptionChange]:
    """Begin every caption with these trigger words, in this order; the ones that they replace go, wherever they are."""
    new = [word for each in words for word in split_whole_tags(each)]
    gone = {plain_tag(word) for word in [*new, *instead_of]}
    return edit_tags(dataset, lambda tags: new + [tag for tag in tags if plain_tag(tag) not in gone], dry_run=dry_run)


# what an editor offers, by name; to add one: write the function, name it here
EDITS: dict[str, Callable[..., list[CaptionChange]]] = {
    "add": add_tags,
    "remove": remove_tags,
    "rename": rename_tag,
    "replace": replace_text,
    "sort": sort_tags,
    "tidy": tidy_tags,
    "dedupe": dedupe_tags,
    "triggers": set_trigger_words,
}


def describe_edit(edit: str, options: Mapping[str, Any]) -> str:
    """An edit of EDITS in words, as a list of what can be undone names it."""
    words = {name: ", ".join(each) if isinstance(each, list | tuple) else str(each) for name, each in options.items()}
    text = _DESCRIPTIONS[edit].format_map(defaultdict(str, words))
    return text if len(text) <= 80 else f"{text[:79]}…"


_DESCRIPTIONS = {
    "add": "Add {tags}",
    "remove": "Remove {tags}",
    "rename": "Rename {old} to {new}",
    "replace": "Replace {find} by {replacement}",
    "sort": "Sort by {by}",
    "tidy": "Tidy tags",
    "dedupe": "Remove doubled tags",
    "triggers": "Trigger words {words}",
}


def _count_kept(tags: list[str], kept: int) -> int:
    """How many tags stay in front: those before the mark ||| and it, or the first `kept`."""
    return tags.index(KEEP_MARK) + 1 if KEEP_MARK in tags else min(max(kept, 0), len(tags))


def _once(tags: list[str]) -> list[str]:
    seen: set[str] = set()
    kept = []
    for tag in tags:
        if (name := plain_tag(tag)) not in seen or tag == KEEP_MARK:
            kept.append(tag)
        seen.add(name)
    return kept


def _error(where: str, message: str, fix: str) -> DatasetError:
    return DatasetError("No caption was changed.", [Problem(where, message, fix)])
