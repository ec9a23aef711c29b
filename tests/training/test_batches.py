"""Batches: every picture as often as promised, one bucket at a time, in an order that the seed decides."""

from collections import Counter

import pytest
from PIL import Image

from lora_nb.config_file import change_settings
from lora_nb.dataset.final_captions import final_caption, looks_per_epoch
from lora_nb.dataset.held_out import split_dataset
from lora_nb.dataset.images import scan_images
from lora_nb.dataset.steps import plan_steps
from lora_nb.models.base import load_model
from lora_nb.training.batches import count_steps, epoch_batches, epoch_steps, make_batches
from lora_nb.training.cache import cache_dataset
from lora_nb.training.views import View


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


COMBINATIONS = [
    {"data.extra_resolutions": (48, 96), "data.flip": True},
    {"data.validation_split": 0.4, "data.extra_resolutions": (80,), "run.batch_size": 3},
    {"data.random_crop": True, "data.enable_buckets": False, "run.gradient_accumulation_steps": 2},
    {"data.extra_resolutions": (32,), "data.enlarge_pictures": False, "data.prior_loss_weight": 0.5},
]


@pytest.mark.parametrize("changes", COMBINATIONS)
@pytest.mark.parametrize("regularisation", [True, False])
def test_the_plan_is_exact_for_every_way_to_show_pictures(project, config, changes, regularisation):
    if regularisation:
        folder = project.root / "regularisation" / "3_creature"
        folder.mkdir(parents=True)
        for number in range(2):
            Image.new("RGB", (64, 64 + 30 * number), (number, 9, 9)).save(folder / f"r{number}.png")
    changed = change_settings(config, changes)
    dataset = scan_images(project.images)
    plan, training = plan_steps(dataset, changed), split_dataset(dataset, changed).training
    images = cache_dataset(load_model(changed.model), training, changed.data, project.cache)
    step, seen, sizes = 0, Counter(), Counter()
    for epoch in range(1, changed.run.epochs + 1):
        for groups in epoch_steps(images, changed, epoch):
            step += 1
            for group, batch in zip(groups, make_batches(images, groups, changed, step), strict=True):
                seen.update((view.epoch, images[view.position].item.name, view.look) for view in group)
                sizes[tuple(4 * side for side in batch.latents.shape[:1:-1])] += len(group)
                weights = [changed.data.prior_loss_weight if "creature" in name else 1.0 for name in batch.names]
                assert batch.weights.tolist() == weights
    assert step == plan.steps and seen.total() == plan.seen_per_epoch * plan.epochs
    assert set(seen.values()) == {1}, "one look is one look"
    assert sizes == {tuple(count.bucket): count.seen * plan.epochs for count in plan.buckets}
    looks = {(item.name, look) for item in training.items for look in range(looks_per_epoch(item, changed.data))}
    assert {(name, look) for _, name, look in seen} == looks
