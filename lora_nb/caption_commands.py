"""The commands about captions: `lora-nb caption` writes them, `lora-nb prune` takes out what describes the subject."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from lora_nb.terminal import ProjectFolder, progress_bar

if TYPE_CHECKING:
    from PIL import Image

    from lora_nb.config import TrainConfig
    from lora_nb.dataset.images import Dataset
    from lora_nb.dataset.tags import CaptionChange

SHOWN = 8  # changed captions that are printed


def caption(
    folder: ProjectFolder,
    captioner: Annotated[str, typer.Option(help="wd (tags, for drawings) or florence (sentences, for photos).")] = "wd",
    base: Annotated[
        str | None,
        typer.Option(
            help="The captioner's folder or hub name, such as SmilingWolf/wd-swinv2-tagger-v3. Default: the small "
            "tagger of this package, which only knows the demo's world; for florence, Florence-2-large of the hub."
        ),
    ] = None,
    threshold: Annotated[
        str | None, typer.Option(help="wd: how sure a general tag must be, 0 to 1 [0.35]; or mcut.")
    ] = None,
    character_threshold: Annotated[
        str | None, typer.Option(help="wd: how sure a character's name must be, 0 to 1 [0.85]; or mcut.")
    ] = None,
    blacklist: Annotated[str | None, typer.Option(help="wd: tags that are never written, with commas.")] = None,
    task: Annotated[str | None, typer.Option(help="florence: short, detailed (the default) or paragraph.")] = None,
    existing: Annotated[
        Literal["skip", "append", "prepend", "replace"],
        typer.Option(help="What happens to captions that are there: they are left alone, added to, or written anew."),
    ] = "skip",
    trigger: Annotated[
        str | None, typer.Option(help="Trigger words that come first, with commas. Default: the project's.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be written, and write nothing.")] = False,
) -> None:
    """Let a tagger or Florence-2 write the captions. mcut cuts where the likely tags end, for each picture anew."""
    from lora_nb.captioners.captions import caption_dataset, load_captioner
    from lora_nb.environment import find_machine

    dataset, config = _open(folder)
    if base is None and captioner == "wd":
        base = _find_shipped_tagger()
    options: dict[str, Any] = {} if task is None else {"task": task}
    if threshold is not None:
        options["threshold"] = _read_threshold(threshold)
    if character_threshold is not None:
        options["character_threshold"] = _read_threshold(character_threshold)
    if blacklist is not None:
        options["unwanted"] = _read_tags(blacklist)
    model = load_captioner(captioner, base, find_machine().device, **options)
    words = config.data.trigger_words if trigger is None else _read_tags(trigger)
    print(f"{model.describe_device()}: {len(dataset.items)} pictures")
    describe = model.caption if captioner == "wd" else _keep_short(model.caption, config, words)
    with progress_bar("pictures") as on_progress:
        changes = caption_dataset(
            dataset, describe, existing=existing, trigger_words=words, dry_run=dry_run, on_progress=on_progress
        )
    _print_changes(changes, dry_run)
    print("To write them: the same without --dry-run" if dry_run else f"Next: lora-nb prune {folder}")


def prune(
    folder: ProjectFolder,
    also: Annotated[str | None, typer.Option(help="More tags to prune, with commas.")] = None,
    keep: Annotated[str | None, typer.Option(help="Tags to keep against the advice, with commas.")] = None,
    apply: Annotated[bool, typer.Option("--apply", help="Prune them. Without it, nothing is written.")] = False,
) -> None:
    """Say which tags describe the subject, so that its trigger word should take them over, and why; then prune them."""
    from lora_nb.dataset.caption_history import open_history
    from lora_nb.dataset.pruning import advise_pruning, choose_pruned, preview_pruning
    from lora_nb.dataset.tag_edits import describe_edit
    from lora_nb.dataset.tags import join_tags, remove_tags
    from lora_nb.project import find_project

    dataset, config = _open(folder)
    captions = [item.caption for item in dataset.items]
    advice = advise_pruning(captions, config.data.trigger_words)
    for each in advice:
        print(f"{each.advice:5}  {each.tag:32} {each.reason}")
    pruned = choose_pruned(advice, _read_tags(also), _read_tags(keep))
    _, stays = preview_pruning(captions, [*pruned, *config.data.trigger_words])
    print(f"\n{join_tags(config.data.trigger_words) or 'The LoRA'} will mean: {join_tags(pruned) or 'nothing more'}")
    print(f"These stay free to choose in a prompt: {join_tags(stays) or 'none'}\n")
    changes = remove_tags(dataset, pruned, dry_run=True)
    if apply:
        label = describe_edit("remove", {"tags": pruned})
        open_history(find_project(folder)).apply(label, changes)
    _print_changes(changes, not apply)
    print(f"Next: lora-nb check {folder}" if apply else "To do it: the same with --apply")


def _open(folder: Path) -> "tuple[Dataset, TrainConfig]":
    """The project's training pictures and settings; those of the class in general have captions of their own."""
    from lora_nb.dataset.images import scan_images
    from lora_nb.project import find_project

    project = find_project(folder)
    return scan_images(project.images).own(), project.load_config()


def _find_shipped_tagger() -> str:
    from lora_nb.workshop import TAGGER_FOLDER

    print("This is the small tagger of this package: it only knows the demo's world. For pictures of your own, add")
    print("  --base SmilingWolf/wd-swinv2-tagger-v3   (drawings)   or   --captioner florence   (photos)")
    return str(TAGGER_FOLDER)


def _keep_short(
    describe: "Callable[[Image.Image], str]", config: "TrainConfig", words: Sequence[str]
) -> "Callable[[Image.Image], str]":
    """Cut descriptions at a sentence's end where the base model would stop to read."""
    from lora_nb.captioners.florence import trim_sentences
    from lora_nb.models.token_counts import load_token_counter

    counter = load_token_counter(config)
    limit = counter.most - (counter.count(", ".join([*words, ""])) if words else 0)
    return lambda picture: trim_sentences(describe(picture), counter.count, limit)


def _read_threshold(text: str) -> float | None:
    """A probability, or None for the cut that is found for each picture."""
    if text.strip().lower() == "mcut":
        return None
    try:
        value = float(text)
    except ValueError:
        value = -1
    if not 0 <= value <= 1:
        raise typer.BadParameter(f"{text!r} is neither a number from 0 to 1 nor mcut.")
    return value


def _read_tags(text: str | None) -> tuple[str, ...]:
    from lora_nb.dataset.tags import split_tags

    return tuple(split_tags(text or ""))


def _print_changes(changes: "list[CaptionChange]", dry_run: bool) -> None:
    """The first changed captions as they were and as they are, and how many there are in all."""
    for change in changes[:SHOWN]:
        print(f"{change.path.name}")
        if change.before:
            print(f"  - {change.before}")
        print(f"  + {change.after}")
    if len(changes) > SHOWN:
        print(f"... and {len(changes) - SHOWN} more")
    kept = " The originals are kept as .txt.bak." if any(change.before for change in changes) and not dry_run else ""
    print(f"{len(changes)} captions {'would be' if dry_run else 'are'} written.{kept}")
