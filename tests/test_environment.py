"""What this machine is."""

import pytest

from lora_nb.environment import Machine, find_machine, find_place
from lora_nb.errors import ConfigError
from lora_nb.presets.advice import advise_config


def machine(**changes):
    facts = {"place": "local", "python": "3.11", "cpu_cores": 2, "memory_gib": 12.0, "gpu": None}
    facts |= {"gpu_memory_gib": 0.0, "has_bf16": False, "disk_free_gib": 50.0}
    return Machine(**(facts | changes))


def test_the_precision_fits_the_gpu():
    assert machine().precision == "fp32"
    assert machine(gpu="Tesla T4", gpu_memory_gib=14.6).precision == "fp16"
    assert machine(gpu="A100", gpu_memory_gib=40.0, has_bf16=True).precision == "bf16"


def test_advised_settings_follow_the_machine_and_the_model():
    t4 = advise_config(machine(gpu="Tesla T4", gpu_memory_gib=14.6), "owner/model", ("mochi", "hat"))
    assert t4.run.precision == "fp16" and t4.data.resolution == 512 and t4.data.keep_tokens == 2
    xl = advise_config(machine(gpu="Tesla T4", gpu_memory_gib=14.6), "owner/xl", ("mochi",), "sdxl")
    assert xl.data.resolution == xl.samples.width == 1024 and xl.run.gradient_checkpointing
    schnell = advise_config(machine(gpu="A100", gpu_memory_gib=80.0, has_bf16=True), "o/FLUX.1-schnell", (), "flux")
    assert schnell.samples.guidance_scale == 1 and schnell.model.t5_tokens == 256
    assert schnell.noise.offset == 0 and schnell.loss.weighting == "none" and schnell.data.resolution == 1024
    with pytest.raises(ConfigError, match="not a model family"):
        advise_config(machine(), "o/x", (), "sd9")
    small = advise_config(machine(), trigger_words=("mochi",))
    assert small.model.base == "workshop" and small.run.precision == "fp32" and small.samples.prompts == ("mochi",)


def test_colab_is_known_by_its_environment(monkeypatch):
    monkeypatch.delenv("COLAB_GPU", raising=False)
    monkeypatch.setenv("COLAB_RELEASE_TAG", "release-colab-20260819")
    assert find_place() == "colab"
    monkeypatch.delenv("COLAB_RELEASE_TAG")
    assert find_place() == "local"


def test_this_machine_is_found(tmp_path):
    found = find_machine(tmp_path)
    assert found.cpu_cores >= 1 and found.memory_gib > 0.5 and found.disk_free_gib > 0
