"""The self-checks: a tick for what is in order, and the way out for the rest."""

import pytest

pytest.importorskip("ipywidgets")

from lora_nb.project import open_project
from lora_nb.widgets import check
from lora_nb.workshop import demo_project


@pytest.fixture
def project(tmp_path):
    project = open_project(tmp_path / "my_lora")
    demo_project.fill_if_empty(project)
    return project


def test_the_demo_is_ready_before_training(project):
    for made in (check.machine(project), check.dataset(project), check.captions(project), check.settings(project)):
        assert made.ok, list(made)
        assert "All is well" in made._repr_html_()


def test_too_few_pictures_are_marked_with_the_reason(project):
    for picture in sorted(project.images.glob("*/*.png"))[3:]:
        picture.unlink()
    found = check.dataset(project)
    assert not found.ok and "3 pictures" in found[0].what
    assert "at least 8 different ones" in found._repr_html_()


def test_an_odd_caption_is_named(project):
    sorted(project.images.glob("*/*.txt"))[0].write_text("smile, mochi")
    found = check.captions(project)
    assert not found.ok and "001" in found._repr_html_()


def test_settings_that_will_disappoint_are_named(project):
    config = project.load_config()
    prompts = ("mochi, smile",)
    project.save_config(config.model_copy(update={"samples": config.samples.model_copy(update={"prompts": prompts})}))
    found = check.settings(project)
    assert not found.ok and "it shows what leaks" in found._repr_html_()


def test_no_run_is_no_judgement(project):
    assert not check.evaluation(project).ok


def test_what_a_file_name_says_is_never_html(project):
    assert "<b>x</b>" not in check.Checklist([check.Tick(False, "<b>x</b>")])._repr_html_()
