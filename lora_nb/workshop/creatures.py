"""How a creature is painted: shadow, limbs, body, markings, face and clothes, from back to front.

Lengths are in body sizes: 1 is half the body's height, (0, 0) is the middle of the body, y points down.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import Image

from lora_nb.workshop.brush import Brush, Colour, Point, mix
from lora_nb.workshop.clothes import ACCESSORY_PAINTERS, HEADWEAR_PAINTERS, paint_antenna
from lora_nb.workshop.faces import FACES

if TYPE_CHECKING:
    from lora_nb.workshop.world import Creature

ORANGE: Colour = (255, 138, 24)
DARK, LIGHT = (50, 30, 70), (255, 255, 255)


@dataclass(frozen=True)
class Form:
    """What the other parts must know of a body shape."""

    top: float  # where headwear sits
    shoulder: float  # half the width where arms begin
    shoulder_y: float
    face: float  # the height of the face


FORMS = {
    "round": Form(-0.98, 0.98, 0.12, -0.12),
    "square": Form(-0.88, 0.9, 0.12, -0.12),
    "triangle": Form(-0.98, 0.72, 0.2, 0.1),
    "tall": Form(-1.16, 0.72, 0.2, -0.32),
    "star": Form(-1.12, 0.88, -0.08, 0.0),
    "cloud": Form(-0.84, 1.1, 0.12, -0.06),
}


class Pen:
    """Draws in body sizes around a body's middle."""

    def __init__(self, brush: Brush, x: float, y: float, size: float) -> None:
        self.brush, self.x, self.y, self.size = brush, x, y, size

    def at(self, x: float, y: float) -> Point:
        """Where a point of the body is on the canvas."""
        return self.x + x * self.size, self.y + y * self.size

    def ellipse(self, x: float, y: float, wide: float, high: float, colour: Colour, edge: float = 0) -> None:
        """An ellipse around (x, y)."""
        self.brush.ellipse(*self.at(x, y), wide * self.size, high * self.size, colour, edge * self.size)

    def box(self, left: float, top: float, right: float, bottom: float, colour: Colour, edge: float = 0) -> None:
        """A rectangle."""
        self.brush.box(*self.at(left, top), *self.at(right, bottom), colour, edge * self.size)

    def polygon(self, points: list[Point], colour: Colour, edge: float = 0) -> None:
        """A filled figure."""
        self.brush.polygon([self.at(x, y) for x, y in points], colour, edge * self.size)

    def line(self, points: list[Point], thickness: float, colour: Colour = DARK) -> None:
        """A stroke."""
        self.brush.line([self.at(x, y) for x, y in points], thickness * self.size, colour)

    def arc(
        self,
        x: float,
        y: float,
        wide: float,
        high: float,
        degrees: tuple[float, float],
        thickness: float,
        colour: Colour = DARK,
    ) -> None:
        """A stroke along an ellipse."""
        self.brush.arc(*self.at(x, y), wide * self.size, high * self.size, degrees, thickness * self.size, colour)


def paint_creature(brush: Brush, creature: Creature, colour: Colour, rng: random.Random) -> None:
    """Paint the whole creature onto its background."""
    size = min(0.285, brush.width * 0.29) * rng.uniform(0.94, 1.06)
    if creature.headwear == "none" and not creature.antenna:
        size *= 1.1
    if creature.body_shape in ("tall", "star"):
        size *= 0.93
    x = brush.width * (0.5 + rng.uniform(-0.06, 0.06))
    ground = 0.92 + rng.uniform(-0.02, 0.02)
    rise = {"jumping": 1.6, "sitting": 1.0}.get(creature.pose, 1.36)
    pen = Pen(brush, x, ground - rise * size, size)
    form = FORMS[creature.body_shape]
    limb = mix(colour, DARK, 0.22)
    _paint_shadow(pen, ground, creature.pose)
    if creature.pose != "sitting":
        _paint_legs(pen, creature.pose, limb)
    _paint_arms(pen, form, creature.pose, limb)
    if creature.antenna:
        paint_antenna(pen, form.top)
    _paint_body(pen, creature, colour)
    if creature.pose == "sitting":
        _paint_soles(pen, limb, colour)
    FACES[creature.expression](pen, form.face)
    ACCESSORY_PAINTERS[creature.accessory](pen, form.face)
    HEADWEAR_PAINTERS[creature.headwear](pen, form.top)


