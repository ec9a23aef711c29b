"""How is one caption saved, when it may be open elsewhere, too? Only if it is still what its editor saw."""

import hashlib
from pathlib import Path

from lora_nb.dataset.tags import (
    LONGEST_CAPTION_FILE,
    CaptionChange,
    caption_path,
    read_caption_lines,
    tidy_lines,
    write_changes,
)
from lora_nb.errors import DatasetError, Problem
from lora_nb.files import read_file
from lora_nb.locks import alone_in


class CaptionConflictError(DatasetError):
    """A caption that was changed elsewhere while it was edited here. Nothing was written."""

    def __init__(self, picture: Path, text: str, revision: str) -> None:
        self.text, self.revision = text, revision  # what the file says now
        message = f"It was changed elsewhere in the meantime. It now says {text!r}."
        fix = "Choose one of both, and save it with the new revision."
        super().__init__("A caption was not saved.", [Problem(caption_path(picture).name, message, fix)])


def find_revision(picture: Path) -> str:
    """A short name for what a picture's caption file holds now; "" if there is none."""
    try:
        return hashlib.sha256(read_file(caption_path(picture), LONGEST_CAPTION_FILE)).hexdigest()[:16]
    except OSError:
        return ""


def read_caption_text(picture: Path) -> tuple[str, str]:
    """A picture's caption with its line breaks, and its revision. Raises DatasetError if it cannot be read."""
    revision = find_revision(picture)  # before the text: a change in between is then noticed, not missed
    return "\n".join(read_caption_lines(picture) or ()), revision


def save_caption(picture: Path, text: str, revision: str) -> str:
    """Save what a picture's caption was edited to, and return its new revision. An empty one loses its file.

    revision: of what the editor showed. Raises CaptionConflictError if the file holds something else by now, and
    writes nothing then. What was there before the first edit is kept as .txt.bak.
    """
    after = "\n".join(tidy_lines(text))
    with alone_in(picture.parent):
        before, now = read_caption_text(picture)
        if now != revision and before != after:
            raise CaptionConflictError(picture, before, now)
        if before != after:
            write_changes([CaptionChange(caption_path(picture), before, after)])
        return find_revision(picture)
