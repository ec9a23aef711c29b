"""A LoRA trained beside a base model in fewer bits is a LoRA like any other."""

import pytest

from lora_nb.adapters.attached import attach_lora
from lora_nb.adapters.files import read_lora
from lora_nb.config_file import change_settings
from lora_nb.training.events import StepDone
from lora_nb.training.runs import train_project
from tests.models.test_quantization import BITS, predict


@pytest.mark.parametrize("kind", BITS)
def test_a_lora_on_fewer_bits_learns_and_fits_the_whole_model(project, config, tiny_sd1, kind):
    changes = {"run.epochs": 12, "optimizer.learning_rate": 1e-2, "run.batch_size": 4, "run.quantization": kind}
    changes |= {"samples.prompts": ["mochi"], "samples.steps": 1, "samples.width": 64, "samples.height": 64}
    events = []
    folder = train_project(project, change_settings(config, changes), run="run1", on_event=events.append)
    losses = [event.raw_loss for event in events if isinstance(event, StepDone)]
    assert sum(losses[-12:]) < 0.9 * sum(losses[:12])
    file = read_lora(folder / "loras" / "mochi.safetensors")
    before = predict(tiny_sd1)
    attach_lora(tiny_sd1, file)  # every name and shape is that of the model at full size
    assert not predict(tiny_sd1).allclose(before)
