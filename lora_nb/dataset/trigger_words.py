"""Do all captions of a folder begin with the same trigger words? Each folder may have words of its own: outfits."""

from collections import Counter, defaultdict
from dataclasses import dataclass

from lora_nb.config import DataConfig
from lora_nb.dataset.images import Dataset, ImageItem
from lora_nb.dataset.tags import join_tags, split_whole_tags


@dataclass(frozen=True)
class OddCaption:
    """A caption that does not begin as the others of its folder do."""

    name: str  # the picture's
    begins: tuple[str, ...]
    reason: str


@dataclass(frozen=True)
class FolderTriggers:
    """How the captions of one folder begin."""

    folder: str  # "12_mochi"; "" for a flat folder
    words: tuple[str, ...]  # with which most captions begin
    pictures: int
    odd: tuple[OddCaption, ...]

    def describe(self) -> str:
        """One line that says whether all is well."""
        where = f"{self.folder}: " if self.folder else ""
        fitting = self.pictures - len(self.odd)
        return f"{where}{fitting} of {self.pictures} captions begin with {join_tags(self.words)!r}."


def report_triggers(dataset: Dataset, data: DataConfig) -> list[FolderTriggers]:
    """Compare the first tags of every caption with those of its folder; as many as there are trigger words.

    The trigger words of the settings count, if a caption of the folder begins with them; else what most of its captions
    begin with. Without trigger words in the settings, `data.keep_tokens` tags are compared.
    """
    number = len(data.trigger_words) or data.keep_tokens
    folders: defaultdict[str, list[ImageItem]] = defaultdict(list)
    for item in dataset.items:
        if not item.is_regularisation:
            folders[item.path.parent.name if item.class_name else ""].append(item)
    return [_report(folder, items, number, data.trigger_words) for folder, items in sorted(folders.items())]


def _report(folder: str, items: list[ImageItem], number: int, wanted: tuple[str, ...]) -> FolderTriggers:
    beginnings = {item.name: _begin(item, number) for item in items}
    counts = Counter(begins for begins in beginnings.values() if begins)
    words = wanted
    if counts and not (wanted and wanted in counts):
        words = counts.most_common(1)[0][0]
    odd = [OddCaption(name, begins, _explain(begins, words)) for name, begins in beginnings.items() if begins != words]
    return FolderTriggers(folder, words, len(items), tuple(odd))


def _begin(item: ImageItem, number: int) -> tuple[str, ...]:
    return tuple(split_whole_tags(item.lines[0] if item.lines else item.caption)[:number])


def _explain(begins: tuple[str, ...], words: tuple[str, ...]) -> str:
    if not begins:
        return "It has no caption."
    if tuple(map(str.casefold, begins)) == tuple(map(str.casefold, words)):
        return f"It is written {join_tags(begins)!r}: upper and lower case differ."
    if set(begins) == set(words):
        return f"It begins with {join_tags(begins)!r}: the order differs."
    there = sum(word in begins for word in words)
    return f"It begins with {join_tags(begins)!r}: {there} of {len(words)} trigger words are in front."
