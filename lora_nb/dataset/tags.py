"""Captions: the text beside each picture. Read, write and edit them, and arrange them for training.

A caption is one line of tags with commas between them ("mochi, smile, red background"), or a sentence. It lies beside
its picture, in a .txt file of the same name.
"""

from __future__ import annotations

import codecs
import errno
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lora_nb.config import DataConfig
from lora_nb.errors import DatasetError, Problem
from lora_nb.files import read_file, write_whole
from lora_nb.locks import alone_in

if TYPE_CHECKING:
    from lora_nb.dataset.images import Dataset, ImageItem

LONGEST_CAPTION_FILE = 100_000  # bytes; a model reads about 300 of them, so more is surely no caption
KEEP_MARK = "|||"  # as data.keep_tokens_separator is set unless somebody changes it


@dataclass(frozen=True)
class CaptionChange:
    """One caption file that an edit changed, or would change in a dry run.

    A file with several lines, as data.wildcards reads them, stands here with its line breaks; "" is no file.
    """

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


def write_changes(changes: Iterable[CaptionChange]) -> list[CaptionChange]:
    """Make captions what they are `after`, with their lines; one that became empty loses its file.

    What was there before the first edit is kept beside each: 001.txt.bak. A caption that does not say any more what it
    did `before`, because another notebook has edited it since, is left as it is. Returns the changes that were made.
    """
    made = []
    for change in changes:
        with alone_in(change.path.parent):
            if says(change.path) == change.before:
                _write(change)
                made.append(change)
    return made


def _write(change: CaptionChange) -> None:
    _keep_original(change.path)
    if lines := tidy_lines(change.after):
        write_whole(change.path, "\n".join(lines).encode())
    else:
        change.path.unlink(missing_ok=True)


def says(caption_file: Path) -> str | None:
    """What a caption file says now, "" if there is none; None if it cannot be read, and so must not be touched."""
    try:
        return "\n".join(read_caption_lines(caption_file) or ())
    except DatasetError:
        return None


def tidy_lines(text: str) -> list[str]:
    """The lines of a text that say something, without spaces too many."""
    return [line for part in text.splitlines() if (line := " ".join(part.split()))]


def split_tags(caption: str) -> list[str]:
    """Split a caption at its commas; a sentence without commas is one tag."""
    return [tag for part in caption.split(",") if (tag := " ".join(part.split()))]


def join_tags(tags: Iterable[str]) -> str:
    return ", ".join(tags)


def split_whole_tags(caption: str) -> list[str]:
    """Split a caption for an edit: what belongs together stays together, so that no edit can tear it.

    A comma inside brackets ends no tag: (red hat, boots:1.2), {red|blue, green}. The mark ||| is a tag of its own.
    """
    parts, depth = [""], 0
    for part in re.split(r"(\\.|[()\[\]{},])", caption):
        depth = max(depth + (part in ("(", "[", "{")) - (part in (")", "]", "}")), 0)
        if part == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += part
    if depth:  # a bracket that is never closed, as in the face ":(": it holds nothing together
        parts = caption.split(",")
    pieces = [piece for part in parts for piece in re.split(rf"({re.escape(KEEP_MARK)})", part)]
    return [tag for piece in pieces if (tag := " ".join(piece.split()))]


def join_whole_tags(tags: Iterable[str]) -> str:
    """Put the tags of `split_whole_tags` together again."""
    return re.sub(rf",? ?{re.escape(KEEP_MARK)},? ?", f" {KEEP_MARK} ", ", ".join(tags)).strip()


def plain_tag(tag: str) -> str:
    """A tag without the differences that do not count: upper case, underscores, spaces too many."""
    return " ".join(tag.replace("_", " ").casefold().split())


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
    unwanted = {plain_tag(tag) for tag in tags}
    return edit_tags(dataset, lambda tags: [tag for tag in tags if plain_tag(tag) not in unwanted], dry_run=dry_run)


def add_trigger_words(dataset: Dataset, words: Iterable[str], *, dry_run: bool = False) -> list[CaptionChange]:
    """Put trigger words first in every caption; pictures without one get a caption of nothing else.

    Words that a caption has already are moved to the front, so that doing it twice changes nothing. The originals are
    kept as .txt.bak. Regularisation pictures, which show the class and not the subject, get none.
    """
    first = [word for item in words for word in split_tags(item)]
    known = {plain_tag(word) for word in first}
    return edit_tags(
        dataset, lambda tags: first + [tag for tag in tags if plain_tag(tag) not in known], dry_run=dry_run
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


def edit_tags(
    dataset: Dataset, change: Callable[[list[str]], list[str]], *, dry_run: bool = False
) -> list[CaptionChange]:
    """Change the tags of every caption by a function of your own: list of tags => list of tags.

    What is in brackets with commas stays one tag; each line of a file with several lines is a caption of its own. A
    caption in which only the spacing would differ is left as it is.
    """

    def change_line(line: str) -> str:
        tags = split_whole_tags(line)
        changed = change(list(tags))
        return line if changed == tags else join_whole_tags(changed)

    return edit_captions(dataset, change_line, dry_run=dry_run)


def edit_captions(dataset: Dataset, change: Callable[[str], str], *, dry_run: bool = False) -> list[CaptionChange]:
    """Change the text of every caption by a function of your own, line by line; returns what changed.

    Reads all files first, so that one bad file stops the edit before it starts. Regularisation pictures are left alone.
    """
    paths = dict.fromkeys(caption_path(item.path) for item in dataset.items if not item.is_regularisation)
    changes: list[CaptionChange] = []  # a.png and a.jpg share one file
    problems: list[Problem] = []
    for path in paths:
        try:
            lines = read_caption_lines(path)  # as it is now: it may have been edited after the scan
        except DatasetError as error:
            problems += error.problems
            continue
        after = [change(line) for line in lines or [""]]
        if after != (lines or [""]):
            changes.append(CaptionChange(path, "\n".join(lines or ()), "\n".join(line for line in after if line)))
    if problems:
        raise DatasetError("No caption was changed, because some cannot be read.", problems)
    return changes if dry_run else write_changes(changes)


def _keep_original(path: Path) -> None:
    original = path.with_name(f"{path.name}.bak")
    if path.is_file() and not original.exists():
        write_whole(original, path.read_bytes())


def read_caption_lines(picture: Path) -> list[str] | None:
    """The lines of a picture's caption file that say something; None if it has no caption file."""
    path = caption_path(picture)
    try:
        content = read_file(path, LONGEST_CAPTION_FILE)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno == errno.EFBIG:
            message = "The file is far too long for a caption."
            raise _error(path, message, "Write one line of tags or a sentence.") from error
        raise _error(path, f"The caption cannot be opened: {error.strerror}.", "Change its permissions.") from error
    save = "In your text editor, save it as UTF-8."
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in content:
        raise _error(path, "The caption is saved as UTF-16 or is no text, so it is not used.", save)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        odd = content[error.start : error.end].decode("cp1252", "replace")
        message = f"The caption is not saved as UTF-8 (character {odd!r} at byte {error.start}), so it is not used."
        raise _error(path, message, save) from error
    return tidy_lines(text)


def _error(path: Path, message: str, fix: str) -> DatasetError:
    return DatasetError("A caption cannot be read.", [Problem(path.name, message, fix, "warning")])
