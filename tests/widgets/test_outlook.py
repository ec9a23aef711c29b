"""What the settings mean for this machine, and settings from a file: by pressing the widgets' buttons."""

import json
from dataclasses import replace

import pytest

pytest.importorskip("ipywidgets")

from lora_nb.config_file import change_settings
from lora_nb.dataset.images import scan_images
from lora_nb.project import open_project
from lora_nb.widgets import outlook
from lora_nb.widgets.form import edit_settings
from lora_nb.widgets.importing import import_settings
from lora_nb.widgets.outlook import Outlook, show_outlook
from lora_nb.workshop import demo_project


@pytest.fixture
def project(tmp_path):
    project = open_project(tmp_path / "my_lora")
    demo_project.fill_if_empty(project)
    return project


def look(shown: Outlook) -> str:
    """What its page shows once everything is computed, as asking again and again would."""
    for _ in range(3):
        answer = shown.answer_news()
        shown._memory.wait()
    assert not answer["wait"]
    return "\n".join(f"{'✓' if is_good else '✗'} {text}" for text, is_good in answer["lines"])


def test_steps_memory_and_file_size_are_there_before_a_training(project):
    text = look(show_outlook(project))
    assert "steps x" in text and "Memory: about" in text and "Each LoRA file:" in text and "✗" not in text


def test_it_follows_every_change(project):
    shown = show_outlook(project)
    before = look(shown)
    project.change_settings({"adapter.rank": 2, "adapter.alpha": 1, "run.epochs": 3})
    assert "computed …" in str(shown.answer_news()["lines"]), "figures of other settings are not shown"
    after = look(shown)
    assert "x 3 epochs" in after and after.split("Each LoRA file")[1] != before.split("Each LoRA file")[1]


def test_nothing_is_computed_while_settings_still_change(project, monkeypatch):
    computed = []
    monkeypatch.setattr(outlook, "_describe_memory", lambda project, now: computed.append(now.config.run.epochs) or [])
    shown = show_outlook(project)
    for epochs in (1, 12, 120):
        project.change_settings({"run.epochs": epochs})
        shown.answer_news()
    look(shown)
    assert computed == [120]


def test_what_cannot_be_computed_is_said_and_mended(project):
    shown = show_outlook(project)
    text = project.config_file.read_text()
    project.config_file.write_text("{")
    assert shown.answer_news()["lines"][0][1] is False and "not JSON" in shown.answer_news()["lines"][0][0]
    project.config_file.write_text(text)
    assert "Memory: about" in look(shown)


def test_an_error_beside_the_notebook_reaches_the_page(project, monkeypatch):
    def fail(project, now):
        raise ValueError("no such layer")

    monkeypatch.setattr(outlook, "_describe_memory", fail)
    assert "✗ It cannot be computed: no such layer" in look(show_outlook(project))


def test_what_does_not_fit_names_the_cheapest_change(project, monkeypatch):
    machine, config = outlook.find_machine(), project.load_config()
    shape = outlook.largest_batch(outlook.plan_steps(scan_images(project.images), config), config)
    need = outlook.forecast_memory(config, shape, "cpu", 12).peak / 2**30
    small = replace(machine, gpu=None, gpu_memory_gib=0.0, memory_gib=0.98 * need)
    monkeypatch.setattr(outlook, "find_machine", lambda folder=None: small)
    text = look(show_outlook(project))
    assert "✗ Memory" in text and "It does not fit. The cheapest change that does" in text and " = " in text


def test_the_time_is_measured_on_request_and_follows_the_steps(project):
    shown = show_outlook(project)
    assert "measure them" in str(shown.answer_measure()["lines"])
    shown._time.wait()
    steps = project.load_config().run.epochs
    assert "steps take" in look(shown)
    project.change_settings({"run.epochs": 2 * steps})
    assert "steps take" in look(shown), "a step takes as long as before"
    project.change_settings({"adapter.rank": 2, "adapter.alpha": 1})
    assert "Measure it again" in look(shown)
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
