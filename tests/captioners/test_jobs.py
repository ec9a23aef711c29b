from pathlib import Path

import pytest

from lora_nb.captioners.jobs import CaptionJob, load_job, run_slice, start_job
from lora_nb.dataset.caption_history import CaptionHistory
from lora_nb.dataset.images import Dataset, scan_images
from tests.dataset.pictures import save


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    for name in "abc":
        save(tmp_path / "images" / f"{name}.png", "old" if name == "b" else None)
    return scan_images(tmp_path / "images")


@pytest.fixture
def place(dataset: Dataset) -> tuple[Path, CaptionHistory]:
    root = dataset.root.parent
    return root / "job.json", CaptionHistory(dataset.root, root / "captions.jsonl")


def texts(dataset: Dataset) -> list[str]:
    return [item.caption for item in scan_images(dataset.root).items]


def test_a_job_goes_on_where_it_stopped_and_is_undone_as_a_whole(dataset, place):
    file, history = place
    job = start_job(CaptionJob(captioner="wd", existing="append", trigger_words=("mochi",)), dataset, file)
    job = run_slice(job, dataset, lambda picture: "new", history, file, seconds=0)
    assert job.done == 1 and texts(dataset) == ["mochi, new", "old", ""]
    again = load_job(file)
    assert again == job and not again.is_finished
    while not again.is_finished:
        again = run_slice(again, dataset, lambda picture: "new", history, file, seconds=0)
    assert texts(dataset) == ["mochi, new", "mochi, old, new", "mochi, new"]
    assert load_job(file).is_finished and again.describe() == "3 of 3 pictures, 3 captions written"
    history.undo()
    assert texts(dataset) == ["", "old", ""] and history.next_undo() == ""


def test_skipping_does_not_even_list_what_has_a_caption(dataset, place):
    job = start_job(CaptionJob(captioner="wd"), dataset, place[0])
    assert job.pictures == ("a.png", "c.png")


def test_a_picture_that_cannot_be_read_is_passed_over_and_reported(dataset, place):
    file, history = place
    job = start_job(CaptionJob(captioner="wd", existing="replace"), dataset, file)
    (dataset.root / "a.png").write_bytes(b"no picture")
    (dataset.root / "b.png").unlink()
    job = run_slice(job, scan_images(dataset.root), lambda picture: "new", history, file)
    assert job.is_finished and job.written == 1
    assert all("a.png: It is not there" in job.problems[0] and "b.png" in job.problems[1] for _ in job.problems)


def test_a_damaged_job_file_is_no_job(place):
    place[0].write_text("{")
    assert load_job(place[0]) is None
