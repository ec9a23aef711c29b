"""LoRA files beside a base model in fewer bits: what they add there is what they add to the whole model."""

import pytest
import torch

from lora_nb.adapters.attached import attach_lora, detach_lora, set_lora_weight
from lora_nb.adapters.files import read_lora, save_lora
from lora_nb.adapters.kinds import add_adapter, remove_adapter
from lora_nb.adapters.layers import TRAINED, layers_of, modules_of, unwrapped
from lora_nb.adapters.modules import tensors_of
from lora_nb.config import AdapterConfig, ModelConfig
from lora_nb.models.base import load_model
from tests.adapters.helpers import save_trained

FOLDERS = {"sd1": "tiny_sd1_folder", "flux": "tiny_flux_folder"}
CHANNELS = {"sd1": 4, "flux": 16}
SIZES = {"sd1": {"encoder_hidden_states": (77, 32)}, "flux": {"encoder_hidden_states": (32, 64), "pooled": (32,)}}
FARTHEST = {"int8": 0.02, "nf4": 0.3}  # of the length of what the LoRA adds to the prediction, on random weights


@pytest.fixture(params=FOLDERS)
def load(request):
    folder = request.getfixturevalue(FOLDERS[request.param])
    tokens = {"t5_tokens": 32} if request.param == "flux" else {}
    config = ModelConfig(family=request.param, base=str(folder), **tokens)
    return lambda kind="none": load_model(config, "fp32", "cpu", kind)


def say(model):
    """What the denoiser says about the same latents and text, whatever its text encoder would make of them."""
    generator = torch.Generator().manual_seed(3)
    latents = torch.randn(1, CHANNELS[model.family], 8, 8, generator=generator)
    text = {name: torch.randn(1, *size, generator=generator) for name, size in SIZES[model.family].items()}
    with torch.no_grad():
        return model.predict(latents, torch.tensor([0.5 if model.family == "flux" else 500]), text)


@pytest.mark.parametrize("adapter", ["lora", "dora"])
@pytest.mark.parametrize("kind", FARTHEST)
def test_at_half_weight_it_adds_what_it_adds_to_the_whole_model(load, tmp_path, kind, adapter):
    whole, small = load(), load(kind)
    path = save_trained(whole, tmp_path / "a.safetensors", kind=adapter, train_text_encoder=False, size=0.15)
    added = []
    for model in (whole, small):
        before = say(model)
        attach_lora(model, read_lora(path))
        set_lora_weight(model, 0.5)
        added.append(say(model) - before)
        detach_lora(model)
        assert torch.equal(say(model), before)
    assert added[0].norm() > 0
    assert (added[1] - added[0]).norm() < FARTHEST[kind] * added[0].norm()


@pytest.mark.parametrize("adapter", ["lora", "dora"])
@pytest.mark.parametrize("kind", FARTHEST)
def test_a_training_goes_on_from_a_file_beside_fewer_bits(load, tmp_path, kind, adapter):
    path = save_trained(load(), tmp_path / "a.safetensors", kind=adapter, rank=2, alpha=1.0, size=0.05)
    model = load(kind)
    add_adapter(model, AdapterConfig(kind=adapter, rank=8, continue_from=str(path)), seed=5)
    assert "bit" in " ".join(type(unwrapped(layer)).__name__ for layer in layers_of(model, TRAINED).values())
    file = read_lora(path)
    for key, module in modules_of(model, TRAINED).items():
        assert module.rank == 2 and module.alpha == 1.0
        for name, values in tensors_of(file.modules[key]).items():
            torch.testing.assert_close(tensors_of(module)[name].reshape(values.shape), values, atol=0, rtol=0)
    trained = say(model)
    save_lora(model, tmp_path / "b.safetensors", precision="fp32", metadata={})
    remove_adapter(model)
    attach_lora(model, read_lora(tmp_path / "b.safetensors"))
    torch.testing.assert_close(say(model), trained)
    whole = load()
    attach_lora(whole, read_lora(tmp_path / "b.safetensors"))  # every name and shape is the whole model's
    assert not torch.equal(say(whole), say(load()))
