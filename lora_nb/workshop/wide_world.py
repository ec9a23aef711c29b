"""Pictures of anything: what the small autoencoder practises on, so that no later colour or pattern surprises it.

The diffusion model only ever sees the creatures of `world`. The autoencoder must also carry what a LoRA
brings later (a teal body, orange stripes, a photograph), so it sees far more: every colour, shape, pattern and
texture, and noise with the 1/f spectrum of photographs.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

Colour = tuple[int, int, int]
SUPERSAMPLING = 2  # drawn at twice the size, then reduced: smooth edges


def abstract_picture(rng: random.Random, size: int = 128) -> Image.Image:
    """Draw one square picture of shapes, patterns or textures in random colours."""
    large = size * SUPERSAMPLING
    canvas = _background(rng, large)
    for add in rng.sample(DETAILS, k=rng.choice((1, 2, 2, 3))):
        add(rng, canvas)
    if rng.random() < 0.15:
        canvas = canvas.filter(ImageFilter.GaussianBlur(rng.uniform(0.5, 5)))
    return canvas.resize((size, size), Image.Resampling.BOX)


def random_colour(rng: random.Random) -> Colour:
    """Any colour, with vivid, dark, pale and grey ones all common."""
    kind = rng.random()
    if kind < 0.15:
        value = rng.randrange(256)
        return (value, value, value)
    red, green, blue = (rng.randrange(256) for _ in range(3))
    if kind < 0.3:
        return (128 + red // 2, 128 + green // 2, 128 + blue // 2)
    if kind < 0.4:
        return (red // 3, green // 3, blue // 3)
    return (red, green, blue)


def recolour(pixels: np.ndarray, rng: random.Random) -> np.ndarray:
    """Swap and invert the colour channels: every drawing is also seen in other colours. (H, W, 3) uint8."""
    order = rng.sample(range(3), k=3)
    swapped = pixels[..., order]
    flips = np.array([rng.random() < 0.25 for _ in range(3)])
    return np.where(flips, 255 - swapped, swapped)


def spectral_noise(rng: random.Random, size: int) -> np.ndarray:
    """Noise with the 1/f spectrum that photographs have, in random colours. (size, size, 3) uint8."""
    generator = np.random.default_rng(rng.getrandbits(32))
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None, :])
    frequency[0, 0] = 1 / size
    spectrum = frequency ** -rng.uniform(1.0, 2.0)
    white = np.fft.rfft2(generator.standard_normal((3, size, size)))
    planes = np.fft.irfft2(white * spectrum, s=(size, size))  # (3, size, size)
    planes /= planes.std(axis=(1, 2), keepdims=True)
    mixing = generator.normal(0, 0.35, (3, 3)) + generator.normal(0.6, 0.3)  # photographs vary most in brightness
    pixels = np.einsum("ij,jhw->hwi", mixing, planes) * rng.uniform(15, 60) + random_colour(rng)
    return np.clip(pixels, 0, 255).astype(np.uint8)


def _background(rng: random.Random, size: int) -> Image.Image:
    kind = rng.random()
    if kind < 0.3:
        return Image.new("RGB", (size, size), random_colour(rng))
    if kind < 0.75:
        corners = np.array([[random_colour(rng) for _ in range(2)] for _ in range(2)], dtype=np.uint8)
        return Image.fromarray(corners).resize((size, size), Image.Resampling.BICUBIC)
    return Image.fromarray(spectral_noise(rng, size))


def _shapes(rng: random.Random, canvas: Image.Image) -> None:
    """Filled figures, some outlined like a cartoon's."""
    draw, size = ImageDraw.Draw(canvas), canvas.width
    palette = [random_colour(rng) for _ in range(4)]
    for _ in range(rng.randrange(2, 14)):
        _one_shape(rng, draw, size, rng.choice(palette))


