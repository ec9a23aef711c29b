"""A grid of pictures to look at closely, in a notebook: enlarge, compare, copy a prompt, download."""

from functools import lru_cache
from typing import Any

from lora_nb.errors import LoraNbError
from lora_nb.evaluation.describing import describe_grid, list_pictures
from lora_nb.evaluation.grid_page import VIEWER, VIEWER_STYLE, Encoded, encode_picture, grid_page
from lora_nb.evaluation.grids import Grid
from lora_nb.evaluation.plots import grid_png
from lora_nb.widgets.asking import AskedWidget, Reply, send_part

THUMBNAIL = 384  # pixels: enough for a cell on a sharp screen
FILES = {"png": "image/png", "html": "text/html"}


class GridWidget(AskedWidget):
    """The viewer of a grid. Pictures come when they are looked at, in parts that every host lets through."""

    files = "grid"
    elsewhere = (VIEWER, VIEWER_STYLE)

    def __init__(self, grid: Grid) -> None:
        super().__init__()
        self._grid = grid
        self._pictures = list_pictures(grid)
        self._encode = lru_cache(maxsize=128)(self._encode_picture)  # several parts of one picture, and its return
        self._make = lru_cache(maxsize=1)(self._make_file)

    def answer_view(self) -> Reply:
        """What there is to see, without the pictures."""
        return describe_grid(self._grid)

    def answer_picture(self, number: int, full: bool, start: int = 0) -> Reply:
        """A part of a picture's file, from a byte on."""
        encoded = self._encode(number, full)
        return send_part(encoded.content, start, {"type": encoded.kind})

    def answer_file(self, kind: str, start: int = 0) -> Reply:
        """A part of the whole grid as a file to keep: 'png' or 'html'."""
        if kind not in FILES:
            raise LoraNbError(f"A grid cannot be saved as {kind!r}. Choose one of: {', '.join(FILES)}.")
        return send_part(self._make(kind), start, {"type": FILES[kind]})

    def _encode_picture(self, number: int, full: bool) -> Encoded:
        return encode_picture(self._pictures[number], None if full else THUMBNAIL)

    def _make_file(self, kind: str) -> bytes:
        return grid_png(self._grid) if kind == "png" else grid_page(self._grid).encode()


def view_grid(grid: Grid) -> Any:
    """Show a grid so that it can be looked at closely: the last line of a cell."""
    return GridWidget(grid)
