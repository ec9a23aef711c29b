"""What is played again after a change, and what is not."""

import pytest

from lora_nb.config_file import change_settings, make_config
from lora_nb.forecast import played
from lora_nb.forecast.memory import forecast_memory
from lora_nb.forecast.stages import BatchShape

SHAPE = BatchShape(64, 64, 2)


def count_plays(monkeypatch: pytest.MonkeyPatch, changes: dict[str, object], **shape: int) -> list[str]:
    """The stages that are played for a forecast after these changes, when one before them has been made."""
    for name in ("_caching", "_training", "_pictures", "_adapter", "_blueprint"):
        getattr(played, name).cache_clear()
    config = make_config({"model": {"base": "workshop"}, "samples": {"prompts": ["a"]}})
    forecast_memory(config, SHAPE, "cpu")
    asked: list[str] = []
    for name in ("play_caching", "play_training", "play_pictures"):
        real = getattr(played, name)
        wrapped = lambda *args, name=name, real=real: (asked.append(name), real(*args))[1]  # noqa: E731
        monkeypatch.setattr(played, name, wrapped)
    forecast_memory(change_settings(config, changes), SHAPE, "cpu")
    return asked


def test_other_epochs_and_another_optimizer_play_nothing_again(monkeypatch: pytest.MonkeyPatch):
    assert count_plays(monkeypatch, {"run.epochs": 33, "optimizer.kind": "adafactor"}) == []


def test_checkpointing_plays_only_the_training_again(monkeypatch: pytest.MonkeyPatch):
    assert count_plays(monkeypatch, {"run.gradient_checkpointing": True}) == ["play_training"]


def test_larger_samples_play_only_the_pictures_again(monkeypatch: pytest.MonkeyPatch):
    assert count_plays(monkeypatch, {"samples.width": 128}) == ["play_pictures"]


def test_a_forecast_made_twice_is_the_same_and_leaves_no_adapter_behind():
    config = make_config({"model": {"base": "workshop"}})
    first = forecast_memory(config, SHAPE, "cpu")
    played._training.cache_clear()
    assert forecast_memory(config, SHAPE, "cpu") == first
    layers = {type(module).__module__ for module in played.blueprint_of(config).denoiser.modules()}
    assert not [name for name in layers if name.startswith("peft")]
