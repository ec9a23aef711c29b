"""Files cut at random or with one bit flipped: noticed, named, and made again where something else knows them."""

import random

import pytest

from lora_nb.adapters.files import read_lora
from lora_nb.config_file import change_settings, load_config
from lora_nb.dataset.images import scan_images
from lora_nb.errors import ConfigError, LoraFileError
from lora_nb.models.base import load_model
from lora_nb.training.cache import cache_dataset
from lora_nb.training.conditioning import CaptionEncoder
from lora_nb.training.continuing import BEGINNING
from lora_nb.training.entries import read_entry
from lora_nb.training.event_log import read_events
from lora_nb.training.events import ProblemFound
from lora_nb.training.runs import continue_project, train_project
from tests.fuzz.spoiling import cut_or_flip
from tests.training.stories import assert_same, tensors_of
from tests.training.test_checkpoints import quiet, started_and_crashed


@pytest.fixture
def chance():
    seed = random.randrange(10**6)
    print(f"damage: seed {seed}")
    return random.Random(seed)


def damage(chance, path):
    """Cut a file or flip one of its bits. Returns what it held."""
    content = path.read_bytes()
    path.write_bytes(cut_or_flip(chance, content))
    return content


def test_no_damage_of_a_cache_entry_is_overlooked(project, config, chance):
    """Two hundred times; and what was damaged is encoded again, to the same."""
    model = load_model(config.model)
    config = change_settings(config, {"adapter.train_text_encoder": False})
    cache_dataset(model, scan_images(project.images), config.data, project.cache)
    CaptionEncoder(model, config, project.cache / "captions").prepare(["mochi, forest", "mochi"])
    entries = sorted(project.cache.rglob("*.safetensors"))
    assert len(entries) == 7
    for _ in range(200):
        path = chance.choice(entries)
        whole, content = read_entry(path), damage(chance, path)
        read = read_entry(path)
        assert read is None or same(read, whole), "a blank that means nothing"
        path.write_bytes(content)
    before = {path: path.read_bytes() for path in entries}
    for path in entries:
        damage(chance, path)
    cache_dataset(model, scan_images(project.images), config.data, project.cache)
    CaptionEncoder(model, config, project.cache / "captions").prepare(["mochi, forest", "mochi"])
    assert {path: path.read_bytes() for path in entries} == before


def same(one, other):
    return one.keys() == other.keys() and all(one[name].equal(other[name]) for name in one)


def test_no_damage_of_a_lora_is_overlooked(project, config, chance):
    """Two hundred times: refused by name; or it was in a text that the file says about itself."""
    folder = train_project(project, config, on_event=quiet)
    path, whole = folder / "loras" / "mochi.safetensors", tensors_of(folder)
    refused = 0
    for _ in range(200):
        content = damage(chance, path)
        try:
            read_lora(path)
            assert same(tensors_of(folder), whole)
        except LoraFileError as error:
            assert path.name in str(error)
            refused += 1
        path.write_bytes(content)
    print(f"{refused} of 200 were refused, the others in the metadata")
    assert refused > 100 and read_lora(path)


def test_a_bit_of_a_lora_that_flips_is_named(project, config):
    path = train_project(project, config, on_event=quiet) / "loras" / "mochi.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(LoraFileError, match="its numbers are not those that were saved"):
        read_lora(path)


def test_damaged_events_are_named_and_the_run_goes_on(project, config, chance):
    whole = train_project(project, config, run="whole", on_event=quiet)
    folder = started_and_crashed(project, config)
    path = folder / "events.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    broken = bytearray(lines[3])
    broken[chance.randrange(len(broken) - 1)] ^= 1
    path.write_bytes(b"".join([*lines[:3], broken, *lines[4:]]))
    (problem,) = [event for event in read_events(path) if isinstance(event, ProblemFound)]
    assert problem.where == "events.jsonl, line 4"
    continue_project(project, "run1", on_event=quiet)
    assert all(tensors_of(whole)[name].equal(values) for name, values in tensors_of(folder).items())


@pytest.mark.parametrize("way", ["cut", "flipped", "empty"])
def test_damaged_settings_of_a_run_come_from_its_checkpoint(project, config, way):
    whole = train_project(project, config, run="whole", on_event=quiet)
    folder = started_and_crashed(project, config)
    path = folder / "config.json"
    content = bytearray(path.read_bytes())
    content[0] ^= 1
    path.write_bytes({"cut": path.read_bytes()[:500], "flipped": content, "empty": b""}[way])
    told = []
    assert_same(whole, continue_project(project, "run1", on_event=told.append))
    assert "config.json" in [event.where for event in told if isinstance(event, ProblemFound)]
    assert (
        load_config(path) == load_config(whole / "config.json") or load_config(path).run.checkpoint_every_n_steps == 2
    )


def test_a_setting_of_a_run_that_changed_is_named(project, config):
    folder = started_and_crashed(project, config)
    path = folder / "config.json"
    path.write_text(path.read_text().replace('"seed": 42', '"seed": 43'))
    assert load_config(path).run.seed == 43
    told = []
    continue_project(project, "run1", on_event=told.append)
    said = {event.where: event.message for event in told if isinstance(event, ProblemFound)}
    assert said["config.json, run.seed"] == "It was 42 at the checkpoint, and is 43 now."


def test_a_damaged_memory_of_the_beginning_is_named(project, config):
    folder = started_and_crashed(project, config)
    (folder / BEGINNING).write_bytes((folder / BEGINNING).read_bytes()[:90])
    told = []
    continue_project(project, "run1", on_event=told.append)
    assert BEGINNING in [event.where for event in told if isinstance(event, ProblemFound)]


def test_damaged_settings_of_a_project_are_named(project, config, chance):
    """Two hundred times: refused by name, or what was read is a setting that somebody could have written."""
    project.save_config(config)
    for _ in range(200):
        content = damage(chance, project.config_file)
        try:
            read = project.load_config()
            project.save_config(read)
            assert project.load_config() == read
        except ConfigError as error:
            assert "config.json" in str(error)
        project.config_file.write_bytes(content)
    assert project.load_config() == config
