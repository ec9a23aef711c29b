"""Learning-rate schedules: their shape, their warm-up, and the curve that is drawn of them."""

import pytest

from lora_nb.config import OptimizerConfig
from lora_nb.config_file import make_config
from lora_nb.errors import ConfigError
from lora_nb.training.schedules import LR_SCHEDULERS, learning_rate_curve

ENDS = {  # the share of the learning rate in the last of 100 steps
    "constant": 1,
    "linear": 0.01,
    "cosine": 0.0002,
    "cosine_with_restarts": 0.002,
    "cosine_with_min_lr": 0.25,
    "polynomial": 0.25,
    "inverse_sqrt": 0.3,
    "warmup_stable_decay": 0.25,
    "piecewise_constant": 0.1,
    "rex": 0.26,
}


def curve(name, steps=100, **settings):
    values = {"cycles": 3, "power": 2, "min_ratio": 0.25, "timescale": 10, **settings}
    return learning_rate_curve(OptimizerConfig(learning_rate=1, lr_scheduler=name, **values), steps)


@pytest.mark.parametrize("name", LR_SCHEDULERS)
def test_a_schedule_starts_full_and_ends_where_it_says(name):
    rates = curve(name)
    assert len(rates) == 100 and rates[0] == pytest.approx(1)
    assert rates[-1] == pytest.approx(ENDS[name], abs=0.015)


@pytest.mark.parametrize("name", LR_SCHEDULERS)
def test_every_schedule_warms_up(name):
    """kohya stops with an error when constant is to warm up."""
    rates = curve(name, warmup_ratio=0.1)
    assert rates[:10] == pytest.approx([step / 10 for step in range(10)]) and max(rates) == pytest.approx(1)


def test_settings_shape_the_curve():
    assert sum(rate > 0.99 for rate in curve("cosine_with_restarts")) >= 3
    assert curve("polynomial")[50] == pytest.approx(0.25 + 0.75 / 4)
    assert curve("warmup_stable_decay", decay_ratio=0.3)[:70] == [1] * 70
    assert curve("inverse_sqrt")[10] == pytest.approx(0.5**0.5)
    assert curve("piecewise_constant", step_rules="1:0.5, 0.5:80, 0.1") == [1] * 50 + [0.5] * 30 + [0.1] * 20
    assert curve("rex")[50] == pytest.approx(0.25 + 0.75 * 0.5 / 0.75)


def test_rules_that_cannot_be_read_are_refused():
    with pytest.raises(ConfigError, match="factor:until"):
        make_config({"optimizer": {"step_rules": "half of it"}})
