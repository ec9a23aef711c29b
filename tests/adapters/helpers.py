"""LoRAs with something in them, for tests."""

import pytest
import torch

from lora_nb.adapters.kinds import add_adapter, remove_adapter
from lora_nb.adapters.layers import TRAINED, layers_of, modules_of
from lora_nb.adapters.modules import tensors_of
from lora_nb.config import AdapterConfig


def add_trained(model, rank=4, alpha=3.0, seed=0, size=0.3, **options):
    """Add an adapter whose up matrices are not zero, as after training. Returns its parameters by part."""
    parameters = add_adapter(model, AdapterConfig(rank=rank, alpha=alpha, **options), seed=seed)
    generator = torch.Generator().manual_seed(seed)
    for module in modules_of(model, TRAINED).values():
        for matrix in tensors_of(module).values():
            if not matrix.any():  # the one that starts at zero
                matrix.data = torch.randn(matrix.shape, generator=generator) * size
    return parameters


def save_trained(model, path, precision="fp32", metadata=None, **options):
    """Write a LoRA file that changes the picture, and leave the model as it was."""
    from lora_nb.adapters.files import save_lora

    add_trained(model, **options)
    save_lora(model, path, precision=precision, metadata=metadata or {})
    remove_adapter(model)
    return path


def deltas_of(model, name):
    """What an adapter adds to each layer now, by the layer's name in LoRA files."""
    return {key: layer.get_delta_weight(name).detach() for key, layer in layers_of(model, name).items()}


def predict(model, caption="a cat"):
    """What the model says about fixed latents: changes when anything in the U-Net or the text encoder changes."""
    latents = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        return model.predict(latents, torch.tensor([500]), model.encode_captions([caption]))


def load_in_diffusers(pipeline, path):
    """Load a LoRA file in diffusers' own way, under the name "theirs"."""
    try:
        pipeline.load_lora_weights(path.parent, weight_name=path.name, adapter_name="theirs")
    except IndexError:
        import diffusers

        if diffusers.__version__ < "0.42":  # looks for text_model, which transformers 5 dropped
            pytest.xfail(f"diffusers {diffusers.__version__} reads no text encoder LoRA beside transformers 5")
        raise
