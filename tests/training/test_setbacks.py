"""A run whose memory runs out, or whose loss breaks, goes on with changed settings if it may, or says what to do."""

import math
import os
import subprocess
import sys

import pytest
import torch
from PIL import Image

from lora_nb.config import read_setting
from lora_nb.config_file import change_settings, load_config, make_config, save_config
from lora_nb.errors import BadLossError, TrainingError
from lora_nb.models.base import load_model
from lora_nb.training import loop, setbacks
from lora_nb.training.continuing import rewrite_settings
from lora_nb.training.event_log import read_events
from lora_nb.training.events import ImageSampled, ProblemFound, RunContinued, StepDone
from lora_nb.training.learner import Learner
from lora_nb.training.output import RunOutput
from lora_nb.training.runs import continue_project, train_project
from tests.training.stories import story_of, tensors_of

FULL = "CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of 14.56 GiB."
LARGE = {"run.batch_size": 4, "run.save_precision": "fp32", "optimizer.kind": "adamw"}


class Fault:
    """Raises an error in the forward pass of chosen steps, once for each time that a step is named."""

    def __init__(self, monkeypatch, error, *steps):
        self.left, self.error, self.done = list(steps), error, 0
        real = loop.training_loss

        def fails(model, batch, *more):
            if self.left and self.done + 1 == self.left[0]:
                self.left.pop(0)
                raise self.error
            return real(model, batch, *more)

        monkeypatch.setattr(loop, "training_loss", fails)

    def __call__(self, event):
        if isinstance(event, StepDone | RunContinued):
            self.done = event.step


def problems_of(folder):
    return [event for event in read_events(folder / "events.jsonl") if isinstance(event, ProblemFound)]


def close(one, other, tolerance=1e-4):
    first, second = tensors_of(one), tensors_of(other)
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        torch.testing.assert_close(second[name], tensor, rtol=0, atol=tolerance)


def without_problems(folder):
    return [{**told, "loss": 0, "raw_loss": 0, "grad_norm": 0} for told in story_of(folder)]


@pytest.mark.parametrize("error", [torch.OutOfMemoryError(FULL), MemoryError(), RuntimeError(FULL)])
def test_a_run_that_may_goes_on_from_its_last_step_to_the_same_lora(project, config, monkeypatch, error):
    settings = change_settings(config, LARGE | {"run.on_out_of_memory": "slower"})
    whole = train_project(project, settings, run="whole")
    fault = Fault(monkeypatch, error, 4)
    folder = train_project(project, settings, run="run1", on_event=fault)
    assert fault.left == []
    close(whole, folder)
    assert without_problems(whole) == without_problems(folder), "no step is told twice, and none is missing"
    (problem,) = problems_of(folder)
    assert problem.where == "run.micro_batch_size" and problem.severity == "warning"
    assert "is 2 now; it was 0" in problem.message and "The LoRA stays the same" in problem.fix
    assert load_config(folder / "config.json").run.micro_batch_size == 2, "a continued run knows it, too"


def test_without_leave_it_stops_and_is_continued_from_its_last_checkpoint(project, config, monkeypatch):
    settings = change_settings(config, LARGE | {"run.checkpoint_every_n_steps": 2})
    whole = train_project(project, settings, run="whole")
    with pytest.raises(torch.OutOfMemoryError):
        train_project(project, settings, run="run1", on_event=Fault(monkeypatch, torch.OutOfMemoryError(FULL), 4))
    folder = continue_project(project, "run1")
    assert without_problems(whole) == without_problems(folder)


def test_memory_that_runs_out_within_a_step_goes_back_to_a_checkpoint(project, config, monkeypatch):
    """When the small matrices are half moved, they are not worth keeping."""
    settings = change_settings(config, LARGE | {"run.on_out_of_memory": "slower", "run.checkpoint_every_n_steps": 2})
    whole = train_project(project, settings, run="whole")
    real, count = Learner.step, [0]

    def half_a_step(self):
        count[0] += 1
        if count[0] == 4:
            self.is_whole = False
            with torch.no_grad():
                self.parameters[0].add_(1.0)
            raise torch.OutOfMemoryError(FULL)
        return real(self)

    monkeypatch.setattr(Learner, "step", half_a_step)
    folder = train_project(project, settings, run="run1")
    close(whole, folder)
    assert without_problems(whole) == without_problems(folder)


