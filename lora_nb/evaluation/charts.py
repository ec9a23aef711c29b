"""Small figures for the notebooks: how the loss fell, which buckets there are, what the pictures look like."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image

from lora_nb.dataset.steps import BucketCount, StepPlan
from lora_nb.errors import LoraNbError
from lora_nb.evaluation.canvas import ACCENT, FAINT_INK, INK, LINE, TIMES, Canvas, Page, Style, fit_lines, text_width

WIDTH = 960  # pixels: what a notebook shows without shrinking
_TITLE, _TEXT, _SMALL = Style(20, INK, bold=True), Style(14, INK), Style(13, FAINT_INK)
_BAR, _BAR_BACK = "#3f7cac", "#e3edf5"
_MARGIN = 24
_LINES = (  # colour and dashes: either is enough to tell them apart
    ("#3f7cac", "-"),
    ("#b5531c", (0, (6, 2))),
    ("#2e7d4f", (0, (2, 2))),
    ("#6d4aa3", (0, (7, 2, 2, 2))),
    ("#444444", (0, (1, 1))),
)
_WORD_KEPT = Style(14, INK, bold=True)
_WORDS = ("#cfe3f3", "#f6dcc3", "#d3ead6", "#e3d7f0", "#f5d5dc", "#d6ecec", "#efe9bf", "#dde0e5")  # pale, under INK


def plot_loss(steps: Sequence[int], losses: Sequence[float]) -> Figure:
    """Show how the loss changed: each step faint, and its running mean as a line.

    A diffusion loss jumps with the noise level that each step happened to draw: only the mean says something, and
    even that falls little. Pictures tell more. Values that are no numbers are left out and counted.
    """
    if len(steps) != len(losses):
        raise LoraNbError(f"There are {len(steps)} steps but {len(losses)} losses. Give one loss for each step.")
    page, axes = _make_axes("Loss", "step")
    x, y = np.asarray(steps), np.asarray(losses, dtype=float)
    kept = np.isfinite(y)
    span = max(1, round(kept.sum() / 20))
    note = f"line: running mean of about {span} steps" if span > 1 else "" if kept.any() else "no steps yet"
    if not kept.all():
        note = f"{len(y) - kept.sum()} of {len(y)} losses are not finite: lower the learning rate.   {note}"
    page.text(0.965, 0.92, note, fontsize=10, color=FAINT_INK, ha="right", va="center")
    if kept.any():
        axes.plot(x[kept], y[kept], color=_BAR, alpha=0.25, linewidth=0.9, marker="." if kept.sum() < 3 else "")
        axes.plot(x[kept], smooth(y[kept], span), color=ACCENT, linewidth=2.2)
        top = np.quantile(y[kept], 0.995) * 1.1  # one odd step must not press the rest flat
        axes.set_ylim(0, top if top > 0 else 1)
        axes.margins(x=0.01)
    else:
        axes.set(xticks=[], yticks=[])
    return page


def plot_curves(x: Sequence[float], curves: Mapping[str, Sequence[float]], title: str, x_label: str) -> Figure:
    """Show a few lines over the same numbers, each named at its right end and drawn in its own dashes."""
    page, axes = _make_axes(title, x_label)
    for place, (name, y) in enumerate(curves.items()):
        color, dashes = _LINES[place % len(_LINES)]
        axes.plot(x, y, color=color, linestyle=dashes, linewidth=2, label=name)
    axes.set_xlim(min(x), max(x))
    axes.set_ylim(bottom=0)
    if len(curves) > 1:
        axes.legend(frameon=False, labelcolor=INK, fontsize=10, loc="best", handlelength=3.5)
    return page


def _make_axes(title: str, x_label: str) -> tuple[Page, Axes]:
    """A page with a heading and quiet axes."""
    page = Page(WIDTH, 420)
    axes = page.add_axes((0.08, 0.15, 0.885, 0.68))
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(LINE)
    axes.tick_params(color=LINE, labelcolor=FAINT_INK, labelsize=10)
    axes.grid(axis="y", color=LINE, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel(x_label, color=FAINT_INK)
    page.text(0.025, 0.92, title, fontsize=15, weight="bold", color=INK, va="center")
    return page, axes


def smooth(values: Sequence[float] | np.ndarray, span: float) -> np.ndarray:
    """The running mean of past values, in which those older than `span` steps hardly count; unbiased at the start."""
    decay = 1 - 1 / max(1.0, span)
    means, total, weight = [], 0.0, 0.0
    for value in values:
        total, weight = decay * total + value, decay * weight + 1
        means.append(total / weight)
    return np.array(means)


def plot_buckets(plan: StepPlan) -> Figure:
    """Show the shapes that the pictures are trained in, how many have each, and how often they are seen."""
    canvas = Canvas(WIDTH)
    y = canvas.text(_MARGIN, _MARGIN, [_bucket_title(plan)], _TITLE)
    y = canvas.text(_MARGIN, y, fit_lines(_bucket_facts(plan), _SMALL, WIDTH - 2 * _MARGIN, 2), _SMALL) + 14
    longest = max(max(count.bucket) for count in plan.buckets)
    most = max(count.seen for count in plan.buckets)
    names = [f"{count.bucket[0]} {TIMES} {count.bucket[1]}" for count in plan.buckets]
    bar_left = _MARGIN + 70 + max(text_width(name, _TEXT) for name in names)
    amounts = [_bucket_amount(count) for count in plan.buckets]
    bar_room = WIDTH - _MARGIN - bar_left - max(text_width(amount, _SMALL) for amount in amounts) - 12
    for count, name, amount in zip(plan.buckets, names, amounts, strict=True):
        width, height = (side / longest * 40 for side in count.bucket)
        canvas.bar(_MARGIN + (40 - width) / 2, y + (40 - height) / 2, width, height, _BAR_BACK, _BAR)
        canvas.text(_MARGIN + 54, y + 20 - _TEXT.line / 2, [name], _TEXT)
        length = max(2.0, count.seen / most * bar_room)
        canvas.bar(bar_left, y + 11, length, 18, _BAR)
        canvas.text(bar_left + length + 10, y + 20 - _SMALL.line / 2, [amount], _SMALL)
        y += 50
    return canvas.finish(y + _MARGIN - 10)


def _bucket_title(plan: StepPlan) -> str:
    pictures = f"{plan.pictures} pictures" if plan.pictures != 1 else "1 picture"
    return f"{pictures}   →   {plan.steps_per_epoch} steps {TIMES} {plan.epochs} epochs = {plan.steps} steps"


def _bucket_facts(plan: StepPlan) -> str:
    text = f"An epoch shows {plan.seen_per_epoch} pictures (with repeats) in {plan.batches_per_epoch} batches."
    text += " A batch holds pictures of one shape."
    return text


def _bucket_amount(count: BucketCount) -> str:
    pictures = "1 picture" if count.pictures == 1 else f"{count.pictures} pictures"
    batches = "1 batch" if count.batches == 1 else f"{count.batches} batches"
    return f"{pictures}, seen {count.seen} times in {batches}"


def plot_pictures(
    pictures: Sequence[Image.Image], captions: Sequence[str] = (), columns: int = 0, title: str = ""
) -> Figure:
    """Show pictures side by side, each with its caption below: a contact sheet. `columns` 0 chooses for itself."""
    if captions and len(captions) != len(pictures):
        raise LoraNbError(
            f"There are {len(pictures)} pictures but {len(captions)} captions. Give one for each, or none."
        )
    columns = columns or max(1, min(6, math.ceil(math.sqrt(len(pictures) * 1.6))))
    gap = 18
    side = min(300, (WIDTH - 2 * _MARGIN + gap) // columns - gap)
    canvas = Canvas(WIDTH)
    y: float = _MARGIN
    if title:
        y = canvas.text(_MARGIN, y, fit_lines(title, _TITLE, WIDTH - 2 * _MARGIN, 2), _TITLE) + 12
    for start in range(0, len(pictures), columns):
        row = pictures[start : start + columns]
        texts = [fit_lines(text, _SMALL, side, 4) for text in captions[start : start + columns]]
        sizes = [_fit_into(picture.size, side) for picture in row]
        height = max(size[1] for size in sizes)
        for place, (picture, size) in enumerate(zip(row, sizes, strict=True)):
            x = _MARGIN + place * (side + gap)
            canvas.picture(picture, x + (side - size[0]) // 2, y + height - size[1], *size)
            if texts:
                canvas.text(x + side / 2, y + height + 6, texts[place], _SMALL, "center")
        y += height + 6 + max((len(lines) for lines in texts), default=0) * _SMALL.line + gap
    return canvas.finish(max(y, 2 * _MARGIN))


def plot_order(rows: Mapping[str, Sequence[str]], fixed: int, title: str = "") -> Figure:
    """Show how the same words stand in another order in each row: every word keeps its colour.

    fixed: so many at the start stay in place; they are framed and bold. A row without words says so.
    """
    words = list(dict.fromkeys(word for row in rows.values() for word in row))
    colors = {word: _WORDS[place % len(_WORDS)] for place, word in enumerate(words)}
    canvas, gap, height = Canvas(WIDTH), 6, 28
    y: float = _MARGIN
    if title:
        y = canvas.text(_MARGIN, y, fit_lines(title, _TITLE, WIDTH - 2 * _MARGIN, 2), _TITLE) + 12
    left = _MARGIN + 16 + max((text_width(name, _SMALL) for name in rows), default=0)
    for name, row in rows.items():
        canvas.text(_MARGIN, y + (height - _SMALL.line) / 2, [name], _SMALL)
        x = left
        if not row:
            canvas.text(x, y + (height - _SMALL.line) / 2, ["no words at all"], _SMALL)
        for place, word in enumerate(row):
            style = _WORD_KEPT if place < fixed else _TEXT
            [line] = fit_lines(word, style, WIDTH - _MARGIN - left - 20, 1) or [""]
            width = text_width(line, style) + 20
            if x + width > WIDTH - _MARGIN and x > left:
                x, y = left, y + height + gap
            canvas.bar(x, y, width, height, colors[word], INK if place < fixed else "none")
            canvas.text(x + 10, y + (height - style.line) / 2, [line], style)
            x += width + gap
        y += height + 2 * gap
    return canvas.finish(max(y, 2 * _MARGIN) + _MARGIN - 2 * gap)


def _fit_into(size: tuple[int, int], side: int) -> tuple[int, int]:
    """The size of a picture in a square: small ones enlarged by a whole factor, large ones reduced."""
    scale = side / max(size)
    scale = math.floor(scale) if scale >= 1 else scale
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
