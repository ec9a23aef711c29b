"""Show a grid of pictures so that a whole class can read it, and save it with everything needed to draw it again."""

from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure
from PIL import Image

from lora_nb.errors import LoraNbError
from lora_nb.evaluation.canvas import FAINT_INK, INK, Canvas, Style, fit_lines, text_width, write_png
from lora_nb.evaluation.describing import changed_fields, grid_facts, grid_title, is_control_shared
from lora_nb.evaluation.grids import Cell, Grid, GridPlan
from lora_nb.files import write_whole

SMALLEST_CELL = 180  # pixels: smaller pictures are enlarged by a whole factor
ROOMIEST_CELL, ROOMY_PAGE = 400, 1500  # in a small grid, pictures are enlarged up to about this
LARGEST_PAGE = (4000, 16000)  # with many large pictures, they are reduced to about this; agg ends at 65,536
NARROWEST_PAGE = 680  # so that a header has room above a single picture


@dataclass(frozen=True)
class _Layout:
    """All measures of a grid's page in pixels."""

    scale: float  # from a picture's pixels to the page's
    cell_width: int
    cell_height: int
    gap: int
    margin: int
    gutter: int  # width of the row labels
    control_width: int  # width of the control column's panel, with the space after it; 0 without a control
    title: Style
    heading: Style
    label: Style
    detail: Style
    columns: int

    @property
    def left(self) -> int:
        """Where the pictures begin."""
        return self.margin + self.gutter

    @property
    def right(self) -> int:
        """Where the pictures end."""
        pictures = self.columns * (self.cell_width + self.gap) - self.gap
        extra = self.control_width - self.cell_width - self.gap if self.control_width else 0
        return self.left + pictures + extra

    @property
    def width(self) -> int:
        """Of the whole page."""
        return max(self.right + self.margin, NARROWEST_PAGE)

    @property
    def text_room(self) -> int:
        return self.width - 2 * self.margin

    def column_left(self, column: int) -> int:
        """Where a column's pictures begin."""
        if not self.control_width:
            return self.left + column * (self.cell_width + self.gap)
        if column == 0:
            return self.left + self.gap
        return self.left + self.control_width + (column - 1) * (self.cell_width + self.gap)


def plot_grid(grid: Grid, cell_size: int | None = None) -> Figure:
    """Make the figure of a grid: a block of rows for each prompt, the control column first and set apart.

    `cell_size` is the length in pixels of a picture's longer side in the figure; left out, small pictures are
    enlarged by a whole factor, and very large grids reduced. Cells without a picture are left open.
    """
    layout = _make_layout(grid, cell_size)
    canvas = Canvas(layout.width)
    y = _draw_header(canvas, grid, layout)
    for block in range(len(grid.plan.blocks.values)):
        y = _draw_block(canvas, grid, layout, block, y)
    return canvas.finish(y + layout.margin * 0.3)


def save_grid(grid: Grid, path: Path) -> None:
    """Write a grid's figure as a PNG that carries its whole plan: all of the file or nothing."""
    if path.suffix.lower() != ".png":
        raise LoraNbError(f"{path} is not a PNG file. A grid is saved as .png, which can hold its settings.")
    write_whole(path, grid_png(grid))


def grid_png(grid: Grid) -> bytes:
    """The bytes of that file."""
    text = {"Title": grid_title(grid.plan), "lora_nb": grid.describe(), "Software": "lora_nb"}
    return write_png(plot_grid(grid), text)


def _make_layout(grid: Grid, cell_size: int | None) -> _Layout:
    plan = grid.plan
    sizes = [image.size for image in grid.images.values()] or [(plan.base.width, plan.base.height)]
    width, height = max(size[0] for size in sizes), max(size[1] for size in sizes)
    columns = len(plan.columns.values)
    scale = cell_size / max(width, height) if cell_size else _picture_scale(width, height, plan)
    cell_width, cell_height = round(width * scale), round(height * scale)
    font = _font_size(cell_width * columns, cell_width)
    gap = max(4, round(cell_width * 0.03))
    label = Style(font, INK, bold=True)
    gutter_room = font * 9
    texts = [line for text in plan.rows.labels for line in fit_lines(text.split("\n")[0], label, gutter_room, 3)]
    return _Layout(
        scale=scale,
        cell_width=cell_width,
        cell_height=cell_height,
        gap=gap,
        margin=round(font * 1.6),
        gutter=round(max(text_width(text, label) for text in texts) + font * 0.8),
        control_width=cell_width + 2 * gap + 3 * gap if plan.has_control else 0,
        title=Style(round(font * 1.5), INK, bold=True),
        heading=Style(round(font * 1.2), INK),
        label=label,
        detail=Style(max(11, round(font * 0.8)), FAINT_INK),
        columns=columns,
    )


