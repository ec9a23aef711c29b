"""Give somebody a grid that they can look at closely: one HTML file that needs neither a notebook nor the net."""

import base64
import io
import json
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from lora_nb.errors import LoraNbError
from lora_nb.evaluation.describing import describe_grid, list_pictures
from lora_nb.evaluation.grids import Grid
from lora_nb.files import write_whole

STATIC = Path(__file__).parent / "static"
VIEWER, VIEWER_STYLE = STATIC / "viewer.js", STATIC / "viewer.css"
SMALL = 256  # pixels: up to this side, a picture stays as it was drawn; above, JPEG is a tenth of the size
_NOTHING_FROM_OUTSIDE = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


class Encoded(NamedTuple):
    """A picture as the bytes of a file."""

    content: bytes
    kind: str  # "image/png" or "image/jpeg"


def save_grid_html(grid: Grid, path: Path) -> None:
    """Write a grid as one HTML file: every picture with its alt text, full size, its prompt to copy, comparison.

    Larger pictures are stored as JPEG of high quality. All of the file is written or nothing.
    """
    if path.suffix.lower() not in (".html", ".htm"):
        raise LoraNbError(f"{path} is not an HTML file. Give it a name that ends in .html.")
    write_whole(path, grid_page(grid).encode())


def grid_page(grid: Grid) -> str:
    """The text of that file. Its tables can be read without scripts; with them, they become the viewer."""
    view = describe_grid(grid)
    sources = [_data_url(encode_picture(picture)) for picture in list_pictures(grid)]
    data = json.dumps(view, ensure_ascii=False).replace("<", "\\u003c")  # no caption can end the script
    style = (STATIC / "page.css").read_text(encoding="utf-8") + VIEWER_STYLE.read_text(encoding="utf-8")
    code = (STATIC / "page.js").read_text(encoding="utf-8") + VIEWER.read_text(encoding="utf-8")
    tables = "".join(_block_table(view, block, sources) for block in range(len(view["cells"])))
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{_NOTHING_FROM_OUTSIDE}">
<meta name="generator" content="lora_nb"><title>{escape(view["title"])}</title>
<style>{style}</style></head>
<body><main class="ln" id="grid"><h1>{escape(view["title"])}</h1><p>{escape(view["facts"])}</p>{tables}</main>
<script type="application/json" id="view">{data}</script>
<script type="module">{code.replace("export function", "function")}
startPage();
</script></body></html>
"""


def encode_picture(picture: Image.Image, longest: int | None = None) -> Encoded:
    """A picture for a browser, reduced to `longest` pixels on its longer side if that is given."""
    buffer = io.BytesIO()
    if longest and max(picture.size) > longest:
        picture = picture.copy()
        picture.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    if max(picture.size) <= SMALL:
        picture.save(buffer, "PNG")
        return Encoded(buffer.getvalue(), "image/png")
    picture.convert("RGB").save(buffer, "JPEG", quality=92, subsampling=0)
    return Encoded(buffer.getvalue(), "image/jpeg")


def _data_url(encoded: Encoded) -> str:
    return f"data:{encoded.kind};base64,{base64.b64encode(encoded.content).decode()}"


def _block_table(view: dict[str, Any], block: int, sources: list[str]) -> str:
    """The pictures of one prompt as a plain table."""
    head = "".join(f'<th scope="col">{_lines(label)}</th>' for label in view["axes"]["columns"]["labels"])
    caption = escape(view["axes"]["blocks"]["labels"][block])
    rows = []
    for row, cells in enumerate(view["cells"][block]):
        is_repeated = [view["shared"][block] and row > 0 and column == 0 for column in range(len(cells))]
        pictures = "".join(
            f"<td>{'' if repeated else _picture(cell, sources)}</td>"
            for cell, repeated in zip(cells, is_repeated, strict=True)
        )
        rows.append(f'<tr><th scope="row">{_lines(view["axes"]["rows"]["labels"][row])}</th>{pictures}</tr>')
    return f"<table><caption>{caption}</caption><thead><tr><td></td>{head}</tr></thead>{''.join(rows)}</table>"


def _picture(cell: dict[str, Any], sources: list[str]) -> str:
    number, name = cell["picture"], escape(cell["name"], quote=True)
    return "not drawn" if number is None else f'<img data-picture="{number}" alt="{name}" src="{sources[number]}">'


def _lines(label: str) -> str:
    return "<br>".join(escape(line) for line in label.split("\n"))
