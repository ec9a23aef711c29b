"""Noise: kohya's offset, and chance that is a function of the place alone."""

import json
from pathlib import Path

import pytest
import torch

from lora_nb.config import NoiseConfig
from lora_nb.training.noise import add_noise_offset, draw_noise
from lora_nb.training.randomness import make_generator, make_random

GOLDEN = json.loads((Path(__file__).parents[1] / "data" / "noise_offset.json").read_text())


@pytest.mark.parametrize("case", GOLDEN["cases"], ids=lambda case: str(case["adaptive_noise_scale"]))
def test_noise_offset_equals_kohyas(case):
    latents, noise, channel_noise = (torch.tensor(GOLDEN[name]) for name in ("latents", "noise", "offset_noise"))
    config = NoiseConfig(offset=case["noise_offset"], adaptive=case["adaptive_noise_scale"] or 0)
    result = add_noise_offset(noise, channel_noise, latents, config)
    torch.testing.assert_close(result, torch.tensor(case["result"]))


def test_adaptive_noise_works_without_a_fixed_offset():
    """Differs from kohya on purpose: there an offset of 0 silently switches the adaptive part off."""
    latents = torch.full((1, 4, 8, 8), 2.0)
    config = NoiseConfig(offset=0, adaptive=0.5)
    result = add_noise_offset(torch.zeros_like(latents), torch.ones(1, 4, 1, 1), latents, config)
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
