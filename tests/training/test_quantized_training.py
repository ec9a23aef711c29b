"""A LoRA trained beside a base model in fewer bits is a LoRA like any other."""

import pytest

from lora_nb.adapters.attached import attach_lora
from lora_nb.adapters.files import read_lora
from lora_nb.adapters.modules import tensors_of
from lora_nb.config_file import change_settings
from lora_nb.models.base import load_model
from lora_nb.training.events import StepDone
from lora_nb.training.runs import train_project
from tests.models.test_quantization import BITS, predict


@pytest.mark.parametrize("kind", BITS)
@pytest.mark.parametrize("family", ["sd1", "flux"])
def test_a_dora_on_fewer_bits_changes_all_it_has_and_is_continued(request, project, config, family, kind):
    folder = request.getfixturevalue(f"tiny_{family}_folder")
    changes = {"model.family": family, "model.base": str(folder), "adapter.kind": "dora", "run.quantization": kind}
    changes |= {"run.epochs": 1, "run.batch_size": 4, "samples.every_n_epochs": 0, "adapter.train_text_encoder": False}
    changes |= {"model.t5_tokens": 32} if family == "flux" else {}
    settings = change_settings(config, changes)
    model = load_model(settings.model, "fp32", "cpu", kind)
    first = train_project(project, settings, run="run1", model=model)
    assert not [name for name in model.frozen_text_encoders if name not in model.networks.sleeping()]
    path = first / "loras" / "mochi.safetensors"
    more = change_settings(settings, {"adapter.continue_from": str(path)})
    second = train_project(project, more, run="run2", model=model)
    before, after = (read_lora(each / "loras" / "mochi.safetensors") for each in (first, second))
    for key, module in before.modules.items():
        for name, values in tensors_of(module).items():
            assert values.isfinite().all()
            assert not values.equal(tensors_of(after.modules[key])[name]), f"{key} {name} did not learn any more"
    attach_lora(load_model(settings.model), after)  # every name and shape is that of the model at full size


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
