"""Ways to run a model: each gives the same LoRA, and leaves the model as it was."""

import pytest
import torch
from torch import nn
from torch._dynamo.utils import counters

from lora_nb.adapters.files import read_lora
from lora_nb.config_file import change_settings, make_config
from lora_nb.errors import ConfigError
from lora_nb.models.base import load_model
from lora_nb.training import speed
from lora_nb.training.events import StepDone
from lora_nb.training.runs import train_project

SHARED = {"run.save_precision": "fp32", "run.epochs": 1}


def train(project, config, run, model=None, look=lambda event: None, **changes):
    """Train, and return what each layer of the LoRA file adds."""
    config = change_settings(config, SHARED | changes)
    folder = train_project(project, config, run=run, model=model, on_event=look)
    return {name: module.delta() for name, module in read_lora(folder / "loras" / "mochi.safetensors").modules.items()}


def check_same(one, other):
    assert one.keys() == other.keys()
    for name, delta in one.items():
        torch.testing.assert_close(other[name], delta, rtol=0, atol=1e-4)
    whole, rest = (torch.cat([delta.flatten() for delta in part.values()]) for part in (one, other))
    assert whole.norm() > 0 and (whole - rest).norm() < 0.02 * whole.norm()


@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_compiled_model_trains_the_same_lora_under_the_same_names(project, config, monkeypatch, checkpointing):
    """Three shapes of pictures. The graphs are taken and differentiated as ever; only the last stage, which makes
    machine code of them and takes a minute, is left out."""
    monkeypatch.setattr(speed, "BACKEND", "aot_eager")
    torch._dynamo.reset()
    counters.clear()
    changes = {"run.gradient_checkpointing": checkpointing}
    plain = train(project, config, "plain", **changes)
    assert not counters["stats"]
    model = load_model(config.model)
    compiled = train(project, config, "compiled", model, **changes, **{"run.compile": True})
    check_same(plain, compiled)
    assert counters["stats"]["unique_graphs"] >= 1
    assert not counters["graph_break"], "a block is one graph, LoRA layers included"
    assert all(module._compiled_call_impl is None for module in model.denoiser.modules())
    assert not any("_orig_mod" in name for name, _ in model.denoiser.named_modules())


def test_channels_last_trains_the_same_lora(project, config):
    model = load_model(config.model)
    orders = []

    def look(event):
        if isinstance(event, StepDone):
            orders.append(model.denoiser.conv_in.weight.is_contiguous(memory_format=torch.channels_last))

    plain = train(project, config, "plain")
    check_same(plain, train(project, config, "last", model, look, **{"run.channels_last": True}))
    assert orders and all(orders)
    layers = [module for module in model.denoiser.modules() if isinstance(module, nn.Conv2d)]
    assert all(layer.weight.is_contiguous() for layer in layers)


def test_checkpointing_forgets_what_a_trained_text_encoder_computed(project, config):
    """Its layers then run twice a step: once forward, and once more for the gradients."""
    calls = {}
    for on in (False, True):
        model = load_model(config.model)
        (encoder,) = model.text_encoders.values()
        layers = [module for module in encoder.modules() if type(module).__name__ == "CLIPMLP"]
        counts = []
        for layer in layers:
            layer.register_forward_pre_hook(lambda *ignored, counts=counts: counts.append(1))
        train(project, config, f"run{on}", model, **{"run.gradient_checkpointing": on, "samples.every_n_epochs": 0})
        calls[on] = len(counts)
        assert not any(module.training for module in encoder.modules())
    assert calls[True] == 2 * calls[False] > 0


def test_compiling_a_model_in_fewer_bits_is_refused():
    config = make_config({"run": {"compile": True, "quantization": "nf4"}})
    (problem,) = speed.check_speed(config)
    assert "nf4" in problem.message and ConfigError("", [problem])
