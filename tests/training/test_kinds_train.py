"""Every kind of adapter in a whole training: nothing but its settings and pictures changes what it learns."""

import pytest
import torch
from safetensors.torch import load_file

from lora_nb.config_file import change_settings
from lora_nb.training.runs import train_project

KINDS = {
    "lora": {"adapter.dropout": 0.3, "adapter.rank_dropout": 0.2},
    "locon": {"adapter.dropout": 0.3, "adapter.conv_rank": 2},
    "loha": {"adapter.rank_dropout": 0.3},
    "lokr": {"adapter.rank_dropout": 0.3},
    "dora": {},
}
SAMPLES = {"samples.prompts": ["mochi"], "samples.steps": 2, "samples.width": 64, "samples.height": 64}


def learn(project, config, run, **changes):
    changes = {"run.epochs": 1, "run.save_precision": "fp32"} | changes
    folder = train_project(project, change_settings(config, changes), run=run, on_event=lambda event: None)
    return load_file(folder / "loras" / "mochi.safetensors")


def same(one, other):
    return one.keys() == other.keys() and all(one[key].equal(other[key]) for key in one)


@pytest.mark.parametrize("kind", KINDS)
def test_previews_and_checkpointing_change_nothing_and_half_precision_trains(project, config, kind):
    options = {"adapter.kind": kind, "adapter.module_dropout": 0.2} | KINDS[kind]
    plain = learn(project, config, "plain", **options)
    assert same(plain, learn(project, config, "previews", **options, **SAMPLES))
    checkpointed = learn(project, config, "checkpointed", **options, **{"run.gradient_checkpointing": True})
    for key, values in plain.items():
        torch.testing.assert_close(checkpointed[key], values, msg=key)
    half = learn(project, config, "half", **options, **{"run.precision": "bf16"})
    assert half.keys() == plain.keys() and all(torch.isfinite(values).all() for values in half.values())


def test_two_trainings_in_one_process_do_not_see_each_other(project, config):
    alone = learn(project, config, "alone")
    learn(project, config, "between", **{"adapter.kind": "locon", "adapter.conv_rank": 2})
    assert same(alone, learn(project, config, "after"))
