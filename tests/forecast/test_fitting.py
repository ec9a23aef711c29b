"""What to change if a training does not fit: the cheapest, and no more than is needed."""

import pytest

from lora_nb.config_file import change_settings, make_config
from lora_nb.dataset.buckets import Bucket
from lora_nb.dataset.steps import BucketCount
from lora_nb.forecast import fitting
from lora_nb.forecast.fitting import LADDER, largest_batch, make_fit, shape_after
from lora_nb.forecast.memory import forecast_memory
from lora_nb.forecast.stages import BatchShape

SHAPE = BatchShape(64, 64, 4)


@pytest.fixture
def config(tiny_sd1_folder):
    settings = {"model": {"base": str(tiny_sd1_folder)}, "data": {"resolution": 64}, "adapter": {"rank": 4}}
    return make_config(settings | {"run": {"batch_size": 4}, "samples": {"every_n_epochs": 0}})


def test_what_fits_is_left_as_it_is(config):
    assert make_fit(config, SHAPE, "cuda", 2**40).changes == {}


def test_nothing_makes_it_fit_into_no_memory(config, monkeypatch):
    monkeypatch.setattr(fitting, "LADDER", LADDER[2:5])
    assert make_fit(config, SHAPE, "cuda", 1) is None


def test_only_what_is_needed_is_changed(config):
    with_checkpoints = change_settings(config, {"run.gradient_checkpointing": True, "run.precision": "fp16"})
    capacity = forecast_memory(with_checkpoints, SHAPE, "cuda").peak
    fit = make_fit(config, SHAPE, "cuda", capacity)
    assert fit.forecast.peak <= capacity and 0 < len(fit.changes) <= 2
    assert not any(name.startswith("run.batch") for name in fit.changes)
    for name in fit.changes:
        fewer = {other: value for other, value in fit.changes.items() if other != name}
        changed = change_settings(config, fewer)
        assert forecast_memory(changed, shape_after(SHAPE, config, changed), "cuda").peak > capacity


def test_a_split_batch_stays_as_large_as_it_was(config, monkeypatch):
    monkeypatch.setattr(fitting, "LADDER", (fitting.checkpoint, fitting.split_batches))
    single = change_settings(config, {"run.batch_size": 1, "run.gradient_accumulation_steps": 4})
    capacity = forecast_memory(single, BatchShape(64, 64, 1), "cuda").peak
    changes = make_fit(config, SHAPE, "cuda", capacity).changes
    assert changes == {"run.micro_batch_size": 1}


def test_every_rung_can_be_taken_and_only_once(config):
    full = change_settings(config, {"data.cache_text": "never", "optimizer.kind": "adamw", "samples.every_n_epochs": 1})
    full = change_settings(full, {"data.resolution": 512})
    for rung in (rung for rung in dict.fromkeys(LADDER) if rung is not fitting.move_blocks):  # which is for Flux
        changes = rung(full)
        full = change_settings(full, changes)
        assert changes, rung.__name__
    assert (full.run.batch_size, full.run.micro_batch_size) == (4, 1), "the batch stays as large"


def test_smaller_pictures_keep_their_shape_and_the_buckets_step(config):
    smaller = change_settings(config, {"data.resolution": 384})
    before = change_settings(config, {"data.resolution": 512})
    assert shape_after(BatchShape(768, 320, 4), before, smaller) == BatchShape(576, 192, 4)


def test_the_largest_batch_is_that_of_most_pixels(config):
    class Plan:
        buckets = (BucketCount(Bucket(128, 64), 1, 1, 1), BucketCount(Bucket(64, 64), 3, 9, 3))

    assert largest_batch(Plan(), config) == BatchShape(64, 64, 4)


def test_flux_is_halved_in_the_precision_that_it_bears_and_its_blocks_can_wait():
    config = make_config({"model": {"family": "flux", "base": "black-forest-labs/FLUX.1-dev"}})
    assert fitting.halve_precision(config) == {"run.precision": "bf16"}
    assert fitting.move_blocks(config) == {"run.offload": 0.5}


def test_what_an_adapter_refuses_is_left_out():
    config = make_config({"adapter": {"kind": "loha"}})
    assert fitting._try(config, {"run.quantization": "int8"}, BatchShape(512, 512, 1), "cuda", 1) is None
