"""What a creature can wear. Headwear is painted at the top of the body, accessories around the face."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lora_nb.workshop.creatures import Pen

INK, WHITE = (44, 34, 52), (255, 255, 255)
FRAMES = (196, 30, 90)
GOLD, RED, BLUE, GREEN, PINK = (255, 206, 50), (222, 48, 58), (48, 98, 214), (64, 166, 92), (252, 120, 176)
EDGE = 0.055


def paint_antenna(pen: Pen, top: float) -> None:
    """A feeler with a glowing ball: held out, the demo subject's own."""
    pen.line([(0, top + 0.1), (0.02, top - 0.1), (0.06, top - 0.25)], 0.14, INK)
    pen.ellipse(0.07, top - 0.42, 0.34, 0.34, (255, 238, 150))
    pen.ellipse(0.07, top - 0.42, 0.25, 0.25, (255, 190, 30), 0.06)
    pen.ellipse(0.01, top - 0.5, 0.07, 0.07, WHITE)


def paint_top_hat(pen: Pen, top: float) -> None:
    """A black hat with a red band."""
    pen.box(-0.4, top - 0.62, 0.4, top + 0.06, (58, 52, 66), EDGE)
    pen.box(-0.38, top - 0.16, 0.38, top + 0.02, RED)
    pen.ellipse(0, top + 0.08, 0.68, 0.12, (58, 52, 66), EDGE)


def paint_crown(pen: Pen, top: float) -> None:
    """Gold with a red stone."""
    points = [(-0.48, top + 0.12), (-0.54, top - 0.4), (-0.25, top - 0.16), (0, top - 0.52)]
    mirrored = [(-x, y) for x, y in reversed(points[:-1])]
    pen.polygon([*points, *mirrored], GOLD, EDGE)
    pen.ellipse(0, top - 0.06, 0.1, 0.1, RED)
    for x in (-0.28, 0.28):
        pen.ellipse(x, top, 0.07, 0.07, BLUE)


def paint_cap(pen: Pen, top: float) -> None:
    """A blue cap with its peak to the right."""
    points = [(0.56 * math.cos(a), top + 0.14 - 0.5 * math.sin(a)) for a in (math.pi * i / 16 for i in range(17))]
    pen.polygon([(0.5, top + 0.02), (1.0, top + 0.06), (0.98, top + 0.17), (0.4, top + 0.17)], (34, 72, 168), EDGE)
    pen.polygon(points, BLUE, EDGE)
    pen.ellipse(0, top - 0.12, 0.13, 0.13, WHITE)


def paint_flower(pen: Pen, top: float) -> None:
    """A pink blossom with a leaf."""
    pen.ellipse(0.4, top + 0.06, 0.22, 0.11, GREEN, 0.04)
    for i in range(5):
        angle = math.tau * i / 5 - math.pi / 2
        pen.ellipse(0.24 * math.cos(angle), top - 0.14 + 0.24 * math.sin(angle), 0.19, 0.19, PINK, 0.04)
    pen.ellipse(0, top - 0.14, 0.16, 0.16, GOLD, 0.03)


def paint_bow(pen: Pen, top: float) -> None:
    """A red ribbon."""
    for side in (-1, 1):
        pen.polygon([(0, top), (side * 0.56, top - 0.34), (side * 0.56, top + 0.26)], RED, EDGE)
    pen.ellipse(0, top - 0.01, 0.16, 0.16, (250, 92, 96), 0.045)


def paint_party_hat(pen: Pen, top: float) -> None:
    """A green cone with dots and a pompom."""
    pen.polygon([(-0.4, top + 0.12), (0, top - 0.72), (0.4, top + 0.12)], GREEN, EDGE)
    for x, y in ((-0.14, -0.06), (0.14, -0.1), (0.0, -0.34)):
        pen.ellipse(x, top + y, 0.075, 0.075, GOLD)
    pen.ellipse(0, top - 0.7, 0.13, 0.13, PINK, 0.04)


def paint_scarf(pen: Pen, face: float) -> None:
    """A red woollen scarf with white bands, below the mouth."""
    y = face + 0.86
    pen.box(0.26, y, 0.58, y + 0.54, RED, EDGE)
    pen.box(0.31, y + 0.32, 0.53, y + 0.42, WHITE)
    around = [(-0.82, y - 0.1), (-0.42, y + 0.01), (0, y + 0.05), (0.42, y + 0.01), (0.82, y - 0.1)]
    pen.line(around, 0.36, INK)
    pen.line(around, 0.25, RED)
    for x in (-0.42, 0.0, 0.42):
        pen.line([(x, y - 0.06), (x, y + 0.08)], 0.09, WHITE)


def paint_glasses(pen: Pen, face: float) -> None:
    """Round crimson frames."""
    for side in (-1, 1):
        pen.arc(side * 0.38, face, 0.345, 0.36, (0, 360), 0.09, FRAMES)
        pen.line([(side * 0.72, face - 0.06), (side * 0.9, face - 0.14)], 0.09, FRAMES)


def _nothing(pen: Pen, y: float) -> None:
    pass


Painter = Callable[["Pen", float], None]
HEADWEAR_PAINTERS: dict[str, Painter] = {
    "none": _nothing,
    "top hat": paint_top_hat,
    "crown": paint_crown,
    "cap": paint_cap,
    "flower": paint_flower,
    "bow": paint_bow,
    "party hat": paint_party_hat,
}
ACCESSORY_PAINTERS: dict[str, Painter] = {"none": _nothing, "scarf": paint_scarf, "glasses": paint_glasses}
