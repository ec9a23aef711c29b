"""Which tags are there to choose from? Those of the dataset first, then those that the tagger knows."""

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from lora_nb.errors import ModelError

GENERAL, CHARACTER, RATING = 0, 4, 9  # the categories of selected_tags.csv
CATEGORIES = {GENERAL: "general", CHARACTER: "character", RATING: "rating"}

# tags that are faces: their underscores are drawn, not spaces. From SmilingWolf's Space wd-tagger, app.py.
KAOMOJI = frozenset(
    {
        *("0_0", "(o)_(o)", "+_+", "+_-", "._.", "<o>_<o>", "<|>_<|>", "=_=", ">_<", "3_3"),
        *("6_9", ">_o", "@_@", "^_^", "o_o", "u_u", "x_x", "|_|", "||_||"),
    }
)


@dataclass(frozen=True)
class KnownTag:
    """A tag that a tagger can give."""

    name: str  # as captions spell it
    category: int
    count: int  # pictures of the tagger's training that had it


@dataclass(frozen=True)
class Suggestion:
    """A tag to choose while one is typed."""

    tag: str
    pictures: int  # of the dataset that have it; 0 for one that only the tagger knows
    category: str  # "dataset", "general" or "character"


def spell_tag(name: str) -> str:
    """A tag as captions spell it: with spaces, unless it is a face."""
    return name if name in KAOMOJI else name.replace("_", " ")


def read_vocabulary(path: Path) -> tuple[KnownTag, ...]:
    """Read a tagger's selected_tags.csv, in its order. Raises ModelError if it is none."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return tuple(
                KnownTag(spell_tag(row["name"]), int(row["category"]), int(row.get("count") or 0))
                for row in csv.DictReader(file)
            )
    except (OSError, KeyError, ValueError, TypeError, csv.Error) as error:
        raise ModelError(
            f"{path} is not a WD tagger's tag list ({error!r}): it needs the columns tag_id,name,category,count."
        ) from error


def suggest_tags(
    typed: str, counts: Mapping[str, int], vocabulary: Iterable[KnownTag] = (), most: int = 12
) -> list[Suggestion]:
    """Tags that hold what was typed: those of the dataset by how common they are, then those that the tagger knows.

    A tag that begins with it comes before one in which only a word does, and that before any other. counts: as
    `count_tags` gives them.
    """
    wanted = " ".join(typed.replace("_", " ").casefold().split())
    own = [Suggestion(tag, pictures, "dataset") for tag, pictures in counts.items()]
    others = [
        Suggestion(known.name, 0, CATEGORIES.get(known.category, "general"))
        for known in sorted(vocabulary, key=lambda each: -each.count)
        if known.category != RATING and known.name not in counts
    ]
    own.sort(key=lambda each: (-each.pictures, each.tag))
    found = []
    for group in (own, others if wanted else []):
        ranked = [(rank, each) for each in group if (rank := _rank(wanted, each.tag)) is not None]
        found += [each for _, each in sorted(ranked, key=lambda pair: pair[0])]
    return found[:most]


def _rank(wanted: str, tag: str) -> int | None:
    """How well a tag fits what was typed, 0 the best; None if it does not hold it."""
    name = tag.replace("_", " ").casefold()
    place = name.find(wanted)
    if place <= 0:
        return None if place < 0 else 0
    return 1 if f" {wanted}" in name or f"({wanted}" in name else 2
