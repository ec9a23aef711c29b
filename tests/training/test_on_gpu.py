"""On a GPU everything comes out as on a processor. These tests need one, and are left out where there is none."""

import pytest
import torch
from PIL import Image

from lora_nb.adapters.files import read_lora
from lora_nb.adapters.modules import tensors_of
from lora_nb.config_file import change_settings, load_config
from lora_nb.models.base import load_model
from lora_nb.training.events import CheckpointSaved, RunStarted, StepDone
from lora_nb.training.requests import ask_run
from lora_nb.training.runs import continue_project, train_project

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here"),
]
CALM = {"samples.every_n_epochs": 0, "run.epochs": 1, "run.save_precision": "fp32"}
FLUX = {"model.t5_tokens": 32, "adapter.train_text_encoder": False, "noise.offset": 0.0}


def settings_for(request, config, family, **changes):
    folder = request.getfixturevalue(f"tiny_{family}_folder")
    of_family = FLUX if family == "flux" else {}
    return change_settings(config, {"model.family": family, "model.base": str(folder)} | of_family | CALM | changes)


def train(project, settings, run, model=None):
    """=> what the LoRA adds to each layer, the losses, and what the start said"""
    events = []
    folder = train_project(project, settings, run=run, model=model, on_event=events.append)
    modules = read_lora(folder / "loras" / "mochi.safetensors").modules
    (start,) = [event for event in events if isinstance(event, RunStarted)]
    losses = [event.raw_loss for event in events if isinstance(event, StepDone)]
    return {name: module.delta() for name, module in modules.items()}, losses, start


def difference(one, other):
    """How far two LoRAs are apart, as a share of what the first one adds."""
    assert one.keys() == other.keys()
    first, second = (torch.cat([delta.flatten() for delta in part.values()]) for part in (one, other))
    assert first.norm() > 0 and second.isfinite().all()
    return float((first - second).norm() / first.norm())


