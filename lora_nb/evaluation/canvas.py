"""A page measured in pixels, and text that is measured before it is placed, so that no label can overlap another.

Figures are made with matplotlib's objects alone. pyplot keeps every figure in memory and has one current figure for
the whole process, which goes wrong as soon as two cells draw at once.
"""

import io
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, Literal, NamedTuple

import numpy as np
from matplotlib import font_manager
from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import FancyBboxPatch, Rectangle
from PIL import Image

DPI = 100
PAPER, INK, FAINT_INK, LINE, PANEL, ACCENT = "#ffffff", "#1a1d21", "#626a73", "#d9dde2", "#eef1f4", "#c2410c"
TIMES = "\u00d7"  # the multiplication sign
LINE_HEIGHT = 1.35  # of the font's size
_EXTRA_FONTS = ("Noto Sans CJK JP", "Noto Sans CJK SC", "Yu Gothic", "Hiragino Sans", "Microsoft YaHei", "PingFang SC")


class Style(NamedTuple):
    """How a text looks."""

    size: float  # in pixels
    color: str = INK
    bold: bool = False

    @property
    def line(self) -> float:
        """Height of one line in pixels."""
        return self.size * LINE_HEIGHT


class Page(Figure):
    """A figure that a notebook shows even where pyplot was never imported."""

    def __init__(self, width: float, height: float, **options: Any) -> None:
        super().__init__(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor=PAPER, **options)
        FigureCanvasAgg(self)

    def _repr_png_(self) -> bytes:
        return write_png(self)


class Canvas:
    """A page whose coordinates are pixels from its top left corner. It grows downwards until finish()."""

    def __init__(self, width: float) -> None:
        self.width = width
        self.page = Page(width, width)
        self.axes = self.page.add_axes((0, 0, 1, 1))
        self.axes.set_axis_off()

    def finish(self, height: float) -> Page:
        """Cut the page to its height and return it."""
        self.page.set_size_inches(round(self.width) / DPI, round(height) / DPI)
        self.axes.set(xlim=(0, round(self.width)), ylim=(round(height), 0))
        return self.page

    def text(
        self, x: float, y: float, lines: Sequence[str], style: Style, align: Literal["left", "center", "right"] = "left"
    ) -> float:
        """Write lines with their top at y; return the y below them."""
        for line in lines:
            self.axes.text(
                x,
                y + style.line / 2,
                line,
                color=style.color,
                fontproperties=_font(style.size, style.bold),
                ha=align,
                va="center_baseline",
                parse_math=False,  # a $ in a prompt is a dollar
            )
            y += style.line
        return y

    def picture(self, image: Image.Image, x: float, y: float, width: int, height: int) -> None:
        """Place a picture, resampled once and here, so that it is shown pixel for pixel."""
        x, y = round(x), round(y)  # on whole pixels nothing is blurred
        if image.size != (width, height):
            image = image.resize((width, height), Image.Resampling.LANCZOS)
        self.axes.imshow(np.asarray(image.convert("RGB")), extent=(x, x + width, y + height, y), aspect="auto")
        self.frame(x, y, width, height)

    def frame(self, x: float, y: float, width: float, height: float) -> None:
        """A hairline around a picture, without which a white one would melt into the page."""
        outline = Rectangle((x, y), width, height, fill=False, edgecolor="black", alpha=0.18, linewidth=0.72)
        self.axes.add_patch(outline)

    def panel(self, x: float, y: float, width: float, height: float, color: str = PANEL) -> None:
        """A quiet rounded background."""
        style = f"round,pad=0,rounding_size={min(width, height, 160) * 0.06:.1f}"
        self.axes.add_patch(FancyBboxPatch((x, y), width, height, style, facecolor=color, edgecolor="none", zorder=-1))

    def bar(self, x: float, y: float, width: float, height: float, color: str, edge: str = "none") -> None:
        self.axes.add_patch(Rectangle((x, y), width, height, facecolor=color, edgecolor=edge, linewidth=1))

    def line(self, x0: float, y0: float, x1: float, y1: float) -> None:
        self.axes.plot([x0, x1], [y0, y1], color=LINE, linewidth=1, solid_capstyle="butt")


def write_png(figure: Figure, metadata: dict[str, str] | None = None) -> bytes:
    """A figure as a PNG file, with texts inside it."""
    buffer = io.BytesIO()
    with _missing_glyphs_allowed():
        figure.savefig(buffer, format="png", dpi=DPI, metadata=metadata)
    return buffer.getvalue()


def fit_lines(text: str, style: Style, width: float, most: int) -> list[str]:
    """Break a text into at most `most` lines that are no wider than `width`; what does not fit ends in '…'."""
    lines: list[str] = []
    rest = re.sub(r"[ \t\r\n]+", " ", text).strip()  # but not no-break spaces, which hold words together
    while rest and len(lines) < most:
        if len(lines) == most - 1 and text_width(rest, style) > width:
            lines.append(_elide(rest, style, width))
            break
        end = _break_at(rest, style, width)
        lines.append(rest[:end].rstrip())
        rest = rest[end:].lstrip()
    return lines


def text_width(text: str, style: Style) -> float:
    """How wide a line of text is, in pixels."""
    return _measure(text, style.size, style.bold)


def _elide(text: str, style: Style, width: float) -> str:
    end = _longest(text, style, width - text_width("…", style))
    return text[:end].rstrip(" ,.;:") + "…"


def _break_at(text: str, style: Style, width: float) -> int:
    """Where a line that starts with `text` ends: at a space, or inside a word that is wider than the line."""
    end = _longest(text, style, width)
    if end == len(text) or text[end] == " ":
        return end
    space = text.rfind(" ", 0, end)
    if space > 0:
        return space
    joint = max(text.rfind(mark, 0, end) for mark in "-_/.,")  # where a file name breaks best
    return joint + 1 if joint > 0 else max(1, end)


def _longest(text: str, style: Style, width: float) -> int:
    """How many characters of a text fit in a width (bisection: width grows with length)."""
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if text_width(text[:middle], style) <= width else (low, middle - 1)
    return low


@lru_cache(maxsize=4096)
def _measure(text: str, size: float, bold: bool) -> float:
    with _missing_glyphs_allowed():
        width, _, _ = _renderer().get_text_width_height_descent(text, _font(size, bold), ismath=False)
    return float(width)


@contextmanager
def _missing_glyphs_allowed() -> Iterator[None]:
    """A sign that no font here has is drawn as an empty box; matplotlib would also warn, once for every sign."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


@lru_cache(maxsize=1)
def _renderer() -> RendererAgg:
    return RendererAgg(1, 1, DPI)


@lru_cache(maxsize=64)
def _font(size: float, bold: bool) -> FontProperties:
    return FontProperties(family=_families(), size=size * 72 / DPI, weight="bold" if bold else "normal")


@lru_cache(maxsize=1)
def _families() -> list[str]:
    """matplotlib's own font first, so that figures look alike everywhere; then what is there for other scripts."""
    installed = {font.name for font in font_manager.fontManager.ttflist}
    return ["DejaVu Sans", *(name for name in _EXTRA_FONTS if name in installed)]