def _picture_scale(width: int, height: int, plan: GridPlan) -> float:
    """A whole factor for small pictures, so that each of their pixels stays crisp; a reduction for huge grids."""
    columns, rows = len(plan.columns.values), len(plan.rows.values) * len(plan.blocks.values)
    most = min(LARGEST_PAGE[0] / (width * columns), LARGEST_PAGE[1] / (height * rows))
    if most < 1:
        return max(most, 96 / max(width, height))
    enough = -(-SMALLEST_CELL // width)
    roomy = min(ROOMY_PAGE // (width * columns), ROOMY_PAGE // (height * rows), ROOMIEST_CELL // max(width, height))
    return max(1, min(max(enough, roomy), int(most)))


def _font_size(pictures_width: int, cell_width: int) -> int:
    """Large enough to be read when the whole figure fills a projector, small enough for one cell's label."""
    return round(min(max(pictures_width / 72, 15), 44, max(cell_width / 6.5, 11)))


def _draw_header(canvas: Canvas, grid: Grid, layout: _Layout) -> int:
    """What is shown, and the settings that are the same in every picture."""
    plan, small = grid.plan, layout.detail._replace(size=round(layout.label.size * 0.9))
    y: float = layout.margin
    y = canvas.text(layout.margin, y, fit_lines(grid_title(plan), layout.title, layout.text_room, 2), layout.title)
    y += layout.label.size * 0.2
    y = canvas.text(layout.margin, y, fit_lines(grid_facts(grid), small, layout.text_room, 5), small)
    if plan.base.negative_prompt and "negative_prompt" not in changed_fields(plan):
        text = f"negative prompt: {plan.base.negative_prompt}"
        y = canvas.text(layout.margin, y, fit_lines(text, small, layout.text_room, 2), small)
    return round(y + layout.label.size * 0.9)


def _draw_block(canvas: Canvas, grid: Grid, layout: _Layout, block: int, top: int) -> int:
    """One prompt: its heading, the column labels, and a row of pictures for each weight. Returns the y below."""
    plan, size = grid.plan, layout.label.size
    canvas.line(layout.margin, top, layout.width - layout.margin, top)
    heading = fit_lines(plan.blocks.labels[block], layout.heading, layout.text_room, 3)
    y = canvas.text(layout.margin, top + size * 0.6, heading, layout.heading) + size * 0.7
    labels = [_label_lines(text, layout) for text in plan.columns.labels]
    band = max(sum(style.line for _, style in lines) for lines in labels) + size * 0.35
    first = round(y + band)
    rows = len(plan.rows.values)
    bottom = first + rows * (layout.cell_height + layout.gap) - layout.gap
    if plan.has_control:
        panel_top = y - size * 0.25
        panel_bottom = bottom + layout.gap
        canvas.panel(layout.left, panel_top, layout.cell_width + 2 * layout.gap, panel_bottom - panel_top)
    for column, lines in enumerate(labels):
        x = layout.column_left(column) + layout.cell_width / 2
        label_y = y  # first lines side by side, also where only some labels have a second
        for line, style in lines:
            label_y = canvas.text(x, label_y, [line], style, "center")
    for row in range(rows):
        _draw_row(canvas, grid, layout, Cell(block, row, 0), first + row * (layout.cell_height + layout.gap))
    return round(bottom + layout.gap + size * 1.3)


def _draw_row(canvas: Canvas, grid: Grid, layout: _Layout, start: Cell, y: int) -> None:
    """The row's label at the left, then its pictures."""
    label = fit_lines(grid.plan.rows.labels[start.row].split("\n")[0], layout.label, layout.label.size * 9, 3)
    middle = y + layout.cell_height / 2 - len(label) * layout.label.line / 2
    canvas.text(layout.left - layout.label.size * 0.8, middle, label, layout.label, "right")
    shared = is_control_shared(grid.plan, start.block)
    for column in range(len(grid.plan.columns.values)):
        x, place = layout.column_left(column), Cell(start.block, start.row, column)
        if column == 0 and shared:
            if start.row == 0:  # the same picture for every weight: once, at half the block's height
                rows = len(grid.plan.rows.values)
                _draw_cell(canvas, grid, layout, place, x, y + (rows - 1) * (layout.cell_height + layout.gap) // 2)
        else:
            _draw_cell(canvas, grid, layout, place, x, y)


def _draw_cell(canvas: Canvas, grid: Grid, layout: _Layout, cell: Cell, x: int, y: int) -> None:
    image: Image.Image | None = grid.images.get(cell)
    if image is None:
        canvas.frame(x, y, layout.cell_width, layout.cell_height)
        return
    width, height = round(image.width * layout.scale), round(image.height * layout.scale)
    left, top = x + (layout.cell_width - width) // 2, y + (layout.cell_height - height) // 2
    canvas.picture(image, left, top, width, height)


def _label_lines(text: str, layout: _Layout) -> list[tuple[str, Style]]:
    """A column's label, fitted to the column: its first line bold, the others small."""
    first, *details = text.split("\n")
    room = layout.cell_width
    lines = [(line, layout.label) for line in fit_lines(first, layout.label, room, 2)]
    return lines + [(line, layout.detail) for text in details for line in fit_lines(text, layout.detail, room, 1)]
