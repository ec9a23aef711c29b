"""Our way of adding a LoRA's product against peft's own, on one layer."""

import pytest
import torch
from peft import LoraConfig, inject_adapter_in_model
from torch import nn

from lora_nb.adapters.adding import AddNarrow

LAYERS = {
    "linear": (lambda: nn.Linear(24, 40), (2, 7, 24)),
    "1x1 convolution": (lambda: nn.Conv2d(24, 40, 1), (2, 24, 5, 6)),
    "3x3 convolution": (lambda: nn.Conv2d(24, 40, 3, stride=2, padding=1), (2, 24, 9, 8)),
}


def wrap(layer: nn.Module, *, narrow: bool) -> nn.Module:
    part = nn.ModuleDict({"layer": layer.requires_grad_(False)})
    inject_adapter_in_model(LoraConfig(r=4, lora_alpha=3, target_modules=["layer"]), part, "trained")
    torch.manual_seed(1)
    nn.init.normal_(part["layer"].lora_A["trained"].weight)
    nn.init.normal_(part["layer"].lora_B["trained"].weight)
    if narrow:
        part["layer"].lora_variant["trained"] = AddNarrow()
        part["layer"].cast_input_dtype_enabled = False
    return part["layer"]


def run(layer: nn.Module, inputs: torch.Tensor) -> list[torch.Tensor]:
    """The output, and the gradients of the input and both matrices."""
    inputs = inputs.clone().requires_grad_()
    output = layer(inputs)
    output.float().square().sum().backward()
    return [output, inputs.grad, layer.lora_A["trained"].weight.grad, layer.lora_B["trained"].weight.grad]


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("bf16", [False, True])
def test_output_and_gradients_are_pefts(kind: str, bf16: bool):
    make, shape = LAYERS[kind]
    torch.manual_seed(0)
    layer, inputs = make(), torch.randn(shape)
    results = []
    for narrow in (True, False):
        copy = make()
        copy.load_state_dict(layer.state_dict())
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            results.append(run(wrap(copy.to(torch.bfloat16 if bf16 else torch.float32), narrow=narrow), inputs))
    for ours, theirs in zip(*results, strict=True):
        assert ours.dtype == theirs.dtype
        limit = (0.05 if bf16 else 1e-5) * theirs.abs().max().item()
        torch.testing.assert_close(ours, theirs, atol=limit, rtol=1e-4)


def test_no_tensor_as_wide_as_the_output_is_made_beside_it():
    layer = wrap(nn.Linear(8, 4096, bias=False), narrow=True)
    inputs = torch.randn(16, 8)
    with torch.profiler.profile(profile_memory=True) as profile:
        layer(inputs)
    largest = sorted(event.self_cpu_memory_usage for event in profile.events())[-2:]
    assert largest[-1] >= 16 * 4096 * 4 > largest[-2]
