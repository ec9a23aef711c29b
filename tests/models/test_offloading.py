"""Blocks that wait in main memory: the same numbers, and never more of them on the GPU than one block's."""

import gc
import weakref

import pytest
import torch

from lora_nb.adapters.kinds import add_adapter
from lora_nb.adapters.layers import TRAINED, layers_of
from lora_nb.config import AdapterConfig, ModelConfig
from lora_nb.config_file import make_config
from lora_nb.errors import ConfigError
from lora_nb.models import offloading
from lora_nb.models.base import load_model
from lora_nb.models.offloading import WaitingLinear, bring, offload_blocks
from lora_nb.training.cache import fingerprint_module

BLOCKS = 4  # of the tiny Flux: two double, two single ones


@pytest.fixture
def load(tiny_flux_folder):
    config = ModelConfig(family="flux", base=str(tiny_flux_folder), t5_tokens=32)
    return lambda share=0.0, precision="fp32", bits="none": load_model(config, precision, "cpu", bits, share)


def inputs(device="cpu"):
    generator = torch.Generator().manual_seed(3)
    latents = torch.randn(1, 16, 8, 8, generator=generator)
    hidden, pooled = torch.randn(1, 32, 64, generator=generator), torch.randn(1, 32, generator=generator)
    text = {"encoder_hidden_states": hidden.to(device), "pooled": pooled.to(device)}
    return latents.to(device), torch.tensor([0.5], device=device), text


def waiting(module):
    return [layer for layer in module.modules() if isinstance(layer, WaitingLinear)]


def linears(module):
    return [layer for layer in module.modules() if isinstance(layer, torch.nn.Linear)]


@pytest.fixture
def copies(monkeypatch):
    """The copies of waiting weights that are alive, and the most that ever were at once."""
    alive, most = [], [0]

    def note(weight, device):
        copy = bring(weight, device)
        alive.append(weakref.ref(copy))
        most[0] = max(most[0], count())
        return copy

    def count():
        return sum(each() is not None for each in alive)

    monkeypatch.setattr(offloading, "bring", note)
    return count, most


def test_nothing_is_read_before_it_is_needed(load):
    model = load(1.0)
    assert all(parameter.is_meta for parameter in model.networks.shape("denoiser").parameters())
    assert waiting(model.denoiser)


@pytest.mark.parametrize("share", [0.25, 0.5, 1.0])
def test_as_many_blocks_wait_as_asked_for_and_the_rest_does_not(load, share):
    denoiser = load(share).denoiser
    blocks = [*denoiser.transformer_blocks, *denoiser.single_transformer_blocks]
    here = [block for block in blocks if waiting(block)]
    assert len(here) == share * BLOCKS
    assert all(len(waiting(block)) == len(linears(block)) for block in here)
    assert len(waiting(denoiser)) == sum(len(waiting(block)) for block in here)