@pytest.fixture
def exact(monkeypatch):
    """Full float32 in convolutions, too."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl", "flux"])
def test_the_lora_is_that_of_a_processor(request, project, config, exact, family):
    settings = settings_for(request, config, family)
    here, losses, start = train(project, settings, "gpu")
    assert start.device.startswith("cuda")
    there, other_losses, start = train(project, settings, "cpu", load_model(settings.model, "fp32", "cpu"))
    assert start.device == "cpu"
    assert losses == pytest.approx(other_losses, rel=1e-3)
    assert difference(there, here) < 0.05


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl", "flux"])
def test_half_precision_learns_nearly_the_same(request, project, config, family, precision):
    whole = train(project, settings_for(request, config, family), "whole")
    half = train(project, settings_for(request, config, family, **{"run.precision": precision}), "half")
    assert half[1] == pytest.approx(whole[1], rel=0.05)
    assert difference(whole[0], half[0]) < 0.5


@pytest.mark.parametrize("optimizer", ["adamw8bit", "paged_adamw8bit", "lion8bit", "prodigy", "adafactor"])
def test_every_optimizer_works_there(request, project, config, optimizer):
    names = ("optimizer.learning_rate", "optimizer.text_encoder_learning_rate")  # which Prodigy wants to be alike
    rate = dict.fromkeys(names, 1.0) if optimizer == "prodigy" else {}
    settings = settings_for(request, config, "sd1", **{"optimizer.kind": optimizer, "run.precision": "fp16"}, **rate)
    deltas, losses, _ = train(project, settings, "run1")
    assert difference(deltas, deltas) == 0 and all(0 < loss < 10 for loss in losses)


@pytest.mark.parametrize("kind", ["int8", "nf4"])
@pytest.mark.parametrize("family", ["sd1", "sdxl", "flux"])
def test_a_base_model_in_fewer_bits_learns_nearly_the_same(request, project, config, family, kind):
    changes = {"run.precision": "bf16", "adapter.train_text_encoder": False}
    whole = train(project, settings_for(request, config, family, **changes), "whole")
    fewer = train(project, settings_for(request, config, family, **changes, **{"run.quantization": kind}), "fewer")
    assert fewer[1] == pytest.approx(whole[1], rel=0.2)


@pytest.mark.parametrize("bits", ["none", "nf4"])
def test_blocks_that_wait_in_main_memory_change_nothing(request, project, config, bits):
    changes = {"run.gradient_checkpointing": True, "run.precision": "bf16", "run.quantization": bits}
    stay = train(project, settings_for(request, config, "flux", **changes), "stay")
    wait = train(project, settings_for(request, config, "flux", **changes, **{"run.offload": 0.5}), "wait")
    assert difference(stay[0], wait[0]) < 0.05  # the kernels add up in any order


@pytest.mark.parametrize("family", ["sd1", "sdxl", "flux"])
def test_a_compiled_model_learns_nearly_the_same(request, project, config, exact, family):
    plain = train(project, settings_for(request, config, family), "plain")
    compiled = train(project, settings_for(request, config, family, **{"run.compile": True}), "compiled")
    assert difference(plain[0], compiled[0]) < 0.05


def test_channels_last_learns_nearly_the_same(request, project, config, exact):
    plain = train(project, settings_for(request, config, "sd1"), "plain")
    last = train(project, settings_for(request, config, "sd1", **{"run.channels_last": True}), "last")
    assert difference(plain[0], last[0]) < 0.05


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_a_stopped_run_goes_on_to_the_same_lora(request, project, config, precision):
    changes = {"run.precision": precision, "optimizer.kind": "adamw8bit", "run.epochs": 2}
    settings = settings_for(request, config, "sd1", **changes)
    whole, _, _ = train(project, settings, "whole")

    def stop_early(event):
        if isinstance(event, StepDone) and event.step == 3:
            ask_run(project.run_folder("parts"), "stop")

    events = []
    train_project(project, settings, run="parts", on_event=lambda event: (events.append(event), stop_early(event)))
    assert any(isinstance(event, CheckpointSaved) for event in events)
    folder = continue_project(project, "parts")
    modules = read_lora(folder / "loras" / "mochi.safetensors").modules
    assert difference(whole, {name: module.delta() for name, module in modules.items()}) < 1e-3
    file = [tensors_of(module) for module in modules.values()]
    assert all(values.isfinite().all() for tensors in file for values in tensors.values())


def test_pictures_are_drawn_on_it(request, project, config):
    changes = {"samples.every_n_epochs": 1, "samples.prompts": ["mochi"], "samples.steps": 2}
    changes |= {"samples.width": 64, "samples.height": 64, "run.precision": "fp16"}
    folder = train_project(project, settings_for(request, config, "sd1", **changes), run="run1")
    assert len(list((folder / "samples").glob("*.png"))) == 2


def test_a_gpu_that_is_full_is_survived(request, project, config):
    """Batches of 16 large pictures, on a GPU with room for about half of them."""
    folder = project.images / "2_mochi"
    for path in folder.glob("[1-4].*"):
        path.unlink()
    folder.rename(project.images / "32_mochi")
    Image.effect_noise((256, 256), 60).convert("RGB").save(project.images / "32_mochi" / "0.png")
    changes = {"data.resolution": 256, "data.max_bucket_size": 256, "run.batch_size": 16, "run.precision": "bf16"}
    settings = settings_for(request, config, "sd1", **changes)
    peaks = []
    for pieces in (1, 0):
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        whole, _, _ = train(project, change_settings(settings, {"run.micro_batch_size": pieces}), f"run{len(peaks)}")
        peaks.append(torch.cuda.max_memory_reserved())
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(sum(peaks) / 2 / total)
    try:
        deltas, _, _ = train(project, change_settings(settings, {"run.on_out_of_memory": "slower"}), "run2")
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert load_config(project.run_folder("run2") / "config.json").run.micro_batch_size in (2, 4, 8)
    assert difference(whole, deltas) < 0.05
