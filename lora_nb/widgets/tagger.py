"""Captions by a tagger or by Florence-2, with progress, in a page that can be closed and opened again.

The page asks for one slice after the other, so that it works where updates from threads never appear (Colab), and goes
on where it stopped.
"""

import json
from collections.abc import Callable
from typing import Any

from PIL import Image

from lora_nb.captioners.captions import BASES, Captioner, caption_dataset, load_captioner
from lora_nb.captioners.jobs import CaptionJob, load_job, run_slice, start_job
from lora_nb.dataset.caption_history import open_history
from lora_nb.dataset.decoding import read_size
from lora_nb.dataset.filtering import choose_pictures, filter_dataset
from lora_nb.dataset.images import Dataset, scan_images
from lora_nb.dataset.tags import read_caption
from lora_nb.dataset.thumbnails import thumbnail
from lora_nb.environment import find_machine
from lora_nb.errors import DatasetError, Problem
from lora_nb.project import Project
from lora_nb.widgets.asking import AskedWidget, Reply
from lora_nb.workshop import TAGGER_FOLDER

SHIPPED = "shipped"  # what the page calls the small tagger of this package


def tag_pictures(project: Project) -> "TaggerPanel":
    """Show the panel that lets a tagger write a project's captions."""
    return TaggerPanel(project)


class TaggerPanel(AskedWidget):
    """Answers the questions of static/tagger.js."""

    files = "tagger"

    def __init__(self, project: Project) -> None:
        super().__init__()
        self._project = project
        self._file = project.history / "captioning.json"
        self._history = open_history(project)
        self._dataset: Dataset | None = None
        self._loaded: tuple[str, Captioner, Callable[[Image.Image], str]] | None = None

    def answer_open(self) -> Reply:
        """The choices, how many pictures there are, and a captioning that was not finished."""
        dataset = self._scan()
        job = load_job(self._file)
        return {
            "pictures": len(dataset.items),
            "bare": len(filter_dataset(dataset, captioned=False).items),
            "first": dataset.items[0].name if dataset.items else "",
            "bases": {kind: list(names) for kind, names in BASES.items()},
            "triggers": list(self._project.load_config().data.trigger_words),
            "job": _say(job) if job else None,
        }

    def answer_try(self, settings: dict[str, Any], name: str) -> Reply:
        """What would be written for one picture; nothing is."""
        job = _read_settings(settings)
        one = choose_pictures(self._scan(), [name])
        describe = self._load(job)
        changes = caption_dataset(one, describe, existing="replace", trigger_words=job.trigger_words, dry_run=True)
        text = changes[0].after if changes else one.items[0].caption
        picture = thumbnail(one.items[0].path, self._project.cache / "thumbnails", 256)
        return {"name": name, "text": text, "device": self._describe()}, [picture]

    def answer_start(self, settings: dict[str, Any]) -> Reply:
        """Note down what is to be done; `step` does it."""
        return _say(start_job(_read_settings(settings), self._scan(), self._file))

    def answer_step(self) -> Reply:
        """Caption the next pictures, for about a second."""
        job = load_job(self._file)
        if job is None:
            fix = "Press Start."
            raise DatasetError("Nothing is being captioned.", [Problem("captioning", "It was never started.", fix)])
        dataset = self._dataset or self._scan()  # a folder of a thousand pictures is not scanned for each slice
        before = job.done
        job = run_slice(job, dataset, self._load(job), self._history, self._file)
        return {
            "job": _say(job),
            "device": self._describe(),
            "recent": _read_recent(dataset, job.pictures[before : job.done]),
        }

    def answer_undo(self) -> Reply:
        """Take back what the captioning wrote, if it was the last edit of many captions."""
        job = load_job(self._file)
        if job is None or job.edit is None or not self._history.is_last(job.edit):
            fix = "Undo it in the caption editor, one edit after the other."
            raise DatasetError("Nothing was undone.", [Problem("undo", "Other edits came after the captioning.", fix)])
        step = self._history.undo()
        return {"count": len(step.changed), "left": [path.name for path in step.left]}

    def _scan(self) -> Dataset:
        self._dataset = scan_images(self._project.images, read_size).own()
        return self._dataset

    def _load(self, job: CaptionJob) -> Callable[[Image.Image], str]:
        """The captioner of a job, kept for the next slice."""
        key = json.dumps([job.captioner, job.base, job.options, job.trigger_words])
        if self._loaded is None or self._loaded[0] != key:
            base = str(TAGGER_FOLDER) if job.base == SHIPPED else job.base
            model = load_captioner(job.captioner, base, find_machine().device, **job.options)
            describe = model.caption if job.captioner == "wd" else self._keep_short(model, job.trigger_words)
            self._loaded = (key, model, describe)
        return self._loaded[2]

    def _keep_short(self, model: Captioner, words: tuple[str, ...]) -> Callable[[Image.Image], str]:
        """Cut descriptions at a sentence's end where the base model would stop to read."""
        from lora_nb.captioners.florence import trim_sentences
        from lora_nb.models.token_counts import load_token_counter

        counter = load_token_counter(self._project.load_config())
        limit = counter.most - (counter.count(", ".join([*words, ""])) if words else 0)
        return lambda picture: trim_sentences(model.caption(picture), counter.count, limit)

    def _describe(self) -> str:
        return self._loaded[1].describe_device() if self._loaded else ""


def _read_settings(settings: dict[str, Any]) -> CaptionJob:
    """What the page chose, as a job. Raises DatasetError naming every number that is none."""
    options: dict[str, Any] = {}
    problems = []
    if settings["captioner"] == "florence":
        options["task"] = settings["task"]
    else:
        for name, title in (("threshold", "General tags"), ("character_threshold", "Characters")):
            value = settings[name]
            if value is not None and not (isinstance(value, (int, float)) and 0 <= value <= 1):
                problems.append(Problem(title, f"{value!r} is not from 0 to 1.", "Write a number such as 0.35."))
            options[name] = value
        options["unwanted"] = settings["unwanted"]
    if problems:
        raise DatasetError("The tagger was not started.", problems)
    return CaptionJob(
        captioner=settings["captioner"],
        base=settings["base"] or None,
        options=options,
        existing=settings["existing"],
        trigger_words=tuple(settings["triggers"]),
    )


def _say(job: CaptionJob) -> dict[str, Any]:
    return {
        "done": job.done,
        "total": len(job.pictures),
        "written": job.written,
        "text": job.describe(),
        "problems": list(job.problems),
        "finished": job.is_finished,
        "captioner": job.captioner,
        "base": job.base,
    }


def _read_recent(dataset: Dataset, names: tuple[str, ...]) -> list[dict[str, str]]:
    """The captions of these pictures as they are now, the last three."""
    items = {item.name: item for item in dataset.items}
    return [{"name": name, "text": read_caption(items[name].path) or ""} for name in names[-3:] if name in items]
