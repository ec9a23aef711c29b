"""Flux's noise levels, against the numbers of its own schedule."""

import json
import math
from pathlib import Path

import pytest
import torch

from lora_nb.config import NoiseConfig
from lora_nb.models.objectives import FlowObjective
from lora_nb.models.timesteps import TIMESTEP_SAMPLINGS, factor_for, shift_by

REFERENCE = json.loads((Path(__file__).parents[1] / "data" / "flux_schedule.json").read_text())


def test_the_shift_by_resolution_equals_fluxs_own():
    for tokens, mu in REFERENCE["mu"].items():
        assert math.log(factor_for(int(tokens))) == pytest.approx(mu, rel=1e-12)
    for row in REFERENCE["time_shift"]:
        shifted = shift_by(torch.tensor(row["t"], dtype=torch.float64), factor_for(row["tokens"]))
        assert float(shifted) == pytest.approx(row["shifted"], rel=1e-9)


def test_the_fixed_shift_equals_kohyas():
    for row in REFERENCE["shift_3p0"]:
        shifted = shift_by(torch.tensor(row["t"], dtype=torch.float64), 3.0)
        assert float(shifted) == pytest.approx(row["shifted"], rel=1e-9)


def draw(count=2000, latents=(16, 128, 128), **settings):
    config = NoiseConfig(**settings)
    generators = [torch.Generator().manual_seed(seed) for seed in range(count)]
    return FlowObjective().sample_timesteps(torch.empty(1, *latents), config, generators)


def test_each_sampling_has_its_shape():
    for kind in TIMESTEP_SAMPLINGS:
        shares = draw(50, timestep_sampling=kind)
        assert shares.shape == (50,) and shares.min() > 0 and shares.max() < 1
    uniform, sigmoid = draw(timestep_sampling="uniform"), draw(timestep_sampling="sigmoid")
    assert uniform.mean() == pytest.approx(0.5, abs=0.02) and uniform.std() == pytest.approx(0.289, abs=0.01)
    assert sigmoid.median() == pytest.approx(0.5, abs=0.02) and sigmoid.std() < 0.22
    assert draw(timestep_sampling="sigmoid", sigmoid_scale=0.1).std() < 0.03
    assert draw(timestep_sampling="shift", timestep_shift=3.0).median() == pytest.approx(0.75, abs=0.02)


def test_larger_pictures_get_more_noise():
    small, large = draw(latents=(16, 64, 64)), draw(latents=(16, 128, 128))
    assert bool((large > small).all())
    assert small.median() == pytest.approx(factor_for(1024) / (1 + factor_for(1024)), abs=0.02)
    assert large.median() == pytest.approx(factor_for(4096) / (1 + factor_for(4096)), abs=0.02)


def test_mode_equals_diffusers_density():
    from diffusers.training_utils import compute_density_for_timestep_sampling

    shares = draw(20, timestep_sampling="mode", mode_scale=0.8)
    for seed, share in enumerate(shares):
        generator = torch.Generator().manual_seed(seed)
        expected = compute_density_for_timestep_sampling("mode", 1, mode_scale=0.8, generator=generator)
        torch.testing.assert_close(share, expected[0])


def test_sigmoid_is_the_logit_normal_of_diffusers():
    from diffusers.training_utils import compute_density_for_timestep_sampling

    shares = draw(20, timestep_sampling="sigmoid", sigmoid_mean=0.5, sigmoid_scale=0.7)
    for seed, share in enumerate(shares):
        generator = torch.Generator().manual_seed(seed)
        expected = compute_density_for_timestep_sampling("logit_normal", 1, 0.5, 0.7, generator=generator)
        torch.testing.assert_close(share, expected[0])