@pytest.mark.parametrize("bits", ["none", "nf4"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_waiting_blocks_say_the_same_and_have_the_same_fingerprint(load, precision, bits):
    whole, half = load(0.0, precision, bits), load(0.5, precision, bits)
    with torch.no_grad():
        assert torch.equal(whole.predict(*inputs()), half.predict(*inputs()))
    if bits == "nf4":
        assert all(layer.weight.dtype == torch.uint8 for layer in waiting(half.denoiser)), "4 bits wait, not 16"
        return
    assert fingerprint_module(whole.denoiser) == fingerprint_module(half.denoiser)


@pytest.mark.parametrize("kind, bits", [("lora", "none"), ("lora", "nf4"), ("loha", "none"), ("lokr", "none")])
def test_gradients_are_the_same_and_at_most_one_blocks_weights_are_there(load, copies, kind, bits):
    count, most = copies
    gradients = []
    for share in (0.0, 1.0):
        model = load(share, bits=bits)
        add_adapter(model, AdapterConfig(kind=kind, rank=4, train_text_encoder=False), seed=1)
        model.set_gradient_checkpointing(True)
        model.denoiser.train()
        loss = model.predict(*inputs()).square().mean()
        gc.collect()
        assert count() == 0, "nothing waits on the GPU for the way back"
        loss.backward()
        trained = [each for each in model.denoiser.parameters() if each.requires_grad]
        assert trained and any(each.grad.any() for each in trained)
        gradients.append([each.grad for each in trained])
    assert all(torch.equal(one, other) for one, other in zip(*gradients, strict=True))
    gc.collect()
    largest = max(len(linears(block)) for block in load().denoiser.transformer_blocks)
    assert 0 < most[0] <= largest and count() == 0


def test_without_checkpointing_every_weight_would_be_kept_which_is_why_it_is_refused(load, copies):
    count, _ = copies
    model = load(1.0)
    add_adapter(model, AdapterConfig(rank=4, train_text_encoder=False), seed=1)
    prediction = model.predict(*inputs())
    assert count() > 0.5 * len(waiting(model.denoiser))
    assert prediction.requires_grad
    with pytest.raises(ConfigError, match=r"run\.offload.*gradient checkpointing"):
        make_config({"model": {"family": "flux"}, "run": {"offload": 0.5}})


def test_a_drawing_keeps_no_weights(load, copies):
    count, most = copies
    with torch.no_grad():
        load(1.0).predict(*inputs())
    assert count() == 0 and most[0] == 1


def test_weights_stay_when_the_model_goes_to_another_device(load):
    """PyTorch's "meta" device computes shapes only, but complains like a GPU about what lies on another device."""
    model = load(0.5)
    model.denoiser.to("meta")
    assert {layer.weight.device.type for layer in waiting(model.denoiser)} == {"cpu"}
    others = [layer for layer in linears(model.denoiser) if not isinstance(layer, WaitingLinear)]
    assert {layer.weight.device.type for layer in others} == {"meta"}
    assert {layer.bias.device.type for layer in waiting(model.denoiser) if layer.bias is not None} == {"meta"}
    add_adapter(model, AdapterConfig(rank=4, train_text_encoder=False), seed=1)
    matrices = [matrix for layer in layers_of(model, TRAINED).values() for matrix in layer.lora_A.parameters()]
    assert {matrix.device.type for matrix in matrices} == {"meta"}, "the LoRA is where its layer computes"
    model.set_gradient_checkpointing(True)
    model.denoiser.train()
    prediction = model.predict(*inputs("meta"))
    assert prediction.is_meta
    prediction.square().mean().backward()
    assert all(matrix.grad is not None and matrix.grad.is_meta for matrix in matrices)


@pytest.mark.parametrize("bits", ["none", "nf4"])
def test_a_model_in_memory_can_be_offloaded_later(load, bits):
    model = load(bits=bits)
    with torch.no_grad():
        before = model.predict(*inputs())
        offload_blocks(model, 1.0)
        assert waiting(model.denoiser) and torch.equal(model.predict(*inputs()), before)
        model.networks.sleep("denoiser")
        assert all(parameter.is_meta for parameter in model.networks.shape("denoiser").parameters())
        assert torch.equal(model.predict(*inputs()), before) and waiting(model.denoiser)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"run": {"quantization": "int8"}}, "bitsandbytes keeps"),
        ({"run": {"compile": True}}, "compiled"),
        ({"adapter": {"kind": "dora"}}, "measures the whole weights"),
        ({"model": {"family": "sdxl"}}, "U-Net"),
    ],
)
def test_what_would_free_nothing_is_refused_with_the_reason(changes, told):
    values = {"model": {"family": "flux"}, "run": {"offload": 0.5, "gradient_checkpointing": True}}
    make_config(values)
    merged = {name: values.get(name, {}) | changes.get(name, {}) for name in values.keys() | changes.keys()}
    with pytest.raises(ConfigError, match=told):
        make_config(merged)
