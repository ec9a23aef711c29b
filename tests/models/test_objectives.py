"""The noise schedule, against kohya's numbers."""

import json
from pathlib import Path

import pytest
import torch

from lora_nb.config import ModelConfig, NoiseConfig
from lora_nb.errors import ModelError
from lora_nb.models.objectives import FlowObjective, make_objective, settle_schedule
from tests.tiny_models import SCHEDULER, SCHEDULER_V

REFERENCE = json.loads((Path(__file__).parents[1] / "data" / "loss_weights.json").read_text())


def make(scheduler=SCHEDULER, **settings):
    return make_objective(settle_schedule(scheduler, ModelConfig(**settings)))


@pytest.fixture
def objective():
    return make()


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


def test_v_is_what_diffusers_calls_velocity():
    from diffusers import DDPMScheduler

    objective = make(prediction="v")
    latents, noise = torch.randn(3, 4, 8, 8), torch.randn(3, 4, 8, 8)
    timesteps = torch.tensor([0, 400, 999])
    expected = DDPMScheduler.from_config(SCHEDULER).get_velocity(latents, noise, timesteps)
    torch.testing.assert_close(objective.target(latents, noise, timesteps), expected)


def test_zero_terminal_snr_changes_the_schedule_and_the_snr_with_it():
    objective = make(SCHEDULER_V, zero_terminal_snr="on")
    timesteps = torch.tensor(REFERENCE["timesteps"])
    expected = torch.tensor(REFERENCE["alphas_cumprod_zero_terminal"])
    torch.testing.assert_close(objective.alphas_cumprod[timesteps], expected, rtol=1e-4, atol=1e-6)
    # on purpose not as kohya, which goes on weighting by the schedule before the change (research: sd-scripts 1905)
    torch.testing.assert_close(objective.snr(timesteps), expected / (1 - expected), rtol=1e-3, atol=1e-6)
    last = torch.tensor([999])
    assert objective.zero_terminal_snr and objective.snr(last) == 0
    latents, noise = torch.randn(1, 4, 8, 8), torch.randn(1, 4, 8, 8)
    assert torch.equal(objective.add_noise(latents, noise, last), noise)
    assert torch.equal(objective.target(latents, noise, last), -latents)  # pure noise asks for the picture itself


def test_the_settings_overrule_the_checkpoint_and_samplers_follow():
    zero_snr = SCHEDULER_V | {"rescale_betas_zero_snr": True}
    assert not make(SCHEDULER_V).zero_terminal_snr
    assert make(zero_snr).zero_terminal_snr and not make(zero_snr, zero_terminal_snr="off").zero_terminal_snr
    assert make(SCHEDULER_V, prediction="epsilon").prediction == "epsilon"
    settled = settle_schedule(SCHEDULER, ModelConfig(prediction="v", zero_terminal_snr="on"))
    assert settled["prediction_type"] == "v_prediction" and settled["rescale_betas_zero_snr"]
    assert settled["timestep_spacing"] == "trailing"


@pytest.mark.parametrize("objective", [make(), make(prediction="v"), FlowObjective()])
def test_the_right_answer_leads_back_to_the_picture(objective):
    latents, noise = torch.randn(2, 4, 8, 8), torch.randn(2, 4, 8, 8)
    timesteps = torch.tensor([0.25, 0.5]) if objective.prediction == "flow" else torch.tensor([100, 500])
    noisy = objective.add_noise(latents, noise, timesteps)
    answer = objective.target(latents, noise, timesteps)
    torch.testing.assert_close(objective.clean(noisy, answer, timesteps), latents, rtol=1e-4, atol=1e-5)


def test_a_flow_goes_straight_from_the_picture_to_noise():
    latents, noise = torch.randn(3, 4, 8, 8), torch.randn(3, 4, 8, 8)
    objective, shares = FlowObjective(), torch.tensor([0, 0.25, 1])
    noisy = objective.add_noise(latents, noise, shares)
    torch.testing.assert_close(noisy[0], latents[0])
    torch.testing.assert_close(noisy[1], 0.75 * latents[1] + 0.25 * noise[1])
    torch.testing.assert_close(noisy[2], noise[2])
    assert torch.equal(objective.target(latents, noise, shares), noise - latents)


def test_each_example_draws_its_own_timestep(objective):
    def draw(*seeds):
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        latents = torch.zeros(len(seeds), 4, 8, 8)
        return objective.sample_timesteps(latents, NoiseConfig(), generators).tolist()

    assert draw(1, 2, 3) == [*draw(1), *draw(2), *draw(3)]
    many = draw(*range(400))
    assert min(many) < 20 and max(many) > 980 and max(many) < 1000


def test_a_model_that_predicts_something_else_is_refused():
    with pytest.raises(ModelError, match="'sample'"):
        make(SCHEDULER | {"prediction_type": "sample"})
    for impossible in (SCHEDULER | {"rescale_betas_zero_snr": True}, SCHEDULER_V):
        settings = {} if impossible is not SCHEDULER_V else {"prediction": "epsilon"}
        with pytest.raises(ModelError, match="only works with models that predict v"):
            make(impossible | {"rescale_betas_zero_snr": True}, **settings)
