"""The workshop's picture world: cartoon creatures whose every feature is known, so a model's pictures can be judged.

A `Creature` is a handful of independent features. `draw` paints it at any size, `tags` names what is on it.
The base model learns `random_creature`s. The held-out features (a teal body, orange stripes, an antenna) are never
among them: they make the demo's subject, which only a LoRA can teach.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from PIL import Image

from lora_nb.workshop.brush import Brush, Colour
from lora_nb.workshop.creatures import paint_creature
from lora_nb.workshop.scenery import SCENES

SIDE = 64  # the size the shipped model knows best
SUPERSAMPLING = 3  # drawn three times larger, then reduced: smooth edges

BODY_COLOURS: dict[str, Colour] = {
    "red": (226, 62, 66),
    "yellow": (250, 208, 60),
    "green": (92, 186, 76),
    "blue": (62, 112, 224),
    "purple": (146, 84, 204),
    "pink": (248, 142, 186),
    "white": (246, 244, 240),
    "brown": (150, 98, 60),
    "grey": (138, 142, 150),
}
HELD_OUT_COLOURS: dict[str, Colour] = {"teal": (20, 168, 160)}
BODY_SHAPES = ("round", "square", "triangle", "tall", "star", "cloud")
EXPRESSIONS = ("smile", "laughing", "sad", "angry", "surprised", "sleepy")
POSES = ("standing", "arms up", "waving", "jumping", "sitting")
HEADWEAR = ("none", "top hat", "crown", "cap", "flower", "bow", "party hat")
BACKGROUNDS = tuple(SCENES)
MARKINGS = ("none", "spots", "belly patch", "hearts")
ACCESSORIES = ("none", "scarf", "glasses")

SUBJECT_TAGS = ("teal body", "orange stripes", "antenna")  # the held-out features: no base picture has one of them


@dataclass(frozen=True)
class Creature:
    """One creature and where it stands: all that a picture of it shows."""

    body_colour: str
    body_shape: str
    expression: str
    pose: str
    headwear: str
    background: str
    marking: str = "none"  # one of MARKINGS, or "stripes", which is held out
    accessory: str = "none"
    antenna: bool = False  # held out
    seed: int = 0  # decides place, size, hue and scenery, which no tag names


def random_creature(rng: random.Random) -> Creature:
    """Make any creature of the base model's world."""
    return Creature(
        body_colour=rng.choice(list(BODY_COLOURS)),
        body_shape=rng.choice(BODY_SHAPES),
        expression=rng.choice(EXPRESSIONS),
        pose=rng.choice(POSES),
        headwear="none" if rng.random() < 0.3 else rng.choice(HEADWEAR[1:]),
        background=rng.choice(BACKGROUNDS),
        marking="none" if rng.random() < 0.4 else rng.choice(MARKINGS[1:]),
        accessory="none" if rng.random() < 0.6 else rng.choice(ACCESSORIES[1:]),
        seed=rng.getrandbits(32),
    )


def random_unusual_creature(rng: random.Random) -> Creature:
    """Make a creature with any mixture of held-out features: for judge and autoencoder, never for the base model."""
    creature = random_creature(rng)
    if rng.random() < 0.6:
        creature = replace(creature, body_colour="teal")
    if rng.random() < 0.6:
        creature = replace(creature, marking="stripes")
    if rng.random() < 0.6:
        creature = replace(creature, antenna=True, headwear="none")  # a hat would hide it
    return creature


def tags(creature: Creature) -> list[str]:
    """Name what the picture shows, in the words of booru taggers."""
    found = [f"{creature.body_colour} body", f"{creature.body_shape} body"]
    if creature.marking != "none":
        found.append("orange stripes" if creature.marking == "stripes" else creature.marking)
    if creature.antenna:
        found.append("antenna")
    found += [creature.expression, creature.pose]
    found += [name for name in (creature.headwear, creature.accessory) if name != "none"]
    return [*found, creature.background]


def base_tags() -> list[str]:
    """All tags that pictures of the base world can have."""
    return [
        *(f"{colour} body" for colour in BODY_COLOURS),
        *(f"{shape} body" for shape in BODY_SHAPES),
        *EXPRESSIONS,
        *POSES,
        *HEADWEAR[1:],
        *MARKINGS[1:],
        *ACCESSORIES[1:],
        *BACKGROUNDS,
    ]


def all_tags() -> list[str]:
    """All tags, the held-out ones included: what the tagger knows."""
    return [*base_tags(), *SUBJECT_TAGS]


def draw(creature: Creature, width: int = SIDE, height: int = SIDE) -> Image.Image:
    """Paint a creature. The same creature at the same size is always the same picture."""
    rng = random.Random(creature.seed)
    brush = Brush(width * SUPERSAMPLING, height * SUPERSAMPLING)
    SCENES[creature.background](brush, rng)
    colour = {**BODY_COLOURS, **HELD_OUT_COLOURS}[creature.body_colour]
    varied = tuple(max(0, min(255, value + rng.randint(-10, 10))) for value in colour)
    paint_creature(brush, creature, (varied[0], varied[1], varied[2]), rng)
    return brush.image.resize((width, height), Image.Resampling.BOX)
