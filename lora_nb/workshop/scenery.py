"""The eight places where creatures live. Each function paints one over the whole canvas."""

from __future__ import annotations

import random
from collections.abc import Callable

from lora_nb.workshop.brush import Brush, Colour, mix

GROUND = 0.76  # the horizon; creatures stand a little below it


def paint_forest(brush: Brush, rng: random.Random) -> None:
    """Fir trees behind a meadow."""
    brush.gradient((196, 232, 206), (150, 206, 168))
    for row, colour in enumerate(((98, 166, 116), (48, 118, 76))):
        x = rng.uniform(-0.1, 0.05)
        while x < brush.width + 0.1:
            _fir(brush, x, 0.2 + 0.08 * row + rng.uniform(-0.06, 0.08), colour)
            x += rng.uniform(0.13, 0.2) if row == 0 else rng.uniform(0.2, 0.34)
    brush.gradient((120, 184, 76), (74, 140, 56), GROUND - 0.04)


def _fir(brush: Brush, x: float, top: float, colour: Colour) -> None:
    brush.box(x - 0.018, 0.6, x + 0.018, 0.8, (104, 74, 54))
    for i in range(3):
        high, wide = top + 0.14 * i, 0.07 + 0.025 * i
        brush.polygon([(x, high), (x + wide, high + 0.2), (x - wide, high + 0.2)], mix(colour, (20, 60, 40), 0.1 * i))


def paint_beach(brush: Brush, rng: random.Random) -> None:
    """Sun, sea and sand."""
    brush.gradient((120, 206, 250), (200, 238, 252))
    x = brush.width * rng.choice((rng.uniform(0.08, 0.3), rng.uniform(0.7, 0.92)))
    brush.ellipse(x, 0.15, 0.1, 0.1, (255, 226, 92))
    brush.gradient((28, 132, 208), (76, 186, 226), 0.46, GROUND)
    for _ in range(6):
        wave, y = rng.uniform(0, brush.width), rng.uniform(0.5, GROUND - 0.05)
        brush.line([(wave, y), (wave + 0.1, y)], 0.012, (172, 224, 244))
    brush.gradient((250, 226, 160), (232, 196, 124), GROUND - 0.03)


def paint_night(brush: Brush, rng: random.Random) -> None:
    """Moon and stars over dark hills."""
    brush.gradient((20, 22, 66), (66, 52, 124))
    for _ in range(int(26 * max(1, brush.width))):
        size = rng.choice((0.006, 0.009, 0.013))
        brush.ellipse(rng.uniform(0, brush.width), rng.uniform(0, 0.7), size, size, (255, 246, 200))
    x = brush.width * rng.choice((rng.uniform(0.1, 0.28), rng.uniform(0.72, 0.9)))
    brush.ellipse(x, 0.16, 0.1, 0.1, (252, 244, 206))
    brush.ellipse(x + 0.045, 0.14, 0.08, 0.08, (30, 29, 78))
    brush.gradient((40, 38, 84), (24, 24, 56), GROUND - 0.04)


def paint_snow(brush: Brush, rng: random.Random) -> None:
    """White mountains and falling flakes."""
    brush.gradient((150, 186, 222), (208, 226, 242))
    for _ in range(3):
        x, top = rng.uniform(0, brush.width), rng.uniform(0.3, 0.45)
        brush.polygon([(x, top), (x + 0.4, 0.85), (x - 0.4, 0.85)], (132, 158, 196))
        brush.polygon([(x, top), (x + 0.13, top + 0.15), (x, top + 0.11), (x - 0.13, top + 0.15)], (250, 252, 255))
    brush.gradient((250, 252, 255), (216, 230, 244), GROUND - 0.04)
    for _ in range(int(22 * max(1, brush.width))):
        size = rng.uniform(0.009, 0.017)
        brush.ellipse(rng.uniform(0, brush.width), rng.uniform(0, GROUND), size, size, (255, 255, 255))


