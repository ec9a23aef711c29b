"""What Colab's old notebook stack makes of the widgets, and of the torchao that it ships."""

from pathlib import Path

import pytest

from tests.notebooks.colab import run_python

pytestmark = pytest.mark.notebooks

VERSIONS = """
import IPython, anywidget, ipykernel, ipywidgets, traitlets
print(IPython.__version__, ipykernel.__version__, ipywidgets.__version__, traitlets.__version__, anywidget.__version__)
"""
WIDGETS = """
import importlib, pkgutil, tempfile
import google.colab.output
import lora_nb, lora_nb.widgets
from lora_nb.widgets.asking import AskedWidget
from lora_nb.workshop import demo_project
for each in pkgutil.iter_modules(lora_nb.widgets.__path__):
    importlib.import_module(f"lora_nb.widgets.{each.name}")
project = lora_nb.open_project(tempfile.mkdtemp() + "/my_lora")
demo_project.fill_if_empty(project)
for name in MAKERS:
    module, _, function = name.rpartition(".")
    made = getattr(importlib.import_module(f"lora_nb.widgets.{module}"), function)(project)
    widget = getattr(made, "widget", made)
    answers = []
    if isinstance(widget, AskedWidget):
        widget.send = lambda content, buffers=None: answers.append((content, buffers))
        hello = {"id": "1", "ask": "greet", "details": {"sent": [1, 2]}, "plain": False}
        widget._handle_custom_msg(hello, [memoryview(bytes([1, 2]))])
        assert answers == [({"id": "1", "answer": {"arrived": True}}, [bytes([1, 2])])], answers
    print(name, type(widget).__name__, len(widget.get_state()))
"""
TORCHAO = """
import lora_nb, importlib.metadata
from lora_nb.adapters.kinds import add_adapter
from lora_nb.config import AdapterConfig, ModelConfig
assert importlib.metadata.version("torchao") == "0.10.0"
found = {problem.where: problem for problem in lora_nb.doctor()}
print(found["package torchao"])
model = lora_nb.load_model(ModelConfig())
print(len(add_adapter(model, AdapterConfig(), seed=0)["lora_unet"]))
"""
# everything a notebook shows that has a project: module and function
MAKERS = ["presets.choose_preset", "form.edit_settings", "importing.import_settings", "outlook.show_outlook"]
MAKERS += ["board.edit_dataset", "captions.edit_captions", "tagger.tag_pictures", "panel.show_panel"]


def test_the_versions_are_colabs(colab_python: Path):
    assert run_python(colab_python, VERSIONS).split() == ["7.34.0", "6.17.1", "7.7.1", "5.7.1", "0.9.21"]


def test_every_widget_builds_and_answers(colab_python: Path):
    lines = run_python(colab_python, f"MAKERS = {MAKERS!r}\n{WIDGETS}").splitlines()
    assert [line.split()[0] for line in lines] == MAKERS


def test_the_doctor_names_the_old_torchao_and_a_lora_is_put_on_all_the_same(colab_python: Path):
    note, count = run_python(colab_python, TORCHAO).splitlines()
    assert "0.10.0 is too old for peft" in note
    assert int(count) > 10
