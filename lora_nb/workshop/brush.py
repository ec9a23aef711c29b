"""A brush that draws in shares of the picture, so that the same drawing fits any size."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

Colour = tuple[int, int, int]
Point = tuple[float, float]
INK = (44, 34, 52)  # outlines: a dark plum looks softer than black


class Brush:
    """A canvas in units: y runs from 0 at the top to 1 at the bottom, x from 0 to width / height."""

    def __init__(self, width: int, height: int) -> None:
        self.image = Image.new("RGB", (width, height))
        self.draw = ImageDraw.Draw(self.image)
        self.unit = height
        self.width = width / height

    def gradient(self, top: Colour, bottom: Colour, start: float = 0.0, end: float = 1.0) -> None:
        """Fill a band over the whole width, from one colour to the other."""
        column = np.array([[top], [bottom]], dtype=np.uint8)
        first, last = round(start * self.unit), round(end * self.unit)
        band = Image.fromarray(column).resize((1, max(1, last - first)), Image.Resampling.BILINEAR)
        self.image.paste(band.resize((self.image.width, band.height)), (0, first))

    def ellipse(self, x: float, y: float, wide: float, high: float, colour: Colour, edge: float = 0) -> None:
        """An ellipse around (x, y) with these half axes; `edge` is the thickness of its ink outline."""
        box = [value * self.unit for value in (x - wide, y - high, x + wide, y + high)]
        thickness = round(edge * self.unit)
        self.draw.ellipse(box, fill=colour, outline=INK if thickness else None, width=thickness)

    def box(self, left: float, top: float, right: float, bottom: float, colour: Colour, edge: float = 0) -> None:
        """A rectangle with rounded corners if it has an outline."""
        corners = [value * self.unit for value in (left, top, right, bottom)]
        thickness = round(edge * self.unit)
        outline = INK if thickness else None
        self.draw.rounded_rectangle(corners, radius=2 * thickness, fill=colour, outline=outline, width=thickness)

    def polygon(self, points: Sequence[Point], colour: Colour, edge: float = 0) -> None:
        """A filled figure, outlined in ink if `edge` is given."""
        pixels = [(x * self.unit, y * self.unit) for x, y in points]
        self.draw.polygon(pixels, fill=colour)
        if edge:
            self.line([*points, points[0], points[1]], edge, INK)

    def line(self, points: Sequence[Point], thickness: float, colour: Colour = INK) -> None:
        """A stroke with round joints and ends."""
        pixels = [(x * self.unit, y * self.unit) for x, y in points]
        width = max(1, round(thickness * self.unit))
        self.draw.line(pixels, fill=colour, width=width, joint="curve")
        radius = width / 2
        for x, y in (pixels[0], pixels[-1]):
            self.draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)

    def arc(
        self,
        x: float,
        y: float,
        wide: float,
        high: float,
        degrees: tuple[float, float],
        thickness: float,
        colour: Colour = INK,
    ) -> None:
        """A stroke along part of an ellipse; 0 degrees is right, 90 is down."""
        start, end = (math.radians(value) for value in degrees)
        steps = [start + (end - start) * i / 12 for i in range(13)]
        self.line([(x + wide * math.cos(a), y + high * math.sin(a)) for a in steps], thickness, colour)

    def mask(self, points: Sequence[Point]) -> Image.Image:
        """A stencil of a figure: what is drawn through it stays inside."""
        stencil = Image.new("L", self.image.size)
        ImageDraw.Draw(stencil).polygon([(x * self.unit, y * self.unit) for x, y in points], fill=255)
        return stencil


def mix(first: Colour, second: Colour, share: float) -> Colour:
    """A colour between two: 0 gives the first, 1 the second."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return (red, green, blue)
