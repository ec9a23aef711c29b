"""Held-out pictures: never trained on, measured the same way each time, and nothing else changes."""

import pytest

from lora_nb.config_file import change_settings
from lora_nb.dataset.held_out import split_dataset
from lora_nb.dataset.images import scan_images
from lora_nb.training import loop
from lora_nb.training.event_log import read_events
from lora_nb.training.events import ValidationDone
from lora_nb.training.runs import train_project
from lora_nb.training.validation import DRAWS, validation_batches


@pytest.fixture
def config(config):
    changes = {"data.validation_split": 0.4, "run.batch_size": 1, "optimizer.learning_rate": 5e-3}
    return change_settings(config, changes)


def test_held_out_pictures_are_measured_and_never_trained_on(project, config, monkeypatch):
    seen = []
    make = loop.make_batches
    monkeypatch.setattr(loop, "make_batches", lambda *args, **more: (seen.append(b) or b for b in make(*args, **more)))
    held_out = split_dataset(scan_images(project.images), config).held_out.items
    events = []
    folder = train_project(project, config, on_event=events.append)

    trained = {name for batch in seen for name in batch.names}
    assert len(held_out) == 2 and trained == {f"2_mochi/{n}.png" for n in range(5)} - {item.name for item in held_out}
    found = [event for event in events if isinstance(event, ValidationDone)]
    assert [(event.epoch, event.step) for event in found] == [(0, 0), (1, 6), (2, 12)]
    assert len({event.loss for event in found}) == 3 and all(0 < event.loss < 10 for event in found)
    assert found == [event for event in read_events(folder / "events.jsonl") if isinstance(event, ValidationDone)]


def test_measuring_changes_nothing(project, config, monkeypatch):
    from lora_nb.adapters.files import read_lora

    def train(run):
        short = change_settings(config, {"run.epochs": 1})
        folder = train_project(project, short, run=run, on_event=lambda event: None)
        return read_lora(folder / "loras" / "mochi.safetensors").modules

    with_it = train("one")
    monkeypatch.setattr(loop, "validation_loss", lambda *args: 0.0)
    without = train("two")
    assert all(with_it[name].up.equal(without[name].up) for name in with_it)


def test_the_same_is_measured_at_every_call(project, config, tiny_sd1):
    from lora_nb.training.cache import cache_dataset

    images = cache_dataset(tiny_sd1, scan_images(project.images), config.data, project.cache)
    one, two = (list(validation_batches(images, config)) for _ in range(2))
    assert sum(len(batch.names) for batch in one) == DRAWS * 5
    assert all(a.latents.equal(b.latents) and a.captions == b.captions for a, b in zip(one, two, strict=True))
    assert {text for batch in one for text in batch.captions} == {f"mochi, tag {n}, forest, smile" for n in range(5)}
