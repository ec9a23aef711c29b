"""Training: it learns, it repeats itself exactly, and it changes nothing but the LoRA."""

import pytest
import torch

from lora_nb.adapters.files import read_lora
from lora_nb.config_file import change_settings
from lora_nb.errors import ConfigError, DatasetError, TrainingError
from lora_nb.models.base import load_model
from lora_nb.training.event_log import read_events
from lora_nb.training.events import ImageSampled, LoraSaved, Preparing, RunFinished, RunStarted, StepDone
from lora_nb.training.runs import train_project


def train(project, config, run="run1", **changes):
    events = []
    folder = train_project(project, change_settings(config, changes), run=run, on_event=events.append)
    return folder, events


def last_lora(folder):
    return read_lora(folder / "loras" / "mochi.safetensors")


def tensors(folder):
    return {name: (m.down, m.up, m.alpha) for name, m in last_lora(folder).modules.items()}


def same(one, other):
    return one.keys() == other.keys() and all(
        a[0].equal(b[0]) and a[1].equal(b[1]) and a[2] == b[2]
        for a, b in zip(one.values(), other.values(), strict=True)
    )


def test_the_loss_falls(project, config):
    _, events = train(project, config, **{"run.epochs": 30, "optimizer.learning_rate": 5e-3, "run.batch_size": 4})
    losses = [event.raw_loss for event in events if isinstance(event, StepDone)]
    assert sum(losses[-20:]) < 0.9 * sum(losses[:20])


def test_a_run_leaves_a_lora_an_epoch_and_its_events(project, config):
    folder, events = train(project, config)
    assert sorted(path.name for path in (folder / "loras").iterdir()) == [
        "mochi-000001.safetensors",
        "mochi.safetensors",
    ]
    written = list(read_events(folder / "events.jsonl"))
    assert [event for event in written if not isinstance(event, Preparing)] == events
    started, finished = next(event for event in events if isinstance(event, RunStarted)), events[-1]
    steps = [event for event in events if isinstance(event, StepDone)]
    assert isinstance(started, RunStarted) and started.steps == len(steps) == 10
    assert [event.step for event in steps] == list(range(1, 11))
    assert isinstance(finished, RunFinished) and finished.outcome == "finished"


def test_the_file_says_what_was_done(project, config):
    metadata = last_lora(train(project, config)[0]).metadata
    assert metadata["ss_steps"] == "10" and metadata["ss_epoch"] == "2" and metadata["ss_num_epochs"] == "2"
    assert metadata["ss_network_dim"] == "4" and metadata["ss_network_alpha"] == "2.0"
    assert metadata["ss_optimizer"].startswith("torch.optim.adamw.AdamW")


def test_the_same_seed_gives_the_same_lora(project, config):
    first = tensors(train(project, config, "one")[0])
    assert same(first, tensors(train(project, config, "two")[0]))
    assert not same(first, tensors(train(project, config, "three", **{"run.seed": 7})[0]))


def test_previews_do_not_change_the_lora(project, config):
    plain = tensors(train(project, config, "plain")[0])
    changes = {"samples.prompts": ["mochi, forest"], "samples.steps": 2, "samples.width": 64, "samples.height": 64}
    folder, events = train(project, config, "previews", **changes)
    assert same(plain, tensors(folder))
    drawn = [event for event in events if isinstance(event, ImageSampled)]
    assert [event.epoch for event in drawn] == [0, 1, 2] and len(list((folder / "samples").iterdir())) == 3


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_warm_up_and_schedule_reach_the_steps(project, config, schedule, kind="adamw8bit"):
    changes = {"optimizer.kind": kind, "optimizer.lr_scheduler": schedule, "optimizer.warmup_ratio": 0.25}
    _, events = train(project, config, **changes)
    rates = [event.learning_rate for event in events if isinstance(event, StepDone)]
    assert rates[0] == 0 and max(rates) == pytest.approx(1e-3, rel=0.05)
    assert rates[-1] == pytest.approx(1e-3) if schedule == "constant" else rates[-1] < 3e-4


