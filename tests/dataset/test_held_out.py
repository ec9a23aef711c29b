import random
import shutil

import pytest
from PIL import Image

from lora_nb.config import TrainConfig
from lora_nb.config_file import change_settings
from lora_nb.dataset.held_out import hash_picture, split_dataset
from lora_nb.dataset.images import scan_images
from lora_nb.dataset.steps import plan_steps
from lora_nb.errors import DatasetError


def config(share: float, seed: int = 0) -> TrainConfig:
    return change_settings(TrainConfig(), {"data.validation_split": share, "run.seed": seed})


@pytest.fixture
def folder(tmp_path):
    """Twenty pictures, two of them also there as copies, and three of the class in general."""
    rng = random.Random(0)
    for number in range(20):
        place = tmp_path / "images" / f"{1 + number % 3}_x" / f"{number}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (64, 64), tuple(rng.randrange(256) for _ in range(3))).save(place)
    for number in (0, 1):
        shutil.copy(
            tmp_path / "images" / f"{1 + number}_x" / f"{number}.png", tmp_path / "images" / "1_x" / f"c{number}.png"
        )
    for number in range(3):
        place = tmp_path / "regularisation" / "2_dog" / f"{number}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (64, 64), (number, 0, 0)).save(place)
    return tmp_path / "images"


def test_no_picture_is_on_both_sides_under_any_name(folder):
    dataset = scan_images(folder)
    for seed in range(30):
        training, held_out = split_dataset(dataset, config(0.2, seed))
        assert sorted((*training.items, *held_out.items), key=lambda item: item.path) == sorted(
            dataset.items, key=lambda item: item.path
        )
        assert not {hash_picture(item) for item in training.items} & {hash_picture(item) for item in held_out.items}
        assert len({hash_picture(item) for item in held_out.items}) == 4
        assert not any(item.is_regularisation for item in held_out.items)


def test_the_choice_is_the_seeds_and_not_the_names(folder):
    dataset = scan_images(folder)
    first = {hash_picture(item) for item in split_dataset(dataset, config(0.3)).held_out.items}
    assert first != {hash_picture(item) for item in split_dataset(dataset, config(0.3, 1)).held_out.items}
    for number, path in enumerate(sorted(folder.rglob("*.png"))):
        path.rename(path.with_name(f"{'zyxwvu'[number % 6]}{number}.png"))
    assert first == {hash_picture(item) for item in split_dataset(scan_images(folder), config(0.3)).held_out.items}


def test_nothing_is_held_out_unless_asked(folder):
    dataset = scan_images(folder)
    assert (
        split_dataset(dataset, config(0)).training == dataset and not split_dataset(dataset, config(0)).held_out.items
    )


def test_the_plan_counts_what_is_left(folder):
    dataset = scan_images(folder)
    plan = plan_steps(dataset, config(0.2))
    held_out = split_dataset(dataset, config(0.2)).held_out.items
    assert plan.held_out == len(held_out) and plan.pictures == 25 - len(held_out)
    assert plan.seen_per_epoch == sum(i.repeats for i in dataset.items) - sum(i.repeats for i in held_out)


def test_one_picture_cannot_be_split(tmp_path):
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    with pytest.raises(DatasetError, match="not two different"):
        split_dataset(scan_images(tmp_path), config(0.1))
