"""What the settings mean for this machine, and settings from a file: by pressing the widgets' buttons."""

import json
from dataclasses import replace

import pytest

pytest.importorskip("ipywidgets")

from lora_nb.config_file import change_settings
from lora_nb.project import open_project
from lora_nb.widgets import outlook
from lora_nb.widgets.form import edit_settings
from lora_nb.widgets.importing import import_settings
from lora_nb.widgets.outlook import show_outlook
from lora_nb.workshop import demo_project


@pytest.fixture
def project(tmp_path):
    project = open_project(tmp_path / "my_lora")
    demo_project.fill_if_empty(project)
    return project


def test_steps_memory_and_file_size_are_there_before_a_training(project):
    shown = show_outlook(project)._lines.value
    assert "steps x" in shown and "Memory: about" in shown and "Each LoRA file:" in shown and "✗" not in shown


def test_what_does_not_fit_names_the_cheapest_change(project, monkeypatch):
    machine, config = outlook.find_machine(), project.load_config()
    shape = outlook.largest_batch(outlook.plan_steps(outlook.scan_images(project.images), config), config)
    need = outlook.forecast_memory(config, shape, "cpu", 12).peak / 2**30
    small = replace(machine, gpu=None, gpu_memory_gib=0.0, memory_gib=0.98 * need)
    monkeypatch.setattr(outlook, "find_machine", lambda folder=None: small)
    shown = show_outlook(project)._lines.value
    assert "It does not fit. The cheapest change that does" in shown and " = " in shown


def test_the_time_is_measured_on_request(project):
    made = show_outlook(project)
    made.measure.click()
    assert "steps take" in made._time.value, made._time.value
    assert not list((project.root / "runs").glob("*"))


def test_a_kohya_file_is_accounted_for_before_it_is_used(project, tmp_path):
    file = tmp_path / "kohya.json"
    file.write_text(json.dumps({"network_dim": 7, "network_alpha": 3, "max_train_epochs": 5, "LoRA_type": "Standard"}))
    form = edit_settings(project, names=["adapter"])
    made = import_settings(project)
    made.path.value = str(file)
    made.look.click()
    assert "network_dim" in made._account.value and project.load_config().adapter.rank != 7
    made.use.click()
    assert project.load_config().adapter.rank == 7
    assert form.controls["adapter.rank"].value == "7", "open forms follow"


def test_another_projects_settings_are_read(project, tmp_path):
    other = open_project(tmp_path / "other")
    other.save_config(change_settings(project.load_config(), {"run.epochs": 3}))
    made = import_settings(project)
    made.path.value = str(other.config_file)
    made.look.click()
    made.use.click()
    assert project.load_config().run.epochs == 3


def test_a_file_that_is_not_there_is_named(project):
    made = import_settings(project)
    made.path.value = "/no/such/file.json"
    made.look.click()
    assert "/no/such/file.json" in made._status.value and made.use.disabled


def test_forms_of_one_project_follow_one_another(project):
    first, second = edit_settings(project, names=["run.epochs"]), edit_settings(project, names=["run"])
    first.controls["run.epochs"].value = "4"
    assert second.controls["run.epochs"].value == "4"
    second.controls["run.batch_size"].value = "2"
    config = project.load_config()
    assert (config.run.epochs, config.run.batch_size) == (4, 2)
