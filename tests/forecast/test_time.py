"""How long a training takes: measured on its first steps, outside of the project."""

import pytest

from lora_nb.config_file import change_settings
from lora_nb.forecast.time import describe_duration, extrapolate, forecast_time
from tests.training.conftest import config, project  # noqa: F401  (fixtures)


def test_alike_steps_are_extrapolated_with_a_narrow_range():
    found = extrapolate([2.0, 2.0, 2.0, 2.0], 100)
    assert found.seconds == 200
    assert found.shortest == pytest.approx(190) and found.longest == pytest.approx(210)


def test_durations_are_said_as_people_say_them():
    assert [describe_duration(x) for x in (40, 720, 12000)] == ["40 s", "12 min", "3 h 20 min"]


def test_different_steps_have_a_wide_range():
    calm, wild = extrapolate([1.9, 2.0, 2.1], 100), extrapolate([1.0, 2.0, 3.0], 100)
    assert wild.seconds == pytest.approx(calm.seconds)
    assert wild.longest - wild.shortest > 2 * (calm.longest - calm.shortest)


def test_steps_are_measured_and_leave_nothing_but_the_cache(project, config):  # noqa: F811
    config = change_settings(config, {"run.epochs": 5})
    found = forecast_time(project, config, steps=1000, probes=3)
    assert found.measured == 3
    assert 0 < found.shortest < found.seconds < found.longest
    assert found.seconds == pytest.approx(1000 * found.seconds_per_step)
    assert not project.runs.exists()
    assert list(project.cache.rglob("*.safetensors"))
