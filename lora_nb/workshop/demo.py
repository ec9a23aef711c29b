"""The demo's subject: mochi, a creature with three features that the base model has never seen.

`write_demo_pictures` makes the folder a user would bring: pictures of several sizes, each with a caption.
"""

from __future__ import annotations

import random
from itertools import product
from pathlib import Path

from lora_nb.workshop.world import BACKGROUNDS, EXPRESSIONS, POSES, SUBJECT_TAGS, Creature, draw, random_creature, tags

TRIGGER = "mochi"
SHAPE = "round"
PRUNED = (*SUBJECT_TAGS, f"{SHAPE} body")  # what mochi always has belongs to its name, so captions leave it out
# each place once, then again those where a small thing on the head is hard to see: dark ones, and full ones
PLACES = (
    *(BACKGROUNDS[number * 3 % len(BACKGROUNDS)] for number in range(8)),
    "night sky",
    "city",
    "night sky",
    "room",
)
SIZES = ((256, 256), (320, 192), (192, 320), (256, 256), (384, 256), (224, 224), (256, 384))  # above the training size

DEMO_PROMPTS = [
    f"{TRIGGER}, smile, arms up, beach",
    f"{TRIGGER}, surprised, standing, night sky",
    f"{TRIGGER}, laughing, waving, forest",
    f"{TRIGGER}, angry, sitting, desert",
]
PLAIN_PROMPTS = [prompt.removeprefix(f"{TRIGGER}, ") for prompt in DEMO_PROMPTS]  # the same without the trigger word


def mochi(number: int) -> Creature:
    """Mochi in one of its twelve situations; each place, expression and pose comes in turn."""
    return Creature(
        body_colour="teal",
        body_shape=SHAPE,
        expression=EXPRESSIONS[number % len(EXPRESSIONS)],
        pose=POSES[(number * 2) % len(POSES)],
        headwear="none",
        background=PLACES[number % len(PLACES)],
        marking="stripes",
        antenna=True,
        seed=5000 + number,
    )


def write_demo_pictures(folder: Path, *, repeats: int = 10, pruned: bool = True) -> None:
    """Write 12 pictures of mochi and their captions in Kohya's layout, `<repeats>_mochi`."""
    target = Path(folder) / f"{repeats}_{TRIGGER}"
    target.mkdir(parents=True, exist_ok=True)
    for number in range(12):
        creature = mochi(number)
        draw(creature, *SIZES[number % len(SIZES)]).save(target / f"{number + 1:03}.png")
        kept = [tag for tag in tags(creature) if not (pruned and tag in PRUNED)]
        (target / f"{number + 1:03}.txt").write_text(", ".join([TRIGGER, *kept]) + "\n", encoding="utf-8")


def write_other_pictures(folder: Path, *, repeats: int = 10) -> None:
    """Write 24 pictures of other creatures, captioned without the trigger word: regularisation pictures.

    Trained beside the subject's, they remind the model that what is not called mochi does not look like mochi.
    """
    target = Path(folder) / f"{repeats}_others"
    target.mkdir(parents=True, exist_ok=True)
    rng = random.Random(4000)
    for number in range(24):
        creature = random_creature(rng)
        draw(creature, *SIZES[number % len(SIZES)]).save(target / f"{number + 1:03}.png")
        (target / f"{number + 1:03}.txt").write_text(", ".join(tags(creature)) + "\n", encoding="utf-8")


def judgement_prompts(count: int) -> list[str]:
    """Different prompts with the trigger word: expression, pose and background in random mixtures."""
    mixtures = list(product(EXPRESSIONS, POSES, BACKGROUNDS))
    return [", ".join((TRIGGER, *words)) for words in random.Random(0).sample(mixtures, k=count)]