def _one_shape(rng: random.Random, draw: ImageDraw.ImageDraw, size: int, colour: Colour) -> None:
    x, y = rng.uniform(0, size), rng.uniform(0, size)
    wide, high = (size * rng.uniform(0.02, 0.3) for _ in range(2))
    edge = rng.choice((0, 0, 2, 4, 6))
    outline = random_colour(rng) if edge else None
    box = (x - wide, y - high, x + wide, y + high)
    kind = rng.randrange(4)
    if kind == 0:
        draw.ellipse(box, fill=colour, outline=outline, width=edge)
    elif kind == 1:
        draw.rounded_rectangle(box, radius=rng.uniform(0, min(wide, high)), fill=colour, outline=outline, width=edge)
    elif kind == 2:
        turn, corners = rng.uniform(0, math.tau), rng.randrange(3, 9)
        angles = [turn + math.tau * i / corners for i in range(corners)]
        depth = rng.choice((1.0, 1.0, 0.5))  # 0.5 makes stars
        points = [
            (x + wide * math.cos(a) * (depth if i % 2 else 1), y + high * math.sin(a) * (depth if i % 2 else 1))
            for i, a in enumerate(angles)
        ]
        draw.polygon(points, fill=colour, outline=outline, width=edge or 1)
    else:
        draw.arc(box, rng.uniform(0, 360), rng.uniform(0, 360), fill=colour, width=rng.randrange(2, 12))


def _stripes(rng: random.Random, canvas: Image.Image) -> None:
    """A striped, checked or dotted figure: the markings of creatures never seen."""
    size = canvas.width
    pattern = Image.new("RGB", canvas.size, random_colour(rng))
    draw, colour = ImageDraw.Draw(pattern), random_colour(rng)
    step = size * rng.uniform(0.03, 0.16)
    thickness = step * rng.uniform(0.25, 0.7)
    kind = rng.randrange(3)
    for i in range(int(size * 1.5 / step)):
        if kind == 2:
            for j in range(int(size / step)):
                box = (i * step, j * step, i * step + thickness, j * step + thickness)
                draw.ellipse(box, fill=colour)
        else:
            lean = 0.0 if kind == 0 else size * 0.5
            draw.line((i * step, 0, i * step - lean, size), fill=colour, width=max(1, round(thickness)))
    if rng.random() < 0.5:
        pattern = pattern.transpose(Image.Transpose.ROTATE_90)
    canvas.paste(pattern, (0, 0), _blob_mask(rng, size))


def _texture(rng: random.Random, canvas: Image.Image) -> None:
    """A figure filled with photograph-like noise."""
    noise = Image.fromarray(spectral_noise(rng, canvas.width))
    canvas.paste(noise, (0, 0), _blob_mask(rng, canvas.width))


def _faces(rng: random.Random, canvas: Image.Image) -> None:
    """Eyes and mouths of many sizes: the small details that must come out crisp."""
    draw, size = ImageDraw.Draw(canvas), canvas.width
    for _ in range(rng.randrange(1, 4)):
        x, y, eye = rng.uniform(0.1, 0.9) * size, rng.uniform(0.1, 0.9) * size, size * rng.uniform(0.02, 0.09)
        iris, dark = random_colour(rng), (20, 18, 30)
        for side in (-1, 1):
            centre = x + side * eye * rng.uniform(1.1, 1.8)
            draw.ellipse((centre - eye, y - eye, centre + eye, y + eye), fill="white", outline=dark, width=3)
            inner = eye * rng.uniform(0.4, 0.7)
            draw.ellipse((centre - inner, y - inner, centre + inner, y + inner), fill=rng.choice((dark, iris)))
            glint = inner * 0.4
            draw.ellipse((centre, y - inner * 0.7, centre + glint, y - inner * 0.7 + glint), fill="white")
        box = (x - eye, y + eye, x + eye, y + eye * 2.5)
        if rng.random() < 0.4:
            draw.ellipse(box, fill=random_colour(rng), outline=dark, width=3)
        else:
            start = rng.choice((0, 180))
            draw.arc(box, start, start + 180, fill=dark, width=rng.randrange(3, 8))


def _lines(rng: random.Random, canvas: Image.Image) -> None:
    """Thin strokes, as limbs, branches and antennas are."""
    draw, size = ImageDraw.Draw(canvas), canvas.width
    for _ in range(rng.randrange(3, 16)):
        ends = [rng.uniform(0, size) for _ in range(4)]
        draw.line(ends, fill=random_colour(rng), width=rng.randrange(1, 14))


def _blob_mask(rng: random.Random, size: int) -> Image.Image:
    mask = Image.new("L", (size, size), 0)
    x, y = rng.uniform(0.2, 0.8) * size, rng.uniform(0.2, 0.8) * size
    wide, high = rng.uniform(0.15, 0.6) * size, rng.uniform(0.15, 0.6) * size
    ImageDraw.Draw(mask).ellipse((x - wide, y - high, x + wide, y + high), fill=255)
    return mask


DETAILS: list[Callable[[random.Random, Image.Image], None]] = [_shapes, _stripes, _texture, _faces, _lines, _shapes]
