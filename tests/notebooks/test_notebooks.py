"""The notebooks, run from top to bottom on Colab's notebook stack: the first four each, and the whole road in one.

The six one after the other, in JupyterLab and with a person's clicks: tests/browser/test_road.py.
"""

import importlib.util
from pathlib import Path

import pytest

from lora_nb.config_file import change_settings
from lora_nb.project import find_project

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")

REPOSITORY = Path(__file__).parents[2]
NOTEBOOKS = sorted((REPOSITORY / "notebooks").glob("[1-6]_*.ipynb"))
EPOCHS = 3  # a short training, in which everything happens more than once
LONGEST_CELL = 1800  # seconds: the training, on a very busy machine

pytestmark = pytest.mark.notebooks


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where all of them run: each finds what the ones before it left."""
    return tmp_path_factory.mktemp("notebooks")


def test_there_are_six():
    assert [path.name[0] for path in NOTEBOOKS] == list("123456")


def test_the_one_for_colab_is_made_of_the_six_as_they_are():
    spec = importlib.util.spec_from_file_location("join", REPOSITORY / "notebooks" / "join.py")
    join = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(join)
    current = join.JOINED.read_text(encoding="utf-8")
    assert join.write(join.join(join.read_six())) == current, "run: python notebooks/join.py"
    nbformat.validate(nbformat.reads(current, as_version=4))


@pytest.mark.parametrize("path", NOTEBOOKS[:4], ids=lambda path: path.stem)
def test_notebook_runs_from_top_to_bottom(path: Path, folder: Path, colab_kernel: str):
    run(path, folder, colab_kernel)


def test_the_whole_road_in_one_notebook(folder: Path, colab_kernel: str):
    project = find_project(folder / "my_lora")
    project.save_config(change_settings(project.load_config(), {"run.epochs": EPOCHS}))
    run(REPOSITORY / "notebooks" / "lora_colab.ipynb", folder, colab_kernel)


def run(path: Path, folder: Path, kernel: str) -> None:
    """Run all cells; what a library warns about, a beginner takes for a mistake of their own."""
    notebook = nbformat.read(path, as_version=4)
    place = {"metadata": {"path": str(folder)}}
    nbclient.NotebookClient(notebook, timeout=LONGEST_CELL, kernel_name=kernel, resources=place).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert [output["text"] for output in outputs if output.get("name") == "stderr"] == []


def test_the_project_holds_all_that_the_road_promises(folder: Path):
    project = folder / "my_lora"
    assert len(list(project.glob("images/*/*.txt"))) == 12
    assert (project / "config.json").is_file()
    assert len(list(project.glob("runs/run1/loras/*.safetensors"))) >= EPOCHS
    assert list(project.glob("runs/run1/samples/*.png"))
    assert list(project.glob("grids/**/*.png"))
