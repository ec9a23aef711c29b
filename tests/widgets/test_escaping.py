"""Names, captions and settings may hold anything; none of it ever becomes part of the page."""

import json
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import ipywidgets
import pytest

from lora_nb.config import TrainConfig
from lora_nb.config_file import change_settings
from lora_nb.errors import LoraNbError
from lora_nb.project import Project, open_project
from lora_nb.widgets import check
from lora_nb.widgets.form import SettingsForm, edit_settings
from lora_nb.widgets.importing import import_settings
from lora_nb.widgets.presets import choose_preset
from lora_nb.widgets.show import show_facts, show_problems, show_table
from tests.dataset.pictures import save

HOSTILE = [
    "<img src=x onerror=alert(1)>",
    '"><script>alert(1)<!--',
    "' onmouseover='alert(1)' x='",
    '" style="position:fixed" x="',
    "<b>bold<b>&lt;i&gt;",
]
OURS = {"div", "span", "b", "i", "p", "ul", "li", "pre", "style", "table", "thead", "tbody", "tr", "th", "td", "code"}
ATTRIBUTES = {"class", "style", "role", "aria-level", "scope"}


class Reader(HTMLParser):
    """What a browser would make of a text."""

    def __init__(self) -> None:
        super().__init__()
        self.foreign: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.foreign += [] if tag in OURS else [tag]
        self.foreign += [name for name, _ in attrs if name not in ATTRIBUTES]
        self.foreign += [value for name, value in attrs if name == "style" and "fixed" in (value or "")]

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_comment(self, data: str) -> None:
        self.foreign.append(data)


def htmls(widget: Any) -> Iterator[str]:
    """Every piece of HTML in a widget and in those that it holds."""
    if isinstance(widget, ipywidgets.HTML):
        yield str(widget.value)
    assert not getattr(widget, "description_allow_html", False)
    for child in getattr(widget, "children", ()):
        yield from htmls(child)


def read(*parts: str) -> str:
    """The visible text; fails if something stands in the HTML that we did not put there."""
    text = ""
    for part in parts:
        reader = Reader()
        reader.feed(part)
        reader.close()
        assert reader.foreign == []
        text += reader.text
    return text


@pytest.fixture(params=HOSTILE)
def evil(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def project(tmp_path: Path, evil: str) -> Project:
    """A project that is called so, as are its pictures, captions and settings."""
    name = evil.replace("/", "")
    project = open_project(tmp_path / name)
    save(project.images / f"2_{name}" / f"{name}.png", f"{evil}, smile")
    save(project.images / f"2_{name}" / "broken.png")
    (project.images / f"2_{name}" / "broken.png").write_bytes(b"no picture")
    (project.images / f"x_{name}").mkdir()
    save(project.images / f"x_{name}" / "a.png", "other words")
    texts = {"data.trigger_words": (evil,), "samples.prompts": (evil,), "model.base": "workshop"}
    project.save_config(change_settings(TrainConfig(), texts))
    return project


def test_what_is_typed_into_any_field(evil):
    form = SettingsForm(TrainConfig())
    for control in form.controls.values():
        if isinstance(control, ipywidgets.Text | ipywidgets.Textarea):
            control.value = evil
    assert form.errors and evil in read(*htmls(form.widget))


def test_a_projects_form(project, evil):
    form = edit_settings(project)
    form.controls["run.epochs"].value = evil
    form.controls["run.batch_size"].value = "3"
    assert evil in read(*htmls(form.widget))


def test_presets_beside_settings_that_are_kept(project, evil):
    chooser = choose_preset(project)
    chooser.button.click()
    assert "Saved" in read(*htmls(chooser.widget)) and project.load_config().samples.prompts == (evil,)


def test_a_file_of_settings_and_its_name(project, evil, tmp_path):
    importing = import_settings(project)
    importing.path.value = evil
    importing.look.click()
    assert evil in read(*htmls(importing.widget))
    file = tmp_path / "kohya.json"
    file.write_text(json.dumps({"learning_rate": evil, "sample_prompts": evil, "optimizer": "AdamW8bit", evil: evil}))
    importing.path.value = str(file)
    importing.look.click()
    assert evil in read(*htmls(importing.widget))


def test_all_self_checks(project, evil):
    found = [each(project) for each in (check.machine, check.dataset, check.captions, check.settings, check.evaluation)]
    found.append(check.training(project.run_folder(evil)))
    assert evil in read(*(each._repr_html_() for each in found))


def test_tables_and_errors(project, evil):
    with pytest.raises(LoraNbError) as caught:
        project.change_settings({evil: evil})
    shown = [show_table([{evil: evil}]), show_facts({evil: evil}), show_problems(caught.value.problems)]
    assert read(*(str(each.data) for each in shown)).count(evil) >= 5


def test_scripts_never_read_text_as_html():
    """Names come as JSON, and stand in the page as text: the scripts have no other way to put them there."""
    static = Path(check.__file__).parent / "static"
    for file in [*static.glob("*.js"), *static.parent.parent.glob("evaluation/**/*.js")]:
        for way in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "DOMParser", "eval("):
            assert way not in file.read_text(), f"{file.name} uses {way}"
