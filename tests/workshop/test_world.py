"""The picture world keeps its promises: exact tags, fixed pictures, and features that the base model never sees."""

import random
from dataclasses import replace

import numpy as np
import pytest

from lora_nb.workshop.demo import PRUNED, TRIGGER, judgement_prompts, mochi, write_demo_pictures
from lora_nb.workshop.world import (
    SUBJECT_TAGS,
    all_tags,
    base_tags,
    draw,
    random_creature,
    random_unusual_creature,
    tags,
)


def test_tags_name_every_feature_of_a_creature():
    creature = replace(mochi(0), headwear="crown", accessory="scarf")
    assert {"teal body", "round body", "orange stripes", "antenna", "crown", "scarf"} <= set(tags(creature))
    assert {creature.expression, creature.pose, creature.background} <= set(tags(creature))


def test_the_same_seed_gives_the_same_picture():
    creature = random_creature(random.Random(3))
    assert np.array_equal(np.asarray(draw(creature)), np.asarray(draw(creature)))


def test_another_feature_gives_another_picture():
    creature = replace(mochi(0), expression="smile")
    assert not np.array_equal(np.asarray(draw(creature)), np.asarray(draw(replace(creature, expression="angry"))))


@pytest.mark.parametrize("size", [(64, 64), (48, 80), (192, 96)])
def test_pictures_have_the_asked_size(size):
    assert draw(mochi(1), *size).size == size


def test_held_out_features_are_never_in_the_base_world():
    rng = random.Random(0)
    seen = {tag for _ in range(3000) for tag in tags(random_creature(rng))}
    assert seen == set(base_tags())
    assert not seen & set(SUBJECT_TAGS)


def test_unusual_creatures_show_every_tag():
    rng = random.Random(0)
    assert {tag for _ in range(3000) for tag in tags(random_unusual_creature(rng))} == set(all_tags())


def test_demo_has_twelve_pictures_with_pruned_captions(tmp_path):
    write_demo_pictures(tmp_path, repeats=5)
    folder = tmp_path / "5_mochi"
    captions = [path.read_text(encoding="utf-8").strip().split(", ") for path in sorted(folder.glob("*.txt"))]
    assert len(list(folder.glob("*.png"))) == len(captions) == 12
    assert all(words[0] == TRIGGER and not set(words) & set(PRUNED) for words in captions)


def test_unpruned_captions_keep_the_subjects_tags(tmp_path):
    write_demo_pictures(tmp_path, repeats=5, pruned=False)
    words = (tmp_path / "5_mochi" / "001.txt").read_text(encoding="utf-8").strip().split(", ")
    assert set(PRUNED) <= set(words)


def test_judgement_prompts_are_all_different():
    assert len(set(judgement_prompts(40))) == 40
