"""Notebook 6 on its own: which run does it take?"""

from pathlib import Path

import pytest

from lora_nb.project import Project, open_project
from lora_nb.training.watching import RunState
from lora_nb.workshop import demo_project


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """One in which a training would be seen and not done."""
    project = open_project(tmp_path / "mochi")
    monkeypatch.setattr(demo_project, "train_project", lambda project: project.run_folder("trained"))
    return project


def have(project: Project, monkeypatch: pytest.MonkeyPatch, *states: RunState) -> list[str]:
    """Let these be the project's runs. Returns the names of those that will be waited for."""
    waited: list[str] = []

    def wait(folder: Path, on_event: object) -> None:
        waited.append(folder.name)
        add_lora(folder)

    monkeypatch.setattr(demo_project, "list_runs", lambda project: list(states))
    monkeypatch.setattr(demo_project, "follow_run", wait)
    return waited


def add_lora(folder: Path) -> None:
    (folder / "loras").mkdir(parents=True)
    (folder / "loras" / "mochi.safetensors").touch()


def test_without_a_run_the_project_is_trained(project):
    assert demo_project.ensure_run(project).name == "trained"


def test_a_run_that_failed_before_its_first_lora_is_passed_over(project, monkeypatch):
    have(project, monkeypatch, RunState("run1", "finished"), RunState("run2", "crashed"))
    add_lora(project.run_folder("run1"))
    assert demo_project.ensure_run(project).name == "run1"


def test_a_training_that_goes_on_is_waited_for(project, monkeypatch, capsys):
    waited = have(project, monkeypatch, RunState("run1", "running"))
    assert demo_project.ensure_run(project).name == "run1"
    assert waited == ["run1"]
    assert "run1 is still being trained" in capsys.readouterr().out
