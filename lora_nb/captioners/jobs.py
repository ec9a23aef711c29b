"""Captions for many pictures in slices: a page asks for one slice after the other, and a cut costs one picture.

What is to be done, and how far it came, is in a file. So it goes on where it stopped, in another kernel, too.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from PIL import Image
from pydantic import BaseModel, ConfigDict, ValidationError

from lora_nb.captioners.captions import Existing, caption_dataset
from lora_nb.dataset.caption_history import CaptionHistory
from lora_nb.dataset.filtering import filter_dataset
from lora_nb.dataset.images import Dataset
from lora_nb.errors import DatasetError
from lora_nb.files import write_whole


class CaptionJob(BaseModel):
    """A captioning: by what, which pictures, and how far it came."""

    model_config = ConfigDict(extra="ignore")

    captioner: str  # "wd" or "florence"
    base: str | None = None  # its folder or hub name; None is the usual one
    options: dict[str, float | str | list[str] | None] = {}  # as `load_captioner` takes them
    existing: Existing = "skip"
    trigger_words: tuple[str, ...] = ()
    pictures: tuple[str, ...] = ()  # by name, in their order
    done: int = 0  # so many of them
    written: int = 0  # captions that were changed
    problems: tuple[str, ...] = ()  # pictures that could not be read, and why
    edit: int | None = None  # its number in the history, so that all of it is undone at once

    @property
    def is_finished(self) -> bool:
        return self.done >= len(self.pictures)

    def describe(self) -> str:
        """How far it is, in words."""
        text = f"{self.done} of {len(self.pictures)} pictures, {self.written} captions written"
        return text + (f", {len(self.problems)} not read" if self.problems else "")


def start_job(job: CaptionJob, dataset: Dataset, file: Path) -> CaptionJob:
    """Note down what is to be done. Pictures with a caption are not even on the list if they are to be skipped."""
    own = dataset.own()
    chosen = filter_dataset(own, captioned=False) if job.existing == "skip" else own
    update = {"pictures": tuple(item.name for item in chosen.items), "done": 0, "written": 0, "problems": ()}
    return _save(job.model_copy(update=update | {"edit": None}), file)


def load_job(file: Path) -> CaptionJob | None:
    """The captioning that was started last, finished or not; None if there is none."""
    try:
        return CaptionJob.model_validate_json(file.read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def run_slice(
    job: CaptionJob,
    dataset: Dataset,
    caption: Callable[[Image.Image], str],
    history: CaptionHistory,
    file: Path,
    seconds: float = 1.0,
) -> CaptionJob:
    """Caption the next pictures, at least one, until so many seconds are over. Returns how far it is now.

    A picture that is gone or cannot be read is passed over and reported.
    """
    items = {item.name: item for item in dataset.items}
    started = time.monotonic()
    while not job.is_finished:
        name = job.pictures[job.done]
        job = job.model_copy(update={"done": job.done + 1})
        if name in items:
            one = replace(dataset, items=(items[name],))
            try:
                changes = caption_dataset(
                    one, caption, existing=job.existing, trigger_words=job.trigger_words, dry_run=True
                )
            except DatasetError as error:
                job = job.model_copy(update={"problems": (*job.problems, str(error.problems[0]))})
            else:
                edit = history.apply("Captions by a model", changes, job.edit) if changes else job.edit
                job = job.model_copy(update={"edit": edit, "written": job.written + len(changes)})
        else:
            job = job.model_copy(update={"problems": (*job.problems, f"{name}: It is not there any more.")})
        _save(job, file)
        if time.monotonic() - started >= seconds:
            break
    return job


def _save(job: CaptionJob, file: Path) -> CaptionJob:
    write_whole(file, job.model_dump_json(indent=1).encode())
    return job