def test_each_thing_that_can_be_given_up_is_given_up_in_turn(project, config, monkeypatch):
    monkeypatch.setattr(setbacks, "FOR_GPUS", ())  # they work without one, too
    changes = {"run.on_out_of_memory": "coarser", "adapter.train_text_encoder": False, "data.cache_text": "never"}
    settings = change_settings(config, LARGE | changes)
    folder = train_project(
        project, settings, run="run1", on_event=Fault(monkeypatch, torch.OutOfMemoryError(FULL), 1, 2, 3, 3, 4, 5, 6)
    )
    given_up = [problem.where for problem in problems_of(folder)]
    assert given_up == [
        "run.micro_batch_size",
        "run.micro_batch_size",
        "data.cache_text",
        "run.gradient_checkpointing",
        "optimizer.kind",
        "run.quantization",
        "run.quantization",
    ]
    now = load_config(folder / "config.json")
    assert (now.run.micro_batch_size, now.run.quantization, now.optimizer.kind) == (1, "nf4", "adamw8bit")
    assert all(tensor.isfinite().all() for tensor in tensors_of(folder).values())
    steps = [event.step for event in read_events(folder / "events.jsonl") if isinstance(event, StepDone)]
    assert steps == list(range(1, len(steps) + 1))


def test_when_nothing_is_left_to_give_up_it_ends_with_the_error(project, config, monkeypatch):
    settings = change_settings(config, {"run.on_out_of_memory": "slower", "run.batch_size": 2})
    fault = Fault(monkeypatch, torch.OutOfMemoryError(FULL), *[3] * 9)
    with pytest.raises(torch.OutOfMemoryError):
        train_project(project, settings, run="run1", on_event=fault)
    assert len(fault.left) == 9 - 3, "pieces of one picture, then checkpointing, then the end"


def test_pictures_without_memory_for_them_do_not_end_a_run(project, config, monkeypatch):
    def no_memory(*ignored):
        raise torch.OutOfMemoryError(FULL)

    whole = train_project(project, config, run="whole")
    monkeypatch.setattr(RunOutput, "_draw", no_memory)
    changes = {"samples.prompts": ["mochi"], "samples.every_n_epochs": 1}
    folder = train_project(project, change_settings(config, changes), run="run1")
    close(whole, folder, tolerance=0)
    assert {problem.where for problem in problems_of(folder)} == {"samples"}
    assert not [event for event in read_events(folder / "events.jsonl") if isinstance(event, ImageSampled)]


