"""Losses and their weights equal kohya's numbers; where they differ on purpose, the test says why."""

import json
import math
from pathlib import Path

import pytest
import torch

from lora_nb.config import LossConfig, ModelConfig, NoiseConfig
from lora_nb.models.objectives import FlowObjective, make_objective, settle_schedule
from lora_nb.training.losses import (
    HUBER_SCHEDULES,
    LOSS_WEIGHTS,
    LOSSES,
    check_prediction,
    loss_weight,
    mean_over,
    measure_error,
)
from tests.tiny_models import SCHEDULER

DATA = Path(__file__).parents[1] / "data"
GOLDEN = json.loads((DATA / "loss_weights.json").read_text())
ELEMENTWISE = json.loads((DATA / "elementwise_losses.json").read_text())
TIMESTEPS = torch.tensor(GOLDEN["timesteps"])
ALL = torch.arange(1000)


def objective_of(prediction="epsilon", **settings):
    return make_objective(settle_schedule(SCHEDULER, ModelConfig(prediction=prediction, **settings)))


def weigh(objective, timesteps, **settings):
    return loss_weight(objective, timesteps, LossConfig(**{"weighting": "none", **settings}), NoiseConfig())


@pytest.mark.parametrize("kind", ["l2", "l1", "huber", "smooth_l1"])
def test_losses_equal_kohyas(kind):
    prediction, target = (torch.tensor(ELEMENTWISE[name]).view(-1, 1, 1, 1) for name in ("prediction", "target"))
    loss = LOSSES[kind](prediction, target, torch.tensor(ELEMENTWISE["huber_c"]))
    torch.testing.assert_close(loss.flatten(), torch.tensor(ELEMENTWISE[kind]))


