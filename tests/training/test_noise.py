"""Noise: kohya's offset, and chance that is a function of the place alone."""

import json
from pathlib import Path

import pytest
import torch

from lora_nb.config import NoiseConfig
from lora_nb.config_file import make_config
from lora_nb.errors import ConfigError
from lora_nb.models.objectives import DiffusionObjective, FlowObjective
from lora_nb.training.noise import add_coarse_noise, add_noise_offset, draw_noise, perturb_input
from lora_nb.training.randomness import make_generator, make_random

GOLDEN = json.loads((Path(__file__).parents[1] / "data" / "noise_offset.json").read_text())


@pytest.mark.parametrize("case", GOLDEN["cases"], ids=lambda case: str(case["adaptive_noise_scale"]))
def test_noise_offset_equals_kohyas(case):
    latents, noise, channel_noise = (torch.tensor(GOLDEN[name]) for name in ("latents", "noise", "offset_noise"))
    config = NoiseConfig(offset=case["noise_offset"], adaptive=case["adaptive_noise_scale"] or 0)
    result = add_noise_offset(noise, channel_noise, latents, config, [])
    torch.testing.assert_close(result, torch.tensor(case["result"]))


def test_adaptive_noise_works_without_a_fixed_offset():
    """Differs from kohya on purpose: there an offset of 0 silently switches the adaptive part off."""
    latents = torch.full((1, 4, 8, 8), 2.0)
    config = NoiseConfig(offset=0, adaptive=0.5)
    result = add_noise_offset(torch.zeros_like(latents), torch.ones(1, 4, 1, 1), latents, config, [])
    assert result.unique().tolist() == [1.0]


def test_an_examples_noise_does_not_depend_on_its_batch():
    latents = torch.zeros(2, 4, 8, 8)
    both = draw_noise(latents, NoiseConfig(), [make_generator(1, "example", 5, place) for place in (0, 1)])
    alone = draw_noise(latents[:1], NoiseConfig(), [make_generator(1, "example", 5, 1)])
    assert torch.equal(both[1], alone[0])


def test_switching_the_offset_on_leaves_the_rest_of_the_noise():
    latents = torch.zeros(1, 4, 8, 8)
    plain = draw_noise(latents, NoiseConfig(offset=0, adaptive=0), [make_generator(1, "example", 1, 0)])
    shifted = draw_noise(latents, NoiseConfig(offset=0.1, adaptive=0), [make_generator(1, "example", 1, 0)])
    assert (shifted - plain).std(dim=(2, 3)).max() < 1e-6
    assert (shifted - plain).abs().max() > 1e-3


def test_draws_differ_by_seed_purpose_and_place():
    keys = [(1, "a", 1, 2), (2, "a", 1, 2), (1, "b", 1, 2), (1, "a", 12), (1, "a", 2, 1)]
    assert len({make_random(*key).random() for key in keys}) == len(keys)
    assert len({torch.randn(1, generator=make_generator(*key)).item() for key in keys}) == len(keys)


PLAIN = NoiseConfig(offset=0, adaptive=0)
EVERYTHING = NoiseConfig(
    offset=0.1,
    offset_random=True,
    multires_iterations=4,
    input_perturbation=0.1,
    input_perturbation_random=True,
)


def generators(count=2, step=1):
    return [make_generator(1, "example", step, place) for place in range(count)]


def test_no_knob_changes_what_is_drawn_after_it():
    """So that two runs that differ in one setting see the same pictures at the same noise levels."""
    objective, latents = DiffusionObjective(torch.linspace(0.99, 0.01, 1000)), torch.zeros(2, 4, 16, 16)
    drawn = []
    for config in (PLAIN, EVERYTHING):
        sources = generators()
        noise = draw_noise(latents, config, sources)
        drawn.append(objective.sample_timesteps(latents, config, sources))
        perturb_input(noise, config, sources)
    assert torch.equal(*drawn)


@pytest.mark.parametrize("config", [PLAIN, EVERYTHING])
def test_an_examples_noise_and_its_extras_do_not_depend_on_its_batch(config):
    latents = torch.randn(2, 4, 16, 16, generator=make_generator(0, "latents"))
    both, alone = draw_noise(latents, config, generators()), draw_noise(latents[1:], config, generators()[1:])
    torch.testing.assert_close(both[1], alone[0])
    perturbed = perturb_input(both, config, generators()), perturb_input(alone, config, generators()[1:])
    torch.testing.assert_close(perturbed[0][1], perturbed[1][0])


