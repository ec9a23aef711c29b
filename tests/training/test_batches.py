"""Batches: every picture as often as promised, one bucket at a time, in an order that the seed decides."""

from collections import Counter

import pytest

from lora_nb.config_file import change_settings
from lora_nb.dataset.final_captions import final_caption
from lora_nb.dataset.images import scan_images
from lora_nb.dataset.steps import plan_steps
from lora_nb.models.base import load_model
from lora_nb.training.batches import View, count_steps, epoch_batches, epoch_steps, make_batches
from lora_nb.training.cache import cache_dataset


@pytest.fixture
def images(project, config):
    return cache_dataset(load_model(config.model), scan_images(project.images), config.data, project.cache)


def test_an_epoch_shows_every_picture_as_often_as_its_repeats(images, config):
    seen = Counter(view for batch in epoch_batches(images, config, 1) for view in batch)
    assert seen == {View(position, 1, look): 1 for position in range(5) for look in range(2)}


def test_a_batch_holds_one_bucket(images, config):
    for batch in epoch_batches(images, config, 1):
        assert len({images[view.position].fit.bucket for view in batch}) == 1


@pytest.mark.parametrize(("batch_size", "accumulation"), [(1, 1), (2, 1), (3, 2), (4, 3), (7, 5)])
def test_the_plan_counts_the_real_steps(project, images, config, batch_size, accumulation):
    changed = change_settings(
        config, {"run.batch_size": batch_size, "run.gradient_accumulation_steps": accumulation, "run.epochs": 3}
    )
    plan = plan_steps(scan_images(project.images), changed)
    assert (
        plan.steps == count_steps(images, changed) == sum(len(list(epoch_steps(images, changed, e))) for e in (1, 2, 3))
    )


def test_epochs_differ_but_the_seed_repeats_them(images, config):
    assert epoch_batches(images, config, 1) == epoch_batches(images, config, 1)
    assert epoch_batches(images, config, 1) != epoch_batches(images, config, 2)
    assert epoch_batches(images, change_settings(config, {"run.seed": 1}), 1) != epoch_batches(images, config, 1)


def test_a_step_is_the_same_whatever_came_before_it(images, config):
    first, second = (
        next(iter(make_batches(images, [(View(0, 1, 0), View(1, 1, 0))], config, step=7))) for _ in range(2)
    )
    assert first.captions == second.captions and first.latents.equal(second.latents)
    assert first.captions[0].startswith("mochi, ") and sorted(first.captions[0].split(", ")) == [
        "forest",
        "mochi",
        "smile",
        "tag 0",
    ]


def test_accumulated_batches_draw_different_noise(images, config):
    one, two = make_batches(images, [(View(0, 1, 0),), (View(0, 1, 1),)], config, step=1)
    assert not one.latents.equal(two.latents)


def test_final_caption_shows_what_training_reads(project, images, config):
    changes = {"data.caption_dropout": 0.2, "data.tag_dropout": 0.3, "data.caption_prefix": "octo", "run.epochs": 3}
    changed = change_settings(config, changes)
    items = scan_images(project.images).items
    step, read, shown = 0, [], []
    for epoch in (1, 2, 3):
        for groups in epoch_steps(images, changed, epoch):
            step += 1
            for group, batch in zip(groups, make_batches(images, groups, changed, step), strict=True):
                read += batch.captions
                shown += [final_caption(items[view.position], changed, epoch, view.look) for view in group]
    assert read == shown and len(read) == 30 and len(set(read)) > 15