@pytest.mark.parametrize("schedule", ["constant", "exponential", "snr"])
def test_huber_thresholds_equal_kohyas(schedule):
    threshold = HUBER_SCHEDULES[schedule](objective_of(), TIMESTEPS, LossConfig(huber_c=0.1))
    torch.testing.assert_close(threshold, torch.tensor(GOLDEN[f"huber_threshold_{schedule}"]), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("schedule", ["constant", "exponential", "snr"])
def test_huber_scale_acts_in_every_schedule(schedule):
    """kohya ignores the scale when the schedule is snr."""
    prediction, target = torch.full((2, 4, 2, 2), 0.5), torch.zeros(2, 4, 2, 2)
    one, two = (
        measure_error(
            prediction,
            target,
            objective_of(),
            torch.tensor([100, 900]),
            LossConfig(kind="huber", huber_schedule=schedule, huber_scale=scale),
        )
        for scale in (1, 2)
    )
    assert one.shape == prediction.shape and (two > 1.05 * one).all()


def test_huber_follows_the_noise_of_a_flow():
    """kohya stops with NotImplementedError when the schedule is snr."""
    shares = torch.tensor([0.0, 0.5, 1.0])
    snr, exponential = (HUBER_SCHEDULES[name](FlowObjective(), shares, LossConfig()) for name in ("snr", "exponential"))
    torch.testing.assert_close(snr, torch.tensor([1, 0.9 / 4 + 0.1, 0.1]))
    torch.testing.assert_close(exponential, torch.tensor([1, math.sqrt(0.1), 0.1]))


@pytest.mark.parametrize("prediction", ["epsilon", "v"])
@pytest.mark.parametrize("name", ["min_snr", "debiased"])
def test_weights_equal_kohyas(name, prediction):
    config = LossConfig(min_snr_gamma=GOLDEN["gamma"])
    weights = LOSS_WEIGHTS[name](torch.tensor(GOLDEN["snr"]), config, prediction)
    torch.testing.assert_close(weights, torch.tensor(GOLDEN[f"{name}_{prediction}"]), rtol=1e-5, atol=1e-7)


def test_scalings_of_v_prediction_equal_kohyas():
    like_noise = weigh(objective_of("v"), TIMESTEPS, v_like_noise=True)
    torch.testing.assert_close(like_noise, torch.tensor(GOLDEN["scale_v_like_noise"]), rtol=1e-5, atol=1e-6)
    like_v = weigh(objective_of(), TIMESTEPS, v_pred_like=0.5)
    torch.testing.assert_close(like_v, torch.tensor(GOLDEN["v_pred_like_0p5"]), rtol=1e-5, atol=1e-6)


def test_scalings_multiply_with_the_weighting_as_in_kohya():
    both = weigh(objective_of("v"), TIMESTEPS, weighting="min_snr", min_snr_gamma=7.5, v_like_noise=True)
    expected = torch.tensor(GOLDEN["min_snr_v"]) * torch.tensor(GOLDEN["scale_v_like_noise"])
    torch.testing.assert_close(both, expected, rtol=1e-5, atol=1e-6)


def test_no_weighting_treats_all_alike():
    assert weigh(objective_of(), ALL).unique().tolist() == [1]


def test_a_masks_loss_is_the_mean_over_its_area():
    error = torch.rand(2, 4, 6, 5)
    mask = torch.zeros(2, 1, 6, 5)
    mask[0, :, 2:4, 1:3] = 1
    mask[1] = 1
    loss = mean_over(error, mask)
    torch.testing.assert_close(loss[0], error[0, :, 2:4, 1:3].mean())
    torch.testing.assert_close(loss[1], error[1].mean())
    torch.testing.assert_close(mean_over(error, None), error.mean(dim=(1, 2, 3)))
    assert mean_over(error, torch.zeros(2, 1, 6, 5)).tolist() == [0, 0]


@pytest.mark.parametrize("settings", [{"weighting": "min_snr"}, {"weighting": "debiased"}, {"v_like_noise": True}])
def test_nothing_is_infinite_where_only_noise_is_left(settings):
    """SNR is 0 at the last timestep after the zero-terminal change, after which ours is computed."""
    weights = weigh(objective_of("v", zero_terminal_snr="on"), ALL, **settings)
    assert weights.isfinite().all() and (weights >= 0).all()
    for name in ("min_snr", "debiased"):
        assert LOSS_WEIGHTS[name](torch.zeros(1), LossConfig(), "epsilon").isfinite().all()
    thresholds = HUBER_SCHEDULES["snr"](objective_of("v", zero_terminal_snr="on"), ALL, LossConfig())
    assert thresholds[-1] == pytest.approx(0.1) and thresholds.isfinite().all()


def test_debiased_weights_triple_the_gradient_unless_they_are_normalised():
    kohyas, ours = (weigh(objective_of(), ALL, weighting="debiased", normalize_weighting=on) for on in (False, True))
    assert kohyas.mean().item() == pytest.approx(3.0213, rel=1e-4) and ours.mean().item() == pytest.approx(1)
    torch.testing.assert_close(ours * kohyas.mean(), kohyas)


def test_weights_are_normalised_over_the_trained_noise_levels():
    noise = NoiseConfig(min_timestep=500, max_timestep=700)
    config = LossConfig(weighting="debiased", normalize_weighting=True)
    assert loss_weight(objective_of(), ALL[500:700], config, noise).mean().item() == pytest.approx(1)


def test_flow_weights_equal_diffusers():
    from diffusers.training_utils import compute_loss_weighting_for_sd3

    shares = torch.linspace(0.01, 1, 50)
    for scheme in ("sigma_sqrt", "cosmap"):
        ours = weigh(FlowObjective(), shares, flow_weighting=scheme)
        torch.testing.assert_close(ours, compute_loss_weighting_for_sd3(scheme, shares), rtol=1e-3, atol=1e-4)
    ends = torch.tensor([0.0, 1.0])
    assert all(weigh(FlowObjective(), ends, flow_weighting=s).isfinite().all() for s in ("sigma_sqrt", "cosmap"))


def test_what_a_prediction_cannot_use_is_named():
    assert "not v" in check_prediction(LossConfig(v_like_noise=True), "epsilon")[0].message
    assert "predicts v" in check_prediction(LossConfig(v_pred_like=0.5), "v")[0].message
    assert not check_prediction(LossConfig(v_like_noise=True), "v")
    assert not check_prediction(LossConfig(v_pred_like=0.5), "epsilon")
