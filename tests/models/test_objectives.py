"""The noise schedule, against kohya's numbers."""

import json
from pathlib import Path

import pytest
import torch

from lora_nb.errors import ModelError
from lora_nb.models.objectives import make_objective
from tests.tiny_models import SCHEDULER

REFERENCE = json.loads((Path(__file__).parents[1] / "data" / "loss_weights.json").read_text())


@pytest.fixture
def objective():
    return make_objective(SCHEDULER, "tiny")


def test_schedule_and_snr_are_those_of_kohya(objective):
    timesteps = torch.tensor(REFERENCE["timesteps"])
    assert objective.num_timesteps == 1000
    assert objective.alphas_cumprod.dtype == torch.float32
    alphas, snr = torch.tensor(REFERENCE["alphas_cumprod"]), torch.tensor(REFERENCE["snr"])
    torch.testing.assert_close(objective.alphas_cumprod[timesteps], alphas, rtol=1e-6, atol=0)
    torch.testing.assert_close(objective.snr(timesteps), snr, rtol=1e-5, atol=0)


def test_noise_is_mixed_in_as_diffusers_does(objective):
    from diffusers import DDPMScheduler

    latents, noise = torch.randn(3, 4, 8, 8), torch.randn(3, 4, 8, 8)
    timesteps = torch.tensor([0, 400, 999])
    expected = DDPMScheduler.from_config(SCHEDULER).add_noise(latents, noise, timesteps)
    torch.testing.assert_close(objective.add_noise(latents, noise, timesteps), expected)
    assert objective.target(latents, noise, timesteps) is noise


def test_each_example_draws_its_own_timestep(objective):
    def draw(*seeds):
        return objective.sample_timesteps([torch.Generator().manual_seed(seed) for seed in seeds]).tolist()

    assert draw(1, 2, 3) == [*draw(1), *draw(2), *draw(3)]
    many = draw(*range(400))
    assert min(many) < 20 and max(many) > 980 and max(many) < 1000


@pytest.mark.parametrize(
    ("change", "word"),
    [({"prediction_type": "v_prediction"}, "v_prediction"), ({"rescale_betas_zero_snr": True}, "snr")],
)
def test_a_model_that_predicts_something_else_is_refused(change, word):
    with pytest.raises(ModelError, match=word):
        make_objective(SCHEDULER | change, "some model")
