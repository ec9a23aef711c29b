import math
import random

import pytest

from lora_nb.config import TrainConfig
from lora_nb.config_file import change_settings
from lora_nb.dataset.buckets import Bucket, fit_picture
from lora_nb.dataset.images import Dataset
from lora_nb.dataset.steps import plan_steps, solve_repeats
from lora_nb.errors import ConfigError, DatasetError
from tests.dataset.pictures import make_dataset, make_item

SIZES = [(512, 512), (640, 427), (427, 640), (900, 300), (1000, 1000)]


def run_config(epochs: int = 1, batch_size: int = 1, accumulation: int = 1) -> TrainConfig:
    run = {"run.epochs": epochs, "run.batch_size": batch_size, "run.gradient_accumulation_steps": accumulation}
    return change_settings(TrainConfig(), run)


def random_dataset(rng: random.Random) -> Dataset:
    names = range(rng.randint(1, 12))
    items = [make_item(f"{name:03}.png", rng.choice(SIZES), repeats=rng.randint(1, 9)) for name in names]
    return make_dataset(*items)


def simulate(dataset: Dataset, config: TrainConfig) -> tuple[int, int]:
    """Go through the whole training as a loop would, one picture at a time; count batches an epoch, and steps."""
    steps = batches = 0
    for _ in range(config.run.epochs):
        queues: dict[Bucket, list[str]] = {}
        for item in dataset.items:
            bucket = fit_picture(item.width, item.height, config.data).bucket
            queues.setdefault(bucket, []).extend([item.name] * item.repeats)
        batches = waiting = 0
        while any(queues.values()):
            bucket = next(bucket for bucket, queue in queues.items() if queue)
            queues[bucket] = queues[bucket][config.run.batch_size :]
            batches += 1
            waiting += 1
            if waiting == config.run.gradient_accumulation_steps:
                steps, waiting = steps + 1, 0
        steps += waiting > 0
    return batches, steps


def test_the_plan_is_what_a_loop_does():
    rng = random.Random(1)
    for _ in range(300):
        dataset = random_dataset(rng)
        config = run_config(rng.randint(1, 4), rng.randint(1, 7), rng.randint(1, 4))
        plan = plan_steps(dataset, config)

        assert (plan.batches_per_epoch, plan.steps) == simulate(dataset, config)
        assert plan.steps == plan.steps_per_epoch * config.run.epochs == plan.steps_per_epoch * plan.epochs
        assert plan.seen_per_epoch == sum(item.repeats for item in dataset.items)
        assert plan.pictures == sum(count.pictures for count in plan.buckets) == len(dataset.items)
        assert plan.batches_per_epoch == sum(count.batches for count in plan.buckets)


def test_the_tutorials_own_formula_gives_20_repeats():
    dataset = make_dataset(*(make_item(f"{number}.png", (512, 512)) for number in range(10)))
    config = run_config(epochs=10, batch_size=2)

    assert solve_repeats(dataset, config, 1000) == 20 == 1000 // 10 // 10 * 2


def test_ten_shapes_need_other_repeats_than_the_formula_says():
    sizes = [(256 + 64 * number, 2400) for number in range(10)]
    dataset = make_dataset(*(make_item(f"{number}.png", size, repeats=5) for number, size in enumerate(sizes)))
    config = change_settings(run_config(10, 4), {"data.min_bucket_size": 64, "data.max_bucket_size": 4096})
    plan = plan_steps(dataset, config)

    formula = 10 * 10 * 5 / 4  # 125
    assert plan.steps == 10 * sum(math.ceil(count.seen / 4) for count in plan.buckets) > formula


def test_the_solved_repeats_are_the_nearest_there_are():
    rng = random.Random(2)
    for _ in range(20):
        dataset = random_dataset(rng)
        config = run_config(rng.randint(1, 4), rng.randint(1, 6), rng.randint(1, 4))
        target = rng.choice((rng.randint(1, 6), rng.randint(10, 300)))

        def steps(repeats: int, dataset: Dataset = dataset, config: TrainConfig = config) -> int:
            items = (make_item(item.name, (item.width, item.height), repeats=repeats) for item in dataset.items)
            return plan_steps(make_dataset(*items), config).steps

        nearest = min(range(1, 200), key=lambda repeats: abs(steps(repeats) - target)) if target < 7 else None
        solved = solve_repeats(dataset, config, target)
        assert nearest in (None, solved)
        error = abs(steps(solved) - target)
        assert all(error <= abs(steps(near) - target) for near in range(max(solved - 30, 1), solved + 30))
        assert solved == 1 or abs(steps(solved - 1) - target) > error  # the fewest


def test_a_huge_target_is_solved_at_once():
    dataset = make_dataset(make_item("a.png", (512, 512)))

    assert solve_repeats(dataset, run_config(1, 3), 10**12) == 3 * 10**12 - 2


def test_a_target_of_nothing_is_refused():
    with pytest.raises(ConfigError, match="at least 1"):
        solve_repeats(make_dataset(make_item("a.png", (512, 512))), run_config(), 0)


def test_the_aspect_error_is_kohyas_mean_over_pictures():
    items = [make_item("a.png", (512, 512), repeats=9), make_item("b.png", (600, 400))]
    plan = plan_steps(make_dataset(*items), run_config())

    assert plan.mean_aspect_error == pytest.approx((0 + abs(640 / 384 - 1.5)) / 2)


def test_no_pictures_is_an_error_that_names_the_folder():
    for count in (plan_steps, lambda dataset, config: solve_repeats(dataset, config, 5)):
        with pytest.raises(DatasetError, match="data: It holds no picture"):
            count(make_dataset(), run_config())


def test_a_picture_that_fits_no_bucket_is_named():
    config = change_settings(TrainConfig(), {"data.enlarge_pictures": False})

    with pytest.raises(DatasetError, match=r"1_x/narrow\.png: 20 x 900"):
        plan_steps(make_dataset(make_item("1_x/narrow.png", (20, 900))), config)
