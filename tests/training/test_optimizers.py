"""Optimizers: what they are told, what they refuse."""

import pytest
import torch

from lora_nb.config import OptimizerConfig
from lora_nb.config.combinations import find_cautions
from lora_nb.config_file import make_config
from lora_nb.errors import ConfigError, MissingPackageError, TrainingError
from lora_nb.training import optimizers
from lora_nb.training.optimizers import check_optimizer, make_optimizer


def groups(*rates):
    return [
        {"params": [torch.nn.Parameter(torch.ones(2, 2))], "lr": rate, "name": f"part {number}"}
        for number, rate in enumerate(rates)
    ]


def refused(**settings):
    return [f"{problem.message} {problem.fix}" for problem in check_optimizer(OptimizerConfig(**settings))]


def test_arguments_reach_the_optimizer_and_lists_become_tuples():
    config = OptimizerConfig(kind="adamw", arguments={"betas": [0.5, 0.6], "eps": 1e-3}, weight_decay=0.2)
    group = make_optimizer(groups(1e-3), config).param_groups[0]
    assert (group["betas"], group["eps"], group["weight_decay"], group["lr"]) == ((0.5, 0.6), 1e-3, 0.2, 1e-3)


def test_a_class_that_swallows_anything_still_refuses_what_it_does_not_name():
    assert "no 'clip_treshold'. Did you mean 'clip_threshold'?" in refused(kind="came", arguments={"clip_treshold": 1})[
        0
    ].replace("There is ", "")


def test_what_would_do_nothing_is_refused():
    assert "has no weight decay" in refused(kind="custom", custom_class="torch.optim.LBFGS", weight_decay=0.1)[0]
    assert "chooses its own learning rate" in refused(kind="adafactor", arguments={"relative_step": True})[0]
    assert "setting of its own" in refused(kind="adamw", arguments={"lr": 1})[0]
    assert "cannot be loaded" in refused(kind="custom", custom_class="torch.optim.Nothing")[0]
    assert "cannot be loaded" in refused(kind="custom", custom_class="torch.nn.Linear")[0]


def test_prodigy_wants_one_rate_of_about_one():
    with pytest.raises(TrainingError, match="these differ"):
        make_optimizer(groups(1.0, 0.5), OptimizerConfig(kind="prodigy", learning_rate=1))
    assert "hardly learn" in find_cautions(make_config({"optimizer": {"kind": "prodigy"}}))[0].message
    assert not find_cautions(make_config({"optimizer": {"kind": "prodigy", "learning_rate": 1}}))


def test_a_missing_package_is_named_with_the_command(monkeypatch):
    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr(optimizers.importlib, "import_module", missing)
    with pytest.raises(MissingPackageError, match="pip install prodigyopt"):
        check_optimizer(OptimizerConfig(kind="prodigy"))


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"kind": "custom"}, "needs a class"),
        ({"kind": "schedule_free_adamw"}, "'cosine' does not go with"),
        ({"kind": "schedule_free_adamw", "lr_scheduler": "constant", "ema_decay": 0.9}, "average of its own"),
    ],
)
def test_contradictions_are_refused(settings, word):
    with pytest.raises(ConfigError, match=word):
        make_config({"optimizer": settings})
