"""Makes lora_colab.ipynb, the whole road in one notebook, from the six. `python notebooks/join.py`

The set-up cells, which each of the six begins with, come once; links between the six become the names of the parts.
"""

import json
import re
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
JOINED = HERE / "lora_colab.ipynb"
SETUP_CELLS = 2  # code cells with which each notebook begins: installing, and opening the project
LINK = re.compile(r"\[([^\]]+)\]\([1-6]_\w+\.ipynb\)")
TITLE = """# A LoRA from your pictures, in one notebook

[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/lora-nb/lora_nb/blob/main/notebooks/lora_colab.ipynb)

The six notebooks in one, for Colab: set up, dataset, captions, settings, training, evaluation. Run all of it to walk
the road with the demo, in about 15 minutes and without a GPU. Then choose a project name of your own in the second
code cell, bring your pictures, and choose *Runtime ▸ Change runtime type ▸ T4 GPU*."""


def join(notebooks: list[dict[str, Any]]) -> dict[str, Any]:
    """One notebook of all cells. The title of each becomes a heading of a part."""
    cells: list[dict[str, Any]] = [{"cell_type": "markdown", "id": "title", "metadata": {}, "source": TITLE}]
    for number, notebook in enumerate(notebooks, 1):
        setup = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"][:SETUP_CELLS]
        for cell in notebook["cells"]:
            if number > 1 and cell in setup:
                continue
            text = "".join(cell["source"])
            if cell["cell_type"] == "markdown":
                text = without_links(text)
            if text:
                cells.append(cell | {"id": f"part{number}-{cell['id']}", "source": text})
    for cell in cells:
        cell["source"] = cell["source"].splitlines(keepends=True)
    return notebooks[-1] | {"cells": cells}  # with its wish for a GPU


def without_links(text: str) -> str:
    """Leave out the badge, the word on what comes next, and links to the other files."""
    parts = [part for part in text.split("\n\n") if not part.startswith(("[![Open in Colab]", "**Next:**"))]
    return LINK.sub(r"*\1*", "\n\n".join(parts))


def read_six() -> list[dict[str, Any]]:
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(HERE.glob("[1-6]_*.ipynb"))]


def write(notebook: dict[str, Any]) -> str:
    return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    JOINED.write_text(write(join(read_six())), encoding="utf-8")
