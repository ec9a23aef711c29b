"""Captions: the text beside each picture. Read, write and edit them, and arrange them for training.

A caption is one line of tags with commas between them ("mochi, smile, red background"), or a sentence. It lies beside
its picture, in a .txt file of the same name.
"""

from __future__ import annotations

import codecs
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lora_nb.config import DataConfig
from lora_nb.errors import DatasetError, Problem
from lora_nb.files import write_whole

if TYPE_CHECKING:
    from lora_nb.dataset.images import Dataset, ImageItem

LONGEST_CAPTION_FILE = 100_000  # bytes; a model reads about 300 of them, so more is surely no caption


@dataclass(frozen=True)
class CaptionChange:
    """One caption file that an edit changed, or would change in a dry run."""

    path: Path  # the caption file
    before: str
    after: str


def caption_path(picture: Path) -> Path:
    """The file that holds a picture's caption."""
    return picture.with_suffix(".txt")


def read_caption(picture: Path) -> str | None:
    """Read a picture's caption as one line; None if it has no caption file.

    Raises DatasetError if the file is not UTF-8 text (with or without a byte order mark).
    """
    lines = read_caption_lines(picture)
    return None if lines is None else " ".join(lines)


def write_caption(picture: Path, caption: str) -> None:
    """Save a picture's caption beside it: one line of UTF-8, the whole file or nothing."""
    write_whole(caption_path(picture), " ".join(caption.split()).encode())


def change_caption(picture: Path, caption: str) -> None:
    """Save an edited caption, and keep what was there before the first edit beside it: 001.txt.bak."""
    path = caption_path(picture)
    original = path.with_name(f"{path.name}.bak")
    if path.is_file() and not original.exists():
        write_whole(original, path.read_bytes())
    write_caption(picture, caption)


def split_tags(caption: str) -> list[str]:
    """Split a caption at its commas; a sentence without commas is one tag."""
    return [tag for part in caption.split(",") if (tag := " ".join(part.split()))]


def join_tags(tags: Iterable[str]) -> str:
    return ", ".join(tags)


def holds_word(text: str, word: str) -> bool:
    """Whether a trigger word stands in a text as a word of its own, in upper or lower case."""
    return bool(re.search(rf"(?<![^\W_]){re.escape(word)}(?![^\W_])", text, re.IGNORECASE))


def count_tags(captions: Iterable[str]) -> Counter[str]:
    """How many captions hold each tag: `count_tags(item.caption for item in dataset.items).most_common()`."""
    return Counter(tag for caption in captions for tag in dict.fromkeys(split_tags(caption)))


def remove_tags(dataset: Dataset, tags: Iterable[str], *, dry_run: bool = False) -> list[CaptionChange]:
    """Prune tags from every caption, so that the trigger word takes over what they said.

    Writes the files, unless `dry_run`, and keeps the originals as .txt.bak; returns what changed. Upper case and
    underscores make no difference. Regularisation pictures keep their tags: they show the class, not the subject.
    """
    unwanted = {_plain(tag) for tag in tags}
    return _edit(dataset, lambda caption: [tag for tag in split_tags(caption) if _plain(tag) not in unwanted], dry_run)


def add_trigger_words(dataset: Dataset, words: Iterable[str], *, dry_run: bool = False) -> list[CaptionChange]:
    """Put trigger words first in every caption; pictures without one get a caption of nothing else.

    Words that a caption has already are moved to the front, so that doing it twice changes nothing. The originals are
    kept as .txt.bak. Regularisation pictures, which show the class and not the subject, get none.
    """
    first = [word for item in words for word in split_tags(item)]
    known = {_plain(word) for word in first}
    return _edit(
        dataset, lambda caption: first + [tag for tag in split_tags(caption) if _plain(tag) not in known], dry_run
    )


def training_caption(item: ImageItem, data: DataConfig) -> str:
    """The text that a picture is trained with, before `final_captions` adds to it and shuffles it.

    It is the caption. A picture without one takes its folder's class name, as in Kohya, if the trigger words stand
    in it or there are none, and else the trigger words; a regularisation picture never takes these.
    """
    if item.has_caption:
        return item.caption
    if item.is_regularisation:
        return item.class_name
    named = all(holds_word(item.class_name, word) for word in data.trigger_words)
    return item.class_name if named else join_tags(data.trigger_words)


def _edit(dataset: Dataset, change: Callable[[str], list[str]], dry_run: bool) -> list[CaptionChange]:
    """Change every caption file once: read all of them first, so that one bad file stops the edit before it starts."""
    items = [item for item in dataset.items if not item.is_regularisation]
    pictures = {caption_path(item.path): item.path for item in items}  # a.png and a.jpg share one
    changes: list[CaptionChange] = []
    problems: list[Problem] = []
    for path, picture in pictures.items():
        try:
            before = read_caption(picture)  # as it is now: it may have been edited after the scan
        except DatasetError as error:
            problems += error.problems
            continue
        after = join_tags(change(before or ""))
        if after != join_tags(split_tags(before or "")):
            changes.append(CaptionChange(path, before or "", after))
    if problems:
        raise DatasetError("No caption was changed, because some cannot be read.", problems)
    for edit in changes if not dry_run else ():
        change_caption(pictures[edit.path], edit.after)
    return changes


def _plain(tag: str) -> str:
    """A tag without the differences that do not count."""
    return " ".join(tag.replace("_", " ").casefold().split())


def read_caption_lines(picture: Path) -> list[str] | None:
    """The lines of a picture's caption file that say something; None if it has no caption file."""
    path = caption_path(picture)
    try:
        content = path.read_bytes() if path.stat().st_size <= LONGEST_CAPTION_FILE else None
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _error(path, f"The caption cannot be opened: {error.strerror}.", "Change its permissions.") from error
    if content is None:
        raise _error(path, "The file is far too long for a caption.", "Write one line of tags or a sentence.")
    save = "In your text editor, save it as UTF-8."
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in content:
        raise _error(path, "The caption is saved as UTF-16 or is no text, so it is not used.", save)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        odd = content[error.start : error.end].decode("cp1252", "replace")
        message = f"The caption is not saved as UTF-8 (character {odd!r} at byte {error.start}), so it is not used."
        raise _error(path, message, save) from error
    return [line for part in text.splitlines() if (line := " ".join(part.split()))]


def _error(path: Path, message: str, fix: str) -> DatasetError:
    return DatasetError("A caption cannot be read.", [Problem(path.name, message, fix, "warning")])