def test_offset_of_random_strength_lies_between_nothing_and_the_offset():
    latents = torch.zeros(64, 4, 8, 8)
    full, weaker = (
        draw_noise(latents, NoiseConfig(offset=0.5, adaptive=0, offset_random=on), generators(64)) for on in (0, 1)
    )
    plain = draw_noise(latents, PLAIN, generators(64))
    strength = ((weaker - plain) / (full - plain)).mean(dim=(2, 3))  # (64, 4) the same for each channel of an example
    torch.testing.assert_close(strength, strength[:, :1].expand(-1, 4), rtol=1e-3, atol=1e-3)
    assert strength.min() >= 0 and strength.max() <= 1.001
    # differs from kohya on purpose, which draws one strength for the whole batch
    assert strength.std() > 0.2 and strength.mean() == pytest.approx(0.5, abs=0.15)


def test_coarse_noise_equals_kohyas_formula_for_one_picture():
    """Built here from the same draws as kohya builds it: a sum of enlarged noise, divided by its deviation."""
    config = NoiseConfig(multires_iterations=3, multires_discount=0.4)
    noise = torch.randn(1, 4, 24, 40, generator=make_generator(0, "noise"))
    result = add_coarse_noise(noise, config, generators(1))
    draw, expected = generators(1)[0], noise.clone()
    for level in range(3):
        shrink = (torch.rand((), generator=draw).item() * 2 + 2) ** level
        size = max(1, int(24 / shrink)), max(1, int(40 / shrink))
        enlarge = torch.nn.Upsample(size=(24, 40), mode="bilinear")
        expected += enlarge(torch.randn(1, 4, *size, generator=draw)) * 0.4**level
    torch.testing.assert_close(result, expected / expected.std())


def test_coarse_noise_has_deviation_one_in_each_example_and_more_large_shapes():
    """Differs from kohya on purpose: the deviation is each example's own, so that pictures do not mix."""
    latents = torch.zeros(8, 4, 32, 32)
    plain = draw_noise(latents, PLAIN, generators(8))
    config = NoiseConfig(offset=0, adaptive=0, multires_iterations=6, multires_discount=0.8)
    coarse = draw_noise(latents, config, generators(8))
    torch.testing.assert_close(coarse.std(dim=(1, 2, 3)), torch.ones(8))
    blocks = [torch.nn.functional.avg_pool2d(noise, 8).std().item() for noise in (plain, coarse)]
    assert blocks[1] > 1.3 * blocks[0]


def test_only_the_input_is_perturbed():
    noise = torch.randn(64, 4, 8, 8, generator=make_generator(0, "noise"))
    assert perturb_input(noise, PLAIN, generators(64)) is noise
    extra = perturb_input(noise, NoiseConfig(input_perturbation=0.2), generators(64)) - noise
    assert extra.std().item() == pytest.approx(0.2, rel=0.05)
    config = NoiseConfig(input_perturbation=0.2, input_perturbation_random=True)
    strengths = (perturb_input(noise, config, generators(64)) - noise).std(dim=(1, 2, 3))
    assert strengths.max() < 0.23 and strengths.mean().item() == pytest.approx(0.1, abs=0.03)


def test_timesteps_stay_in_their_range():
    latents, many = torch.zeros(400, 4, 2, 2), generators(400)
    config = NoiseConfig(min_timestep=200, max_timestep=300)
    drawn = DiffusionObjective(torch.linspace(0.99, 0.01, 1000)).sample_timesteps(latents, config, many)
    assert 200 <= drawn.min() < 205 and 295 < drawn.max() < 300


def test_a_flows_timesteps_stay_in_their_range():
    """kohya ignores the range on Flux without a word."""
    latents, many = torch.zeros(400, 4, 2, 2), generators(400)
    config = make_flow_config(min_timestep=200, max_timestep=300)
    drawn = FlowObjective().sample_timesteps(latents, config, many)
    assert 0.2 <= drawn.min() < drawn.max() <= 0.3


def make_flow_config(**values):
    return NoiseConfig(offset=0, adaptive=0, **values)


def test_an_empty_range_of_timesteps_is_refused():
    """kohya trains on the upper end alone instead."""
    with pytest.raises(ConfigError, match=r"noise\.min_timestep: 500 leaves no noise level"):
        make_config({"noise": {"min_timestep": 500, "max_timestep": 500}})