@pytest.mark.skipif(sys.platform != "linux", reason="the limit is Linux's")
def test_a_real_limit_of_memory_is_survived(project, tiny_sd1_folder):
    """Batches of 16 pictures, which take 750 MiB, in a process of its own with room for 8 of them."""
    for path in (project.images / "2_mochi").glob("[1-4].*"):
        path.unlink()
    (project.images / "2_mochi").rename(project.images / "32_mochi")
    Image.effect_noise((192, 192), 60).convert("RGB").save(project.images / "32_mochi" / "0.png")
    run = {"batch_size": 16, "epochs": 1, "save_precision": "fp32", "on_out_of_memory": "slower"}
    settings = make_config(
        {
            "model": {"base": str(tiny_sd1_folder)},
            "data": {"resolution": 192},
            "adapter": {"rank": 4, "alpha": 2, "train_text_encoder": False},
            "optimizer": {"kind": "adamw"},
            "samples": {"every_n_epochs": 0},
            "run": run,
        }
    )
    whole = train_project(project, settings, run="whole")
    project.save_config(settings)
    command = [sys.executable, "-m", "tests.training.limited", str(project.root), "500"]
    at_once = {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": "131072"}  # what is freed is free for all at once
    subprocess.run(command, check=True, env=os.environ | at_once)
    close(whole, project.run_folder("run1"))
    problems = problems_of(project.run_folder("run1"))
    assert problems and problems[0].where == "run.micro_batch_size"


def break_loss_at(monkeypatch, step, times, value=math.nan):
    """The loss of one step is broken, so many times."""
    left, real = [times], loop.add_up_gradients

    def broken(learner, batches, encode_captions, number):
        losses = real(learner, batches, encode_captions, number)
        if number == step and left[0]:
            left[0] -= 1
            return losses + value
        return losses

    monkeypatch.setattr(loop, "add_up_gradients", broken)
    return left


def test_settings_that_change_under_way_do_not_make_a_run_the_last_one(project, config):
    first, last = project.run_folder("first"), project.run_folder("a-last")
    for seconds, folder in enumerate((first, last), 1_700_000_000):
        folder.mkdir(parents=True)
        save_config(config, folder / "config.json")
        os.utime(folder / "config.json", (seconds, seconds))
    rewrite_settings(change_settings(config, {"run.seed": 7}), first)
    assert load_config(first / "config.json").run.seed == 7
    assert project.run_folders() == [first, last] and project.latest_run() == last


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_broken_loss_goes_back_with_half_the_rate(project, config, monkeypatch, value):
    changes = {"run.on_bad_loss": "lower_rate", "run.checkpoint_every_n_steps": 2}
    changes |= {"optimizer.lr_scheduler": "constant", "optimizer.text_encoder_learning_rate": 5e-4}
    settings = change_settings(config, changes)
    left = break_loss_at(monkeypatch, 6, 2, value)
    folder = train_project(project, settings, run="run1")
    assert left == [0]
    rates = [event.learning_rate for event in read_events(folder / "events.jsonl") if isinstance(event, StepDone)]
    assert rates == pytest.approx([1e-3] * 4 + [2.5e-4] * 6), "from the checkpoint at step 4 on"
    problems = problems_of(folder)
    assert len(problems) == 2 and "timestep" in problems[0].message and "5_mochi" not in problems[0].message
    now = load_config(folder / "config.json")
    assert now.optimizer.text_encoder_learning_rate == pytest.approx(1.25e-4)
    assert all(tensor.isfinite().all() for tensor in tensors_of(folder).values())


def test_without_a_checkpoint_it_begins_again_with_half_the_rate(project, config, monkeypatch):
    settings = change_settings(config, {"run.on_bad_loss": "lower_rate"})
    break_loss_at(monkeypatch, 3, 1)
    folder = train_project(project, settings, run="run1")
    rates = ("optimizer.learning_rate", "optimizer.text_encoder_learning_rate")
    half = change_settings(settings, {name: read_setting(config, name) / 2 for name in rates})
    close(train_project(project, half, run="half"), folder, tolerance=0)


def test_a_loss_that_stays_broken_ends_the_run(project, config, monkeypatch):
    left = break_loss_at(monkeypatch, 3, 99)
    with pytest.raises(BadLossError, match="at step 3"):
        train_project(project, change_settings(config, {"run.on_bad_loss": "lower_rate"}), run="run1")
    assert left == [99 - 1 - setbacks.MOST_LOWERED]
    rate = read_setting(load_config(project.run_folder("run1") / "config.json"), "optimizer.learning_rate")
    assert rate == config.optimizer.learning_rate / 2**setbacks.MOST_LOWERED


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_broken_gradient_never_reaches_the_weights(project, config, monkeypatch, value):
    """Its loss is a number, and only its gradient is none."""
    real, weights = loop.add_up_gradients, []

    def broken(learner, batches, encode_captions, number):
        losses = real(learner, batches, encode_captions, number)
        if number == 3:
            learner.parameters[0].grad.view(-1)[0] = value
            weights.append([each.detach().clone() for each in learner.parameters])
            weights.append(learner.parameters)
        return losses

    monkeypatch.setattr(loop, "add_up_gradients", broken)
    with pytest.raises(TrainingError, match=r"length of the gradients became \w+ at step 3. Its pictures: 2_mochi/"):
        train_project(project, config, run="run1")
    before, after = weights
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))


def test_latents_that_are_broken_are_named(project, config, monkeypatch):
    model = load_model(config.model)
    real = model.encode_pictures
    monkeypatch.setattr(model, "encode_pictures", lambda pixels: (real(pixels)[0] * math.nan, real(pixels)[1]))
    with pytest.raises(BadLossError, match=r"What the VAE made of 2_mochi/\d.png.* is broken already: set model.vae"):
        train_project(project, config, run="run1", model=model)
