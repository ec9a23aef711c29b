"""The six expressions. Eyes and mouths are large: a face must survive being squeezed into 16 x 16 latents."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lora_nb.workshop.creatures import Pen

INK, WHITE = (44, 34, 52), (255, 255, 255)
MOUTH, TONGUE, TEAR = (128, 28, 48), (250, 116, 130), (84, 178, 250)
APART = 0.37  # from the middle of the face to an eye


def paint_smile(pen: Pen, y: float) -> None:
    """Open eyes and a wide smile."""
    _eyes(pen, y, 0.25, 0.16)
    pen.arc(0, y + 0.3, 0.34, 0.24, (10, 170), 0.085)


def paint_laughing(pen: Pen, y: float) -> None:
    """Eyes shut for joy and a big open mouth."""
    for side in (-1, 1):
        pen.arc(side * APART, y + 0.06, 0.2, 0.24, (190, 350), 0.095)
    mouth = [
        (-0.36, y + 0.28),
        (0.36, y + 0.28),
        (0.29, y + 0.55),
        (0.12, y + 0.7),
        (-0.12, y + 0.7),
        (-0.29, y + 0.55),
    ]
    pen.polygon(mouth, MOUTH, 0.05)
    pen.ellipse(0, y + 0.58, 0.18, 0.1, TONGUE)


def paint_sad(pen: Pen, y: float) -> None:
    """Raised inner brows, a frown and a tear."""
    _eyes(pen, y, 0.23, 0.16, look=0.05)
    for side in (-1, 1):
        pen.line([(side * 0.2, y - 0.42), (side * 0.58, y - 0.24)], 0.09)
    pen.arc(0, y + 0.62, 0.27, 0.24, (200, 340), 0.085)
    pen.polygon([(0.56, y + 0.12), (0.67, y + 0.38), (0.45, y + 0.38)], TEAR)
    pen.ellipse(0.56, y + 0.4, 0.115, 0.115, TEAR)


def paint_angry(pen: Pen, y: float) -> None:
    """Lowered brows and clenched teeth."""
    _eyes(pen, y + 0.02, 0.23, 0.13)
    for side in (-1, 1):
        pen.line([(side * 0.1, y - 0.08), (side * 0.64, y - 0.38)], 0.13)
    pen.box(-0.32, y + 0.36, 0.32, y + 0.6, WHITE, 0.05)
    for x in (-0.11, 0.11):
        pen.line([(x, y + 0.38), (x, y + 0.58)], 0.04, INK)


def paint_surprised(pen: Pen, y: float) -> None:
    """Eyes wide open with small pupils, and a round mouth."""
    _eyes(pen, y - 0.05, 0.31, 0.11)
    pen.ellipse(0, y + 0.5, 0.17, 0.21, MOUTH, 0.05)


def paint_sleepy(pen: Pen, y: float) -> None:
    """Closed eyes and a small mouth."""
    for side in (-1, 1):
        pen.arc(side * APART, y - 0.08, 0.21, 0.2, (15, 165), 0.09)
    pen.ellipse(0, y + 0.4, 0.1, 0.07, MOUTH, 0.04)


def _eyes(pen: Pen, y: float, radius: float, pupil: float, look: float = 0.0) -> None:
    for side in (-1, 1):
        pen.ellipse(side * APART, y, radius, radius * 1.08, WHITE, 0.05)
        pen.ellipse(side * (APART - 0.03), y + 0.03 + look, pupil, pupil * 1.1, INK)
        pen.ellipse(side * (APART - 0.03) - pupil * 0.35, y - pupil * 0.4 + look, pupil * 0.38, pupil * 0.38, WHITE)


FACES: dict[str, Callable[[Pen, float], None]] = {
    "smile": paint_smile,
    "laughing": paint_laughing,
    "sad": paint_sad,
    "angry": paint_angry,
    "surprised": paint_surprised,
    "sleepy": paint_sleepy,
}