def paint_room(brush: Brush, rng: random.Random) -> None:
    """A warm wall with a window, and a wooden floor."""
    brush.gradient((250, 222, 190), (242, 204, 168))
    x = brush.width * rng.choice((rng.uniform(0.12, 0.26), rng.uniform(0.74, 0.88)))
    brush.box(x - 0.15, 0.1, x + 0.15, 0.46, (140, 90, 58))
    brush.box(x - 0.125, 0.125, x + 0.125, 0.435, (158, 214, 246))
    brush.box(x - 0.01, 0.125, x + 0.01, 0.435, (140, 90, 58))
    brush.box(x - 0.125, 0.27, x + 0.125, 0.29, (140, 90, 58))
    brush.gradient((172, 108, 66), (138, 82, 50), GROUND - 0.04)
    brush.box(0, GROUND - 0.06, brush.width, GROUND - 0.035, (252, 242, 226))


def paint_city(brush: Brush, rng: random.Random) -> None:
    """Towers with lit windows at dusk, and a street."""
    brush.gradient((252, 176, 140), (254, 222, 172))
    x = -rng.uniform(0, 0.1)
    while x < brush.width:
        wide, top = rng.uniform(0.16, 0.26), rng.uniform(0.12, 0.42)
        wall = rng.choice(((92, 96, 140), (116, 106, 150), (76, 84, 124)))
        brush.box(x, top, x + wide, 0.8, wall)
        for i in range(3):
            for j in range(int((GROUND - top) / 0.09)):
                left, high = x + wide * (0.14 + 0.28 * i), top + 0.04 + 0.09 * j
                brush.box(left, high, left + wide * 0.17, high + 0.045, (255, 226, 128))
        x += wide + rng.uniform(0, 0.03)
    brush.gradient((112, 112, 122), (84, 84, 96), GROUND - 0.03)
    brush.line([(0, 0.93), (brush.width, 0.93)], 0.015, (240, 236, 214))


def paint_desert(brush: Brush, rng: random.Random) -> None:
    """Dunes and cactuses in the heat."""
    brush.gradient((254, 202, 112), (255, 236, 176))
    for _ in range(3):
        brush.ellipse(rng.uniform(0, brush.width), 0.8, rng.uniform(0.3, 0.6), rng.uniform(0.12, 0.24), (232, 158, 84))
    brush.gradient((240, 178, 98), (212, 138, 68), GROUND - 0.04)
    sides = [rng.uniform(0.06, 0.2), rng.uniform(0.8, 0.94)]
    for share in rng.sample(sides, k=rng.choice((1, 2))):
        _cactus(brush, brush.width * share, rng.uniform(0.36, 0.46), rng.choice((-1, 1)))


def _cactus(brush: Brush, x: float, top: float, side: int) -> None:
    green = (70, 140, 78)
    brush.line([(x, top), (x, 0.82)], 0.065, green)
    brush.line([(x, 0.64), (x + side * 0.085, 0.62), (x + side * 0.085, 0.52)], 0.04, green)
    brush.line([(x, 0.58), (x - side * 0.08, 0.56), (x - side * 0.08, 0.48)], 0.04, green)


def paint_underwater(brush: Brush, rng: random.Random) -> None:
    """Blue depth with bubbles and sea grass."""
    brush.gradient((92, 200, 236), (16, 72, 156))
    for _ in range(3):
        x = rng.uniform(0, brush.width)
        brush.polygon([(x, 0), (x + 0.1, 0), (x + 0.02, 0.7), (x - 0.16, 0.7)], (102, 198, 236))
    brush.gradient((198, 186, 150), (150, 142, 128), GROUND + 0.04)
    for _ in range(int(6 * max(1, brush.width))):
        x, high = rng.uniform(0, brush.width), rng.uniform(0.5, 0.72)
        bends = [(x + 0.025 * (-1) ** i, 0.84 - (0.84 - high) * i / 4) for i in range(5)]
        brush.line(bends, 0.03, rng.choice(((38, 134, 92), (66, 160, 84))))
    for _ in range(int(12 * max(1, brush.width))):
        size, x, y = rng.uniform(0.014, 0.032), rng.uniform(0, brush.width), rng.uniform(0, 0.75)
        brush.ellipse(x, y, size, size, (178, 230, 250))
        brush.ellipse(x, y, size * 0.6, size * 0.6, (96, 180, 226))


SCENES: dict[str, Callable[[Brush, random.Random], None]] = {
    "forest": paint_forest,
    "beach": paint_beach,
    "night sky": paint_night,
    "snow": paint_snow,
    "room": paint_room,
    "city": paint_city,
    "desert": paint_desert,
    "underwater": paint_underwater,
}
