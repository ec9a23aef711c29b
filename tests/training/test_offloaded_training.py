"""A training whose blocks wait in main memory gives the very same LoRA, and the same pictures on the way."""

import pytest
import torch

from lora_nb.adapters.files import read_lora
from lora_nb.adapters.modules import tensors_of
from lora_nb.config_file import change_settings
from lora_nb.models.offloading import WaitingLinear
from lora_nb.training.acceleration import Team
from lora_nb.training.events import StepDone
from lora_nb.training.runs import load_for, train_project
from tests.test_environment import machine


@pytest.mark.parametrize(
    "kind, precision, bits",
    [
        ("lora", "fp32", "none"),
        ("lora", "bf16", "none"),
        ("lora", "fp32", "nf4"),
        ("loha", "fp32", "none"),
        ("lokr", "fp32", "none"),
    ],
)
def test_the_lora_and_the_pictures_are_the_same(project, config, tiny_flux_folder, kind, precision, bits):
    changes = {"model.family": "flux", "model.base": str(tiny_flux_folder), "model.t5_tokens": 32}
    changes |= {"adapter.kind": kind, "run.precision": precision, "run.epochs": 1, "run.save_precision": "fp32"}
    changes |= {"run.gradient_accumulation_steps": 2, "run.gradient_checkpointing": True}
    changes |= {"samples.prompts": ["mochi"], "samples.steps": 2, "samples.width": 64, "samples.height": 64}
    changes |= {"data.validation_split": 0.2, "run.quantization": bits}
    results = []
    for share in (0.0, 0.5, 1.0):
        settings = change_settings(config, changes | {"run.offload": share})
        model = load_for(Team(), settings, machine())
        losses = []
        note = lambda event, into=losses: into.append(event.loss) if isinstance(event, StepDone) else None  # noqa: E731
        folder = train_project(project, settings, run=f"run{share}", model=model, on_event=note)
        waits = sum(isinstance(layer, WaitingLinear) for layer in model.denoiser.modules())
        assert bool(waits) == bool(share)
        file = read_lora(folder / "loras" / "mochi.safetensors")
        pictures = [path.read_bytes() for path in sorted((folder / "samples").glob("*.png"))]
        assert pictures and losses
        results.append((losses, {key: tensors_of(module) for key, module in file.modules.items()}, pictures))
    (losses, whole, pictures), *others = results
    for other_losses, other, other_pictures in others:
        assert other_losses == losses and other_pictures == pictures and other.keys() == whole.keys()
        for key, tensors in whole.items():
            assert all(torch.equal(other[key][name], values) for name, values in tensors.items()), key
