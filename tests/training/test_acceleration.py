"""Precision and several processes: one LoRA, however many train it."""

import os
import shutil
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from lora_nb.adapters.files import read_lora
from lora_nb.config_file import change_settings, make_config
from lora_nb.dataset.held_out import split_dataset
from lora_nb.dataset.images import scan_images
from lora_nb.dataset.steps import plan_steps
from lora_nb.errors import TrainingError
from lora_nb.models.base import load_model
from lora_nb.training import runs
from lora_nb.training.acceleration import MOST_SKIPPED, Engine, Team
from lora_nb.training.batches import Turn, epoch_steps, make_batches
from lora_nb.training.cache import cache_dataset
from lora_nb.training.event_log import read_events
from lora_nb.training.events import StepDone, ValidationDone
from lora_nb.training.requests import ask_run
from lora_nb.training.runs import train_project
from lora_nb.training.watching import run_state

CPU = torch.device("cpu")
LAUNCH = ["-m", "accelerate.commands.launch", "--num_machines=1", "--mixed_precision=no", "--dynamo_backend=no"]


def steps_of(folder):
    return [event for event in read_events(folder / "events.jsonl") if isinstance(event, StepDone)]


def launch(project, kind, command="train", run="many"):
    """Train in two processes as a user would, with `accelerate launch`; returns the run's folder."""
    words = [sys.executable, *LAUNCH, kind, "--num_processes=2", "-m", "lora_nb", command, str(project.root)]
    variables = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run([*words, "--run", run], env=variables, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert done.stdout.count("LoRAs in") == 1
    return project.run_folder(run)


def check_same_lora(one, other):
    first, second = (read_lora(folder / "loras" / "mochi.safetensors").modules for folder in (one, other))
    assert first.keys() == second.keys()
    whole, other = (torch.cat([module.delta().flatten() for module in part.values()]) for part in (first, second))
    assert whole.norm() > 0 and (whole - other).norm() < 0.01 * whole.norm()
    for name, module in first.items():
        torch.testing.assert_close(second[name].delta(), module.delta(), rtol=0, atol=1e-4)


@pytest.mark.processes
@pytest.mark.parametrize("kind", ["--multi_gpu"])  # without a GPU, it uses the processor
def test_two_processes_train_the_lora_that_one_trains(project, config, kind):
    """10 examples in batches of 2, in three buckets: steps of two batches, of which the last has one batch only."""
    config = change_settings(config, {"run.save_precision": "fp32", "samples.prompts": ["mochi"], "samples.steps": 1})
    config = change_settings(config, {"samples.width": 64, "samples.height": 64})
    project.save_config(config)
    alone = change_settings(config, {"run.gradient_accumulation_steps": 2})
    one = train_project(project, alone, run="one", on_event=lambda event: None)
    many = launch(project, kind)
    check_same_lora(one, many)
    assert len(steps_of(many)) == len(steps_of(one)) == plan_steps(scan_images(project.images), config, 2).steps
    for here, there in zip(steps_of(one), steps_of(many), strict=True):
        assert there.loss == pytest.approx(here.loss, abs=1e-4)
        assert there.grad_norm == pytest.approx(here.grad_norm, rel=1e-3)
    assert read_lora(many / "loras" / "mochi.safetensors").metadata["ss_total_batch_size"] == "4"
    shutil.rmtree(many)


@pytest.mark.processes
@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_flux_that_is_cut_up_trains_the_same_lora(project, config, tiny_flux_folder, checkpointing):
    """The same steps, of which some have a batch for one process only; with previews and held-out pictures."""
    Image.new("RGB", (64, 64), "white").save(project.images / "2_mochi" / "5.png")
    config = change_settings(
        make_config({"model": {"family": "flux", "base": str(tiny_flux_folder)}}),
        {f"data.{name}": getattr(config.data, name) for name in ("resolution", "bucket_step", "trigger_words")}
        | {"data.min_bucket_size": 32, "data.max_bucket_size": 128, "data.validation_split": 0.2}
        | {"adapter.rank": 4, "adapter.alpha": 2, "optimizer.kind": "adamw", "optimizer.learning_rate": 1e-3}
        | {"run.epochs": 2, "run.save_precision": "fp32", "run.gradient_checkpointing": checkpointing}
        | {"samples.prompts": ["mochi"], "samples.steps": 2, "samples.width": 64, "samples.height": 64},
    )
    project.save_config(config)
    alone = change_settings(config, {"run.gradient_accumulation_steps": 2})
    one = train_project(project, alone, run="one", on_event=lambda event: None)
    many = launch(project, "--use_fsdp")
    check_same_lora(one, many)
    sizes = [len(groups) for groups in epoch_steps_of(project, config)]
    assert sizes == [2, 2, 1], "one process has to keep pace without a batch of its own"
    for here, there in zip(steps_of(one), steps_of(many), strict=True):
        assert there.loss == pytest.approx(here.loss, abs=1e-4)
        assert there.grad_norm == pytest.approx(here.grad_norm, rel=1e-3)
    first, second = (
        [event.loss for event in read_events(folder / "events.jsonl") if isinstance(event, ValidationDone)]
        for folder in (one, many)
    )
    assert second == pytest.approx(first, abs=1e-4) and len(first) == 3
    first, second = (sorted((folder / "samples").glob("*.png")) for folder in (one, many))
    assert [path.name for path in second] == [path.name for path in first] and len(first) == 3
    for here, there in zip(first, second, strict=True):
        difference = np.asarray(Image.open(here)).astype(int) - np.asarray(Image.open(there)).astype(int)
        assert abs(difference).max() <= 2


@pytest.mark.processes
def test_two_processes_stop_together_and_go_on_to_the_same_lora(project, config, kind="--multi_gpu"):
    """All do what the first one is asked, and all come back to its checkpoint."""
    project.save_config(change_settings(config, {"run.epochs": 4}))
    whole, folder = launch(project, kind, run="whole"), project.run_folder("many")

    def stop_after_two_steps():
        while not any(event.step >= 2 for event in steps_of(folder)):
            time.sleep(0.05)
        ask_run(folder, "stop")

    asking = threading.Thread(target=stop_after_two_steps, daemon=True)
    asking.start()
    launch(project, kind)
    assert run_state(folder).state == "stopped" and len(steps_of(folder)) < len(steps_of(whole))
    launch(project, kind, "continue")
    one, other = (load_file(each / "loras" / "mochi.safetensors") for each in (whole, folder))
    assert one.keys() == other.keys() and all(one[name].equal(other[name]) for name in one)
    assert [event.step for event in steps_of(folder)] == [event.step for event in steps_of(whole)]


def epoch_steps_of(project, config):
    """The batches of the first epoch's steps, for two processes."""
    dataset, _ = split_dataset(scan_images(project.images), config)
    model = load_model(config.model)
    return list(epoch_steps(cache_dataset(model, dataset, config.data, project.cache), config, 1, processes=2))


def test_processes_in_step_get_equally_many_batches(project, config, tiny_sd1):
    """What one gets to keep pace is the first batch again, with the same dropout, for no share of the gradient."""
    config = change_settings(config, {"run.gradient_accumulation_steps": 2})
    images = cache_dataset(tiny_sd1, scan_images(project.images), config.data, project.cache)
    uneven = 0
    for step, groups in enumerate(epoch_steps(images, config, 1, processes=2), start=1):
        first, second = (list(make_batches(images, groups, config, step, Turn(place, 2, True))) for place in range(2))
        assert len(first) == len(second)
        alone = list(make_batches(images, groups, config, step, Turn(1, 2)))
        for echo in second[len(alone) :]:
            uneven += 1
            assert echo.share == 0 and echo.latents.equal(first[0].latents) and echo.turn == first[0].turn == (0, 0)
    assert uneven


def test_processes_share_a_steps_batches_without_overlap(project, config, tiny_sd1):
    config = change_settings(config, {"run.gradient_accumulation_steps": 2})
    images = cache_dataset(tiny_sd1, scan_images(project.images), config.data, project.cache)
    for step, groups in enumerate(epoch_steps(images, config, 1, processes=2), start=1):
        alone = list(make_batches(images, groups, config, step))
        shared = [list(make_batches(images, groups, config, step, Turn(place, 2))) for place in range(2)]
        names = [batch.names for part in shared for batch in part]
        assert sorted(names) == sorted(batch.names for batch in alone)
        assert sum(batch.share for part in shared for batch in part) == pytest.approx(1)
        for place in range(2):
            for mine, its in zip(shared[place], alone[place::2], strict=True):
                assert mine.latents.equal(its.latents) and mine.captions == its.captions


def test_a_step_counts_every_example_alike(project, config, tiny_sd1):
    """Batches of 4 and of 2 in one step: the mean over examples, not over batches."""
    config = change_settings(config, {"run.batch_size": 4, "run.gradient_accumulation_steps": 10})
    images = cache_dataset(tiny_sd1, scan_images(project.images), config.data, project.cache)
    (groups,) = epoch_steps(images, config, 1)
    batches = list(make_batches(images, groups, config, 1))
    assert {len(batch.names) for batch in batches} == {2, 4}
    assert all(batch.share == len(batch.names) / 10 for batch in batches)


def test_fp16_keeps_gradients_that_would_vanish():
    """A gradient of 1e-8 is zero in fp16; scaled, it moves the weight."""
    weight = torch.nn.Parameter(torch.zeros(1))
    engine, optimizer = Engine("fp16", CPU, Team()), torch.optim.SGD([weight], lr=1.0)
    engine.backward(0.1 * (weight.half() * torch.tensor([1e-7]).half()).float().sum())
    _, taken = engine.step(optimizer, [weight], 0)
    assert taken and weight.item() == pytest.approx(-1e-8, rel=0.25)


def test_an_overflowing_step_is_left_out_and_the_next_one_is_scaled_less():
    weight = torch.nn.Parameter(torch.zeros(1))
    engine, optimizer = Engine("fp16", CPU, Team()), torch.optim.SGD([weight], lr=1.0)
    engine.backward(weight.sum() * torch.inf)
    assert engine.step(optimizer, [weight], 1)[1] is False and weight.item() == 0
    optimizer.zero_grad()
    engine.backward(weight.sum())
    assert engine.step(optimizer, [weight], 0)[1] is True and weight.item() == -1


def test_a_run_that_only_overflows_is_ended():
    weight = torch.nn.Parameter(torch.zeros(1))
    engine, optimizer = Engine("fp16", CPU, Team()), torch.optim.SGD([weight], lr=1.0)
    with pytest.raises(TrainingError, match="nothing is learned"):
        for _ in range(MOST_SKIPPED):
            engine.backward(weight.sum() * torch.inf)
            engine.step(optimizer, [weight], 1)
            optimizer.zero_grad()


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_half_precision_trains_nearly_the_same_lora(project, config, monkeypatch, precision):
    """fp16 needs a GPU by rule, for its speed; the arithmetic, scaling included, is the same here."""
    monkeypatch.setattr(runs, "check_precision", lambda config, machine: [])
    config = change_settings(config, {"run.save_precision": "fp32", "run.epochs": 4})
    full = train_project(project, config, run="full", on_event=lambda event: None)
    half = change_settings(config, {"run.precision": precision})
    half = train_project(project, half, run="half", on_event=lambda event: None)
    for here, there in zip(steps_of(full), steps_of(half), strict=True):
        assert there.raw_loss == pytest.approx(here.raw_loss, rel=0.05)
    first, second = (read_lora(folder / "loras" / "mochi.safetensors").modules for folder in (full, half))
    moved = torch.cat([module.delta().flatten() for module in first.values()])
    too = torch.cat([module.delta().flatten() for module in second.values()])
    assert torch.nn.functional.cosine_similarity(moved, too, dim=0) > 0.9
