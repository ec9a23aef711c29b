"""Captions for a whole dataset by a captioner: written picture by picture, so that a cut loses nothing."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from PIL import Image

from lora_nb.dataset.images import Dataset, open_picture
from lora_nb.dataset.tags import CaptionChange, caption_path, join_tags, read_caption_lines, split_tags, write_changes
from lora_nb.errors import ConfigError, Problem

if TYPE_CHECKING:
    from lora_nb.captioners.wd import WdTagger

Existing = Literal["skip", "replace", "append", "prepend"]


class Captioner(Protocol):
    """What looks at a picture and says what is on it."""

    def caption(self, picture: Image.Image) -> str: ...
    def describe_device(self) -> str: ...


def load_captioner(name: str, base: str | Path | None = None, device: str = "cpu", **options: Any) -> Captioner:
    """Load a captioner by its kind: "wd" tags drawings, "florence" describes photographs.

    base: a folder or a hub name; None takes the kind's usual one from the hub. options: for wd what WdTagger.caption
    takes (threshold, character_threshold, unwanted), for florence its task. Others raise ConfigError.
    """
    if name not in CAPTIONERS:
        fix = f"Choose one of: {', '.join(CAPTIONERS)}."
        raise ConfigError("There is no such captioner.", [Problem("captioner", f"{name!r} is unknown.", fix)])
    known = OPTIONS[name]
    fix = f"Leave it out. {name} takes: {', '.join(known)}."
    if problems := [Problem(option, f"{name} does not take it.", fix) for option in options if option not in known]:
        raise ConfigError("The captioner would not look at every option.", problems)
    return CAPTIONERS[name](base, device, options)


@dataclass(frozen=True)
class TunedTagger:
    """A WD tagger that is asked with the same options for every picture."""

    tagger: "WdTagger"
    options: dict[str, Any]

    def caption(self, picture: Image.Image) -> str:
        return self.tagger.caption(picture, **self.options)

    def describe_device(self) -> str:
        return self.tagger.describe_device()


def _load_wd(base: str | Path | None, device: str, options: dict[str, Any]) -> Captioner:
    from lora_nb.captioners.wd import WD_TAGGER, WdTagger

    return TunedTagger(WdTagger(base or WD_TAGGER), options)


def _load_florence(base: str | Path | None, device: str, options: dict[str, Any]) -> Captioner:
    from lora_nb.captioners.florence import FLORENCE, Florence

    return Florence(base or FLORENCE, device, **options)


# which to choose from on the Hugging Face hub, by kind; any other of the same format works as well
BASES = {
    "wd": tuple(
        f"SmilingWolf/wd-{name}-tagger-v3" for name in ("swinv2", "vit", "convnext", "vit-large", "eva02-large")
    ),
    "florence": tuple(f"florence-community/Florence-2-{name}" for name in ("large", "large-ft", "base", "base-ft")),
}

# to add one: write its file, a function here, and what it can be asked for
CAPTIONERS: dict[str, Callable[[str | Path | None, str, dict[str, Any]], Captioner]] = {
    "wd": _load_wd,
    "florence": _load_florence,
}
OPTIONS = {"wd": ("threshold", "character_threshold", "unwanted"), "florence": ("task",)}


def caption_dataset(
    dataset: Dataset,
    caption: Callable[[Image.Image], str],
    *,
    existing: Existing = "skip",
    trigger_words: tuple[str, ...] = (),
    dry_run: bool = False,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[CaptionChange]:
    """Let a captioner describe every picture, and put the trigger words first. Returns what changed.

    existing: what happens to captions that are there: "skip" leaves them, "replace" writes them anew, "append" and
    "prepend" add to each line what it does not say yet. Each caption is written as soon as it is made, and doing the
    same again changes nothing: a run that was cut goes on where it stopped. If somebody edits a caption while its
    picture is looked at, what it says then counts. Regularisation pictures get no trigger words. What was there
    before the first change is kept as .txt.bak.
    """
    changes: list[CaptionChange] = []
    for done, item in enumerate(dataset.items, start=1):
        if not (existing == "skip" and read_caption_lines(item.path)):
            found = caption(open_picture(item.path))  # takes long: somebody may edit the caption meanwhile
            change = _plan(item.path, found, existing, () if item.is_regularisation else trigger_words)
            if change.after != change.before:
                changes += [change] if dry_run else write_changes([change])
        on_progress(done, len(dataset.items))
    return changes


def _plan(picture: Path, found: str, existing: Existing, trigger_words: tuple[str, ...]) -> CaptionChange:
    """What becomes of a caption; each line of it is a caption of its own."""
    lines = read_caption_lines(picture) or []
    before = "\n".join(lines)
    if existing == "skip" and lines:
        return CaptionChange(caption_path(picture), before, before)
    after = dict.fromkeys(_merge(line, found, existing, trigger_words) for line in lines or [""])
    return CaptionChange(caption_path(picture), before, "\n".join(after))


def _merge(before: str, found: str, existing: Existing, trigger_words: tuple[str, ...]) -> str:
    """The new caption: trigger words, then old and new in the order asked for, nothing twice."""
    old = split_tags(before) if existing in ("append", "prepend") else []
    is_sentence = found.endswith((".", "!", "?"))  # kept whole; tags are compared one by one
    new = ([found] if found not in before else []) if is_sentence and old else split_tags(found)
    both = [*new, *old] if existing == "prepend" else [*old, *new]
    if is_sentence and not old:
        return join_tags([*trigger_words, found])
    return join_tags(dict.fromkeys([*trigger_words, *both]))
