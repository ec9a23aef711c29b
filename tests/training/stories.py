"""What a run leaves, as far as two runs can be compared: its LoRA, its story, its files; and whether they are whole."""

from pathlib import Path
from typing import Any

from PIL import Image
from safetensors.torch import load_file

from lora_nb.training.checkpoints import find_damage, list_checkpoints
from lora_nb.training.event_log import read_events

OF_THE_WAY = ("preparing", "run_continued", "checkpoint_saved", "problem_found")  # events that continuing adds


def tensors_of(folder: Path) -> dict[str, Any]:
    return load_file(folder / "loras" / "mochi.safetensors")


def story_of(folder: Path) -> list[dict[str, Any]]:
    """What a run has told, without the traces of being continued and without what the clock says."""
    events = [event for event in read_events(folder / "events.jsonl") if event.kind not in OF_THE_WAY]
    story = [{**vars(event), "kind": event.kind} for event in events]
    for told in story:
        told["path"] = told.get("path", "").removeprefix(str(folder))
        for varies in ("seconds", "versions", "run"):
            told.pop(varies, None)
    return story


def assert_same(one: Path, other: Path) -> None:
    """The same LoRA to the bit, the same story, the same files."""
    first, second = tensors_of(one), tensors_of(other)
    assert first.keys() == second.keys() and all(first[name].equal(second[name]) for name in first)
    assert story_of(one) == story_of(other)
    for place in ("loras", "samples"):
        files = [sorted(path.name for path in (each / place).glob("*")) for each in (one, other)]
        assert files[0] == files[1]


def assert_no_partial_file(folder: Path) -> None:
    """Whatever has a name that somebody looks for is whole, at any moment."""
    for path in (folder / "loras").glob("[!.]*"):
        load_file(path)
    for path in (folder / "samples").glob("[!.]*"):
        Image.open(path).verify()
    for path in list_checkpoints(folder / "checkpoints"):
        assert find_damage(path) == ""