def test_accumulating_gradients_equals_a_larger_batch(project, config):
    """One bucket, so that both see the same pictures: 10 examples as 1 batch of 10, or as 5 batches of 2."""
    shared = {"data.enable_buckets": False, "run.epochs": 1, "optimizer.kind": "adamw"}
    large = tensors(train(project, config, "large", **shared, **{"run.batch_size": 10})[0])
    small = train(project, config, "small", **shared, **{"run.batch_size": 2, "run.gradient_accumulation_steps": 5})
    assert sum(isinstance(event, StepDone) for event in small[1]) == 1
    # the order inside an epoch is drawn for batches, so only the size of what was learned is compared
    moved = [sum(up.norm().item() for _, up, _ in part.values()) for part in (large, tensors(small[0]))]
    assert moved[0] == pytest.approx(moved[1], rel=0.2)


@pytest.mark.parametrize("changes", [{}, {"run.gradient_accumulation_steps": 2, "noise.multires_iterations": 3}])
def test_pieces_of_a_batch_give_the_same_lora(project, config, changes):
    """Batches of 4, as far as the buckets fill them, at once or in pieces of 3."""
    changes = changes | {"run.batch_size": 4, "run.save_precision": "fp32"}
    whole, events = train(project, config, "whole", **changes)
    pieces, others = train(project, config, "pieces", **changes, **{"run.micro_batch_size": 3})
    for name, (down, up, _) in tensors(whole).items():
        torch.testing.assert_close(tensors(pieces)[name][0], down, rtol=0, atol=1e-4)
        torch.testing.assert_close(tensors(pieces)[name][1], up, rtol=0, atol=1e-4)
    losses = [[event.loss for event in told if isinstance(event, StepDone)] for told in (events, others)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


@pytest.mark.parametrize("text_encoder", [True, False])
def test_gradient_checkpointing_gives_the_same_lora(project, config, text_encoder):
    changes = {"adapter.train_text_encoder": text_encoder, "run.epochs": 1, "run.save_precision": "fp32"}
    plain = tensors(train(project, config, "plain", **changes)[0])
    saved = tensors(train(project, config, "saved", **changes, **{"run.gradient_checkpointing": True})[0])
    for name, (down, up, _) in plain.items():
        torch.testing.assert_close(saved[name][0], down)
        torch.testing.assert_close(saved[name][1], up)


def test_only_the_lora_is_trained_and_the_model_comes_back_as_it_was(project, config):
    model = load_model(config.model)
    before = {name: value.clone() for name, value in model.denoiser.state_dict().items()}
    train_project(project, config, run="run1", model=model, on_event=lambda event: None)
    after = model.denoiser.state_dict()
    assert before.keys() == after.keys() and all(before[name].equal(after[name]) for name in before)


def test_a_frozen_text_encoder_gets_no_matrices(project, config):
    names = last_lora(train(project, config, **{"adapter.train_text_encoder": False})[0]).modules
    assert names and all(name.startswith("lora_unet_") for name in names)


def test_bf16_trains_with_fp32_matrices(project, config):
    _, events = train(project, config, **{"run.precision": "bf16", "run.epochs": 1})
    assert all(event.raw_loss > 0 for event in events if isinstance(event, StepDone))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_fp16_without_a_gpu_is_refused_with_the_way_out(project, config):
    with pytest.raises(ConfigError, match=r"fp16.*needs a GPU.*fp32"):
        train(project, config, **{"run.precision": "fp16"})
    assert not project.runs.exists()


def test_interrupting_saves_what_was_learned(project, config):
    def stop_at_step_7(event):
        if isinstance(event, StepDone) and event.step == 7:
            raise KeyboardInterrupt

    folder = train_project(project, config, run="run1", on_event=stop_at_step_7)
    events = list(read_events(folder / "events.jsonl"))
    assert events[-1].outcome == "stopped"
    saved = [event for event in events if isinstance(event, LoraSaved)]
    assert saved[-1].step == 7
    assert (folder / "loras" / "mochi.safetensors").exists()


def test_a_broken_loss_stops_before_it_spoils_the_weights(project, config, monkeypatch):
    monkeypatch.setitem(
        __import__("lora_nb.training.losses", fromlist=["LOSSES"]).LOSSES,
        "l2",
        lambda p, t, threshold: p * torch.nan,
    )
    with pytest.raises(TrainingError, match=r"nan at step 1. Its pictures: 2_mochi/\d.png \(timestep \d+\)"):
        train(project, config)


def test_a_project_without_pictures_is_refused_before_anything_is_written(project, config):
    for path in (project.images / "2_mochi").iterdir():
        path.unlink()
    with pytest.raises(DatasetError):
        train(project, config)
    assert not project.runs.exists()


def test_a_run_is_never_overwritten(project, config):
    train(project, config)
    with pytest.raises(ConfigError, match="holds a run already"):
        train(project, config)


def test_pictures_without_captions_learn_the_trigger_words(project, config):
    for path in (project.images / "2_mochi").glob("*.txt"):
        path.unlink()
    _, events = train(project, config, **{"run.epochs": 1})
    assert isinstance(events[-1], RunFinished)


def test_only_what_the_mask_shows_and_the_weight_lets_count_moves_the_lora(project, config, tiny_sd1):
    from dataclasses import replace

    from lora_nb.dataset.images import scan_images
    from lora_nb.training.batches import make_batches
    from lora_nb.training.cache import cache_dataset
    from lora_nb.training.conditioning import CaptionEncoder
    from lora_nb.training.loop import training_loss
    from lora_nb.training.views import View

    images = cache_dataset(tiny_sd1, scan_images(project.images), config.data, project.cache)
    mask = torch.zeros(2, 1, 16, 16)
    mask[:, :, :4] = 1

    def losses(**changes):
        batch = next(make_batches(images, [(View(0, 1, 0), View(1, 1, 0))], config, step=1))
        encode = CaptionEncoder(tiny_sd1, config)
        return [float(loss) for loss in training_loss(tiny_sd1, replace(batch, **changes), config, encode)]

    plain, halved = losses(), losses(weights=torch.tensor([0.5, 0.5]))
    assert halved[0] == pytest.approx(plain[0] / 2) and halved[1] == plain[1], "the raw loss has no weights"
    top, rest, all_of_it = losses(masks=mask), losses(masks=1 - mask), losses(masks=torch.ones(2, 1, 16, 16))
    assert all_of_it[0] == pytest.approx(plain[0]) == pytest.approx(top[0] / 4 + rest[0] * 3 / 4)
    assert top[0] != pytest.approx(rest[0], rel=1e-3)


KNOBS = {
    "noise.offset_random": True,
    "noise.multires_iterations": 4,
    "noise.input_perturbation": 0.1,
    "noise.min_timestep": 500,
    "noise.max_timestep": 300,
    "loss.kind": "l1",
    "loss.weighting": "min_snr",
    "loss.normalize_weighting": True,
    "loss.v_pred_like": 0.5,
}


def test_every_knob_of_noise_and_loss_changes_the_loss(project, config):
    short = {"run.epochs": 1, "adapter.train_text_encoder": False}
    first = {}
    for name, value in {"none": None, **KNOBS}.items():
        changes = {} if name == "none" else {name: value}
        _, events = train(project, config, name, **short, **changes)
        first[name] = next(event.loss for event in events if isinstance(event, StepDone))
    assert len(set(first.values())) == len(first)


def test_raw_loss_is_the_mean_squared_error_whatever_is_minimised(project, config):
    short = {"run.epochs": 1, "adapter.train_text_encoder": False}
    raw = []
    for kind in ("l2", "huber"):
        _, events = train(project, config, kind, **short, **{"loss.kind": kind})
        raw.append(next(event.raw_loss for event in events if isinstance(event, StepDone)))
    assert raw[0] == raw[1]


def test_the_file_says_which_noise_and_loss_were_used(project, config):
    changes = KNOBS | {"loss.kind": "huber", "loss.huber_c": 0.2, "noise.max_timestep": 900, "run.epochs": 1}
    metadata = last_lora(train(project, config, **changes)[0]).metadata
    used = {"ss_loss_type": "huber", "ss_huber_schedule": "snr", "ss_huber_c": "0.2", "ss_huber_scale": "1.0"}
    used |= {"ss_multires_noise_iterations": "4", "ss_multires_noise_discount": "0.3", "ss_ip_noise_gamma": "0.1"}
    used |= {"ss_noise_offset_random_strength": "True", "ss_min_snr_gamma": "5.0", "ss_debiased_estimation": "False"}
    assert used.items() <= metadata.items()


def test_what_this_model_cannot_use_is_refused_before_a_step(project, config):
    with pytest.raises(ConfigError, match=r"loss\.v_like_noise: True would do nothing: this model predicts epsilon"):
        train(project, config, **{"loss.v_like_noise": True})
    assert not project.runs.exists()


OPTIMIZERS = {
    "paged_adamw8bit": {},
    "lion": {},
    "lion8bit": {},
    "adafactor": {},
    "prodigy": {
        "optimizer.learning_rate": 1,
        "optimizer.text_encoder_learning_rate": 1,
        "optimizer.arguments": {"d0": 1e-3},
    },
    "schedule_free_adamw": {"optimizer.lr_scheduler": "constant", "optimizer.warmup_ratio": 0.2},
    "came": {},
    "custom": {"optimizer.custom_class": "torch.optim.RAdam", "optimizer.arguments": {"betas": [0.8, 0.9]}},
}


@pytest.mark.filterwarnings("ignore:Paged optimizers are not supported on CPU")
@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_every_optimizer_trains(project, config, kind):
    changes = {"optimizer.kind": kind, "run.epochs": 1, **OPTIMIZERS[kind]}
    folder, events = train(project, config, **changes)
    assert sum(up.norm().item() for _, up, _ in tensors(folder).values()) > 1e-3
    steps = [event for event in events if isinstance(event, StepDone)]
    assert steps[-1].learning_rates.keys() == {"lora_unet", "lora_te"}
    assert "weight_decay=0.01" in last_lora(folder).metadata["ss_optimizer"]


@pytest.mark.parametrize(
    "changes",
    [
        {"optimizer.ema_decay": 0.9},
        {"optimizer.kind": "schedule_free_adamw", "optimizer.lr_scheduler": "constant"},
    ],
)
def test_saving_and_drawing_averages_does_not_change_the_training(project, config, changes):
    shared = changes | {"run.save_precision": "fp32", "run.epochs": 3}
    often = train(project, config, "often", **shared)
    drawing = {"samples.prompts": ["mochi"], "samples.steps": 2, "samples.width": 64, "samples.height": 64}
    seldom = train(project, config, "seldom", **shared, **{"run.save_every_n_epochs": 3}, **drawing)
    assert same(tensors(often[0]), tensors(seldom[0]))
    losses = [[event.loss for event in events if isinstance(event, StepDone)] for _, events in (often, seldom)]
    assert losses[0] == losses[1]


def test_the_average_is_saved_and_training_goes_on_without_it(project, config):
    plain, averaged = (train(project, config, f"ema{decay}", **{"optimizer.ema_decay": decay}) for decay in (0, 0.9))
    assert not same(tensors(plain[0]), tensors(averaged[0]))
    losses = [[event.loss for event in events if isinstance(event, StepDone)] for _, events in (plain, averaged)]
    assert losses[0] == losses[1]


def test_an_unknown_argument_is_refused_with_the_known_ones(project, config):
    with pytest.raises(ConfigError, match=r"There is no 'beta'\. Did you mean 'betas'\? It takes: .*eps"):
        train(project, config, **{"optimizer.arguments": {"beta": 1}})
    assert not project.runs.exists()
