"""Errors in a notebook are explained above their traceback, which stays."""

import subprocess
import sys

import pytest

pytest.importorskip("IPython")

from lora_nb.errors import ProjectError
from lora_nb.widgets.errors import Notice, describe_error

CELLS = """
import sys
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance(colors=sys.argv[1] if len(sys.argv) > 1 else "NoColor")
others = []
def colab(self, kind, error, where, tb_offset=None):
    others.append(kind)
    self.showtraceback((kind, error, where))
shell.set_custom_exc((ImportError,), colab)  # as Colab does
shell.run_cell("from lora_nb.widgets.errors import explain_errors; explain_errors(); explain_errors()")
for cell in {cells!r}:
    print("=====", cell)
    found = shell.run_cell(cell).error_in_exec
    print("raised", type(found).__name__)
print("others", [kind.__name__ for kind in others])
"""


def run_cells(*cells: str) -> list[str]:
    """What each cell printed, and at last what other handlers were asked."""
    done = subprocess.run([sys.executable, "-c", CELLS.format(cells=cells)], capture_output=True, text=True, check=True)
    return done.stdout.split("===== ")[1:]


def test_an_error_is_explained_above_its_traceback_in_every_cell():
    missing, strange, own, stopped, fine = run_cells(
        "import no_such_package",
        "raise ValueError('mine')",
        "from lora_nb.errors import ProjectError; raise ProjectError('There is no project.')",
        "raise KeyboardInterrupt",
        "1 + 1",
    )
    assert missing.index("What this error means:") < missing.index("Traceback (most recent call last)")
    assert missing.count("What this error means:") == 1 and "pip install no_such_package" in missing
    assert "raised ModuleNotFoundError" in missing
    assert "What this error means" not in strange and "ValueError: mine" in strange and "raised ValueError" in strange
    assert own.index("This did not work:") < own.index("Traceback (most recent call last)") and "ProjectError" in own
    assert "What this error means" not in stopped and "raised KeyboardInterrupt" in stopped
    assert "raised NoneType" in fine
    assert "others ['ModuleNotFoundError']" in fine, "the handler that was there before is still asked"


def test_what_is_shown_is_escaped():
    html = Notice("x", ["<script>"])._repr_html_()
    assert "<script>" not in html and "&lt;script&gt;" in html and 'role="alert"' in html


def test_an_unknown_error_gets_no_box():
    assert describe_error(ValueError("x")) is None
    assert "There is none" in repr(describe_error(ProjectError("There is none.")))
