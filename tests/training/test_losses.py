"""Losses and their weights equal kohya's numbers."""

import json
from pathlib import Path

import pytest
import torch

from lora_nb.config import LossConfig
from lora_nb.training.losses import LOSS_WEIGHTS, LOSSES, mean_over

DATA = Path(__file__).parents[1] / "data"
GOLDEN = json.loads((DATA / "loss_weights.json").read_text())


@pytest.mark.parametrize("prediction", ["epsilon", "v"])
@pytest.mark.parametrize("name", ["min_snr", "debiased"])
def test_weights_equal_kohyas(name, prediction):
    config = LossConfig(min_snr_gamma=GOLDEN["gamma"])
    weights = LOSS_WEIGHTS[name](torch.tensor(GOLDEN["snr"]), config, prediction)
    torch.testing.assert_close(weights, torch.tensor(GOLDEN[f"{name}_{prediction}"]), rtol=1e-5, atol=1e-7)


def test_no_weighting_treats_all_alike():
    assert LOSS_WEIGHTS["none"](torch.tensor([0.01, 1000.0]), LossConfig(), "v").tolist() == [1, 1]


def test_l2_equals_kohyas_and_is_one_number_an_example():
    golden = json.loads((DATA / "elementwise_losses.json").read_text())
    shape = (len(golden["prediction"]), 1, 1, 1)
    loss = LOSSES["l2"](torch.tensor(golden["prediction"]).view(shape), torch.tensor(golden["target"]).view(shape))
    torch.testing.assert_close(mean_over(loss, None), torch.tensor(golden["l2"]))


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