def _paint_shadow(pen: Pen, ground: float, pose: str) -> None:
    wide = 0.62 if pose == "jumping" else 0.95
    box = (pen.x - wide * pen.size, ground - 0.02, pen.x + wide * pen.size, ground + 0.035)
    left, top, right, bottom = (round(value * pen.brush.unit) for value in box)
    distance = Image.radial_gradient("L").resize((right - left, bottom - top))  # 0 in the middle
    pen.brush.image.paste(DARK, (left, top), distance.point(lambda value: max(0, 110 - value * 110 // 180)))


def _paint_legs(pen: Pen, pose: str, colour: Colour) -> None:
    for side in (-1, 1):
        if pose == "jumping":
            points = [(side * 0.4, 0.75), (side * 0.72, 1.1), (side * 0.5, 1.34)]
        else:
            points = [(side * 0.36, 0.7), (side * 0.36, 1.28)]
        _limb(pen, points, 0.24, colour)
        x, y = points[-1]
        pen.ellipse(x + side * 0.1, y, 0.25, 0.13, colour, 0.05)


def _paint_soles(pen: Pen, limb: Colour, colour: Colour) -> None:
    for side in (-1, 1):
        pen.ellipse(side * 0.6, 0.86, 0.3, 0.27, limb, 0.055)
        pen.ellipse(side * 0.6, 0.9, 0.16, 0.14, mix(colour, LIGHT, 0.45))


def _paint_arms(pen: Pen, form: Form, pose: str, colour: Colour) -> None:
    raised, lowered = (0.5, -0.78), (0.3, 0.62)
    hands = {
        "arms up": (raised, raised),
        "waving": (lowered, raised),
        "jumping": ((0.62, -0.2), (0.62, -0.2)),
        "sitting": ((0.34, 0.42), (0.34, 0.42)),
    }.get(pose, (lowered, lowered))
    for side, (reach, lift) in zip((-1, 1), hands, strict=True):
        start = (side * (form.shoulder - 0.14), form.shoulder_y)
        bend = (side * (form.shoulder + reach * 0.75), form.shoulder_y + lift * 0.35)
        hand = (side * (form.shoulder + reach), form.shoulder_y + lift)
        _limb(pen, [start, bend, hand], 0.2, colour)
        pen.ellipse(*hand, 0.16, 0.16, colour, 0.05)
        pen.ellipse(hand[0], hand[1], 0.1, 0.1, colour)


def _limb(pen: Pen, points: list[Point], thickness: float, colour: Colour) -> None:
    pen.line(points, thickness + 0.1)
    pen.line(points, thickness, colour)


def outline(shape: str) -> list[Point]:
    """The edge of a body, as a polygon in body sizes."""
    return [_edge(shape, math.tau * i / 96) for i in range(96)]


def _edge(shape: str, angle: float) -> Point:
    x, y = math.cos(angle), math.sin(angle)
    if shape == "square":
        bulge = (abs(x) ** 6 + abs(y) ** 6) ** (-1 / 6)
        return 0.94 * bulge * x, 0.92 * bulge * y
    if shape == "tall":
        bulge = (abs(x) ** 2.6 + abs(y) ** 2.6) ** (-1 / 2.6)
        return 0.76 * bulge * x, (1.2 if y < 0 else 0.96) * bulge * y
    if shape == "triangle":  # three straight sides, their corners cut round by the limit
        reach = min(0.56 / math.cos((angle - math.pi / 6) % (math.tau / 3) - math.pi / 3), 1.02)
        return 1.12 * reach * x, 0.34 + 1.2 * reach * y
    if shape == "star":
        reach = 1.02 + 0.2 * math.cos(5 * (angle + math.pi / 2))
        return reach * x, reach * y
    if shape == "cloud":
        reach = 1.0 + 0.1 * abs(math.sin(4 * angle + 0.4)) ** 0.7
        return 1.14 * reach * x, 0.84 * reach * y
    return 1.04 * x, y


def _paint_body(pen: Pen, creature: Creature, colour: Colour) -> None:
    points = [pen.at(x, y) for x, y in outline(creature.body_shape)]
    stencil = pen.brush.mask(points)
    clean = pen.brush.image.copy()
    pen.ellipse(0, 0, 1.7, 1.7, mix(colour, DARK, 0.2))
    for i in range(4):  # ever lighter towards the upper left: a soft ball
        grow = 1.55 - 0.22 * i
        shade = mix(mix(colour, DARK, 0.15), mix(colour, LIGHT, 0.2), (i + 1) / 4)
        pen.ellipse(-0.1 * (i + 1), -0.16 * (i + 1), grow, grow, shade)
    MARKING_PAINTERS[creature.marking](pen, creature, colour)
    inside = pen.brush.image.copy()
    pen.brush.image.paste(clean)
    pen.brush.image.paste(inside, (0, 0), stencil)
    pen.brush.line([*points, points[0], points[1]], 0.07 * pen.size, DARK)


def _paint_no_marking(pen: Pen, creature: Creature, colour: Colour) -> None:
    pass


def _paint_spots(pen: Pen, creature: Creature, colour: Colour) -> None:
    shade = mix(colour, DARK, 0.42)
    low = ((-0.72, 0.5, 0.17), (-0.3, 0.78, 0.15), (0.22, 0.62, 0.18), (0.72, 0.45, 0.15))
    high = ((-0.62, -0.62, 0.15), (0.62, -0.6, 0.17), (0.02, -0.84, 0.14))
    for x, y, radius in (*low, *high):
        pen.ellipse(x, y, radius, radius, shade)


def _paint_belly(pen: Pen, creature: Creature, colour: Colour) -> None:
    pale = (214, 190, 150) if creature.body_colour == "white" else mix(colour, (255, 250, 235), 0.72)
    pen.ellipse(0, 0.74, 0.6, 0.46, pale)


def _paint_hearts(pen: Pen, creature: Creature, colour: Colour) -> None:
    shade = (255, 196, 214) if creature.body_colour in ("red", "pink", "purple", "brown") else (236, 60, 100)
    for x, y in ((-0.6, 0.56), (0.0, 0.74), (0.6, 0.56)):
        for side in (-1, 1):
            pen.ellipse(x + side * 0.085, y - 0.06, 0.11, 0.11, shade)
        pen.polygon([(x - 0.18, y), (x + 0.18, y), (x, y + 0.22)], shade)


def _paint_stripes(pen: Pen, creature: Creature, colour: Colour) -> None:
    for y in (-0.78, 0.42, 0.82):
        pen.line([(-1.6, y - 0.05), (-0.6, y + 0.03), (0.6, y + 0.03), (1.6, y - 0.05)], 0.2, ORANGE)


MARKING_PAINTERS = {
    "none": _paint_no_marking,
    "spots": _paint_spots,
    "belly patch": _paint_belly,
    "hearts": _paint_hearts,
    "stripes": _paint_stripes,
}
