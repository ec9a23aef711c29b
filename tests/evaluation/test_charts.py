import math

import numpy as np
import pytest
from PIL import Image

from lora_nb.dataset.buckets import Bucket
from lora_nb.dataset.steps import BucketCount, StepPlan
from lora_nb.errors import LoraNbError
from lora_nb.evaluation.charts import plot_buckets, plot_loss, plot_pictures, smooth


def test_smoothed_loss_is_unbiased_at_the_start() -> None:
    assert smooth([0.5, 0.5, 0.5], 100) == pytest.approx([0.5, 0.5, 0.5])


def test_smoothing_lowers_the_scatter_and_keeps_the_mean() -> None:
    values = np.random.default_rng(1).normal(1.0, 0.2, 2000)
    line = smooth(values, 100)
    assert line[500:].std() < 0.05
    assert line[500:].mean() == pytest.approx(1.0, abs=0.03)


def test_loss_plot_shows_each_step_and_the_mean() -> None:
    raw, mean = plot_loss([1, 2, 3, 4], [0.4, 0.2, 0.3, 0.1]).axes[0].lines
    assert list(raw.get_ydata()) == [0.4, 0.2, 0.3, 0.1]
    assert len(mean.get_ydata()) == 4


@pytest.mark.parametrize("losses", [[], [0.1], [math.nan], [0.0, 0.0]])
def test_loss_plot_bears_any_losses(losses: list[float]) -> None:
    plot_loss(range(len(losses)), losses)


def test_losses_that_are_no_numbers_are_counted() -> None:
    figure = plot_loss([1, 2, 3], [0.1, math.nan, math.inf])
    assert any("2 of 3 losses are not finite" in text.get_text() for text in figure.texts)


def test_losses_without_their_steps_are_refused() -> None:
    with pytest.raises(LoraNbError, match="2 steps but 1 losses"):
        plot_loss([1, 2], [0.1])


def test_bucket_plot_counts_as_the_plan_does() -> None:
    buckets = (BucketCount(Bucket(96, 160), 1, 10, 3), BucketCount(Bucket(128, 128), 4, 40, 10))
    plan = StepPlan(5, 50, buckets, 13, 13, 2, 26, 0, 0.0)
    texts = [text.get_text() for text in plot_buckets(plan).axes[0].texts]
    assert "5 pictures   →   13 steps \u00d7 2 epochs = 26 steps" in texts
    assert "4 pictures, seen 40 times in 10 batches" in texts
    assert "96 \u00d7 160" in texts


@pytest.mark.parametrize("count", [0, 1, 5, 30])
def test_contact_sheet_shows_every_picture_with_its_caption(count: int) -> None:
    pictures = [Image.new("RGB", (64 + 8 * number, 64)) for number in range(count)]
    axes = plot_pictures(pictures, [f"tag{number}" for number in range(count)]).axes[0]
    assert len(axes.images) == count
    assert [text.get_text() for text in axes.texts] == [f"tag{number}" for number in range(count)]


def test_captions_that_do_not_fit_the_pictures_are_refused() -> None:
    with pytest.raises(LoraNbError, match="1 pictures but 2 captions"):
        plot_pictures([Image.new("RGB", (8, 8))], ["a", "b"])
