"""Which pictures is an edit about? A part of a dataset, by tags, text, folder or name; itself a dataset."""

from collections.abc import Collection, Iterable
from dataclasses import replace

from lora_nb.dataset.images import Dataset, ImageItem
from lora_nb.dataset.tags import plain_tag, split_tags
from lora_nb.errors import DatasetError, Problem


def filter_dataset(
    dataset: Dataset,
    having: Iterable[str] = (),
    lacking: Iterable[str] = (),
    text: str = "",
    folder: str | None = None,
    captioned: bool | None = None,
) -> Dataset:
    """The pictures whose captions hold all of some tags and none of others; every edit of captions takes it.

    text: what the caption or the picture's name must hold, upper or lower case. folder: only this one, "12_mochi".
    captioned: False leaves those without a caption, True those with one.
    """
    wanted, unwanted = {plain_tag(tag) for tag in having}, {plain_tag(tag) for tag in lacking}
    words = text.casefold().strip()

    def fits(item: ImageItem) -> bool:
        tags = {plain_tag(tag) for tag in split_tags(item.caption)}
        return (
            wanted <= tags
            and not (unwanted & tags)
            and (not words or words in item.caption.casefold() or words in item.name.casefold())
            and (folder is None or folder == item.path.parent.name)
            and (captioned is None or captioned == item.has_caption)
        )

    return replace(dataset, items=tuple(item for item in dataset.items if fits(item)))


def choose_pictures(dataset: Dataset, names: Collection[str]) -> Dataset:
    """The pictures of these names, such as 12_mochi/001.png. Raises DatasetError naming those that are not there."""
    wanted = set(names)
    items = tuple(item for item in dataset.items if item.name in wanted)
    missing = sorted(wanted - {item.name for item in items})
    if missing:
        fix = "Scan the folder again: it was renamed or moved away."
        raise DatasetError("A picture is missing.", [Problem(name, "It is not there.", fix) for name in missing[:20]])
    return replace(dataset, items=items)
