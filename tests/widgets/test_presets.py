"""Choosing a preset, without a browser."""

import pytest

pytest.importorskip("ipywidgets")

from lora_nb.config_file import make_config
from lora_nb.presets.catalogue import apply_preset, find_preset, list_presets
from lora_nb.project import open_project
from lora_nb.widgets.presets import choose_preset


@pytest.fixture
def project(tmp_path):
    project = open_project(tmp_path / "my_lora")
    project.save_config(make_config({"data": {"trigger_words": ["mochi"]}}))
    return project


def test_nothing_changes_until_the_button_is_pressed(project):
    before = project.config_file.read_text()
    chooser = choose_preset(project)
    chooser.parts["model"].value = "sdxl"
    assert project.config_file.read_text() == before
    chooser.button.click()
    assert project.load_config().model.family == "sdxl"
    assert "model.family: sd1 =&gt; sdxl" in chooser._status.value


def test_the_reasons_follow_the_lists(project):
    chooser = choose_preset(project)
    chooser.parts["subject"].value, chooser.parts["machine"].value = "style", "t4"
    assert "no left and right" in chooser._reasons.value and "emulates bf16" in chooser._reasons.value


def test_every_preset_can_be_chosen(project):
    chooser = choose_preset(project)
    found = {name for _, name in chooser.whole.options} & set(list_presets())
    for subject in chooser.parts["subject"].options:
        for model in chooser.parts["model"].options:
            found |= {f"{subject[1]}/{model[1]}/{machine[1]}" for machine in chooser.parts["machine"].options}
    assert found == set(list_presets())


def test_a_whole_preset_greys_out_the_parts_and_keeps_the_trigger_words(project):
    chooser = choose_preset(project)
    chooser.whole.value = "tutorial"
    assert all(control.disabled for control in chooser.parts.values())
    chooser.button.click()
    before = make_config({"data": {"trigger_words": ["mochi"]}})
    assert project.load_config() == apply_preset(find_preset("tutorial"), before)
    chooser.button.click()
    assert "in force already" in chooser._status.value


def test_what_fails_is_shown(project, monkeypatch):
    chooser = choose_preset(project)

    def fail(config):
        raise OSError("No space left on device")

    monkeypatch.setattr(chooser, "_put", fail)
    chooser.parts["model"].value = "flux"
    chooser.button.click()
    assert "No space left on device" in chooser._status.value
