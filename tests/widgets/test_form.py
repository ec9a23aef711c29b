"""The form of the settings, without a browser: setting a widget's value is what typing does."""

import json

import pytest

ipywidgets = pytest.importorskip("ipywidgets")

from lora_nb.config import ModelConfig, TrainConfig, choices_of, facts_of, list_settings  # noqa: E402
from lora_nb.config.applicability import find_idle, find_inapplicable  # noqa: E402
from lora_nb.config_file import change_settings, make_config  # noqa: E402
from lora_nb.errors import ConfigError  # noqa: E402
from lora_nb.project import open_project  # noqa: E402
from lora_nb.widgets.controls import CONTROLS, make_control, make_help  # noqa: E402
from lora_nb.widgets.form import SettingsForm, edit_settings, read_setting  # noqa: E402


@pytest.fixture
def seen():
    return []


@pytest.fixture
def form(seen):
    return SettingsForm(TrainConfig(), on_change=lambda config: seen.append(config) or "passed on")


def test_every_setting_has_a_field_that_shows_its_value():
    config = TrainConfig()
    for name, field in list_settings():
        value = read_setting(config, name)
        shown = make_control(field, value).value
        assert read_setting(change_settings(config, {name: shown}), name) == value, name


def test_every_kind_of_field_is_used():
    kinds = {make_control(field, read_setting(TrainConfig(), name)).widget for name, field in list_settings()}
    assert {type(widget).__name__ for widget in kinds} == {"Text", "Textarea", "Checkbox", "Dropdown"}
    assert set(CONTROLS) == {"choice", "bool", "int", "float", "str", "tuple", "dict"}


def test_a_change_that_works_is_in_force_and_told_at_once(form, seen):
    form.controls["run.epochs"].value = "5"
    assert form.value.run.epochs == 5
    assert seen == [form.value]
    assert form.errors == {}


def test_numbers_lists_and_switches_become_the_settings_own_types(form):
    form.controls["optimizer.learning_rate"].value = "3e-4"
    form.controls["data.trigger_words"].value = "mochi\n\n  bluecape "
    form.controls["adapter.block_ranks"].value = "mid_block = 4\n\ndown_blocks.1=8"
    form.controls["data.shuffle_tags"].value = False
    form.controls["loss.weighting"].value = "min_snr"
    assert form.value.optimizer.learning_rate == 3e-4
    assert form.value.data.trigger_words == ("mochi", "bluecape")
    assert form.value.adapter.block_ranks == {"mid_block": 4, "down_blocks.1": 8}
    assert form.value.data.shuffle_tags is False
    assert form.value.loss.weighting == "min_snr"


def test_what_is_being_typed_is_left_as_it_is(form):
    for typed in ("1", "1.", "1.5"):
        form.controls["adapter.alpha"].value = typed
        assert form.controls["adapter.alpha"].value == typed and form.controls["adapter.alpha"].continuous_update
    assert form.value.adapter.alpha == 1.5 and form.errors == {}


@pytest.mark.parametrize("typed", ["0", "-3", "five", "2.5", "", "nan"])
def test_a_value_that_does_not_work_is_explained_and_changes_nothing(form, seen, typed):
    form.controls["run.epochs"].value = typed
    assert form.value == TrainConfig()
    assert seen == []
    assert "does not work" in form.errors["run.epochs"]
    assert "Epochs" in form._status.value


def test_other_changes_still_work_beside_a_wrong_one(form):
    form.controls["run.epochs"].value = "0"
    form.controls["adapter.rank"].value = "4"
    assert form.value.adapter.rank == 4
    assert list(form.errors) == ["run.epochs"]


def test_a_corrected_value_is_forgiven(form):
    form.controls["run.epochs"].value = "0"
    form.controls["run.epochs"].value = "10"
    assert form.errors == {}
    assert form._status.value == ""


def test_two_values_that_need_each_other_come_into_force_together(form):
    form.controls["data.min_bucket_size"].value = "1280"  # more than the largest, 1024
    assert list(form.errors) == ["data.min_bucket_size"]
    form.controls["data.max_bucket_size"].value = "2048"
    assert form.errors == {}
    assert (form.value.data.min_bucket_size, form.value.data.max_bucket_size) == (1280, 2048)


def test_what_fails_when_passing_on_is_shown():
    def fail(config):
        raise OSError("No space left on device")

    form = SettingsForm(TrainConfig(), on_change=fail)
    form.controls["run.epochs"].value = "3"
    assert "No space left on device" in form._status.value


def test_typed_text_cannot_become_html(form):
    form.controls["run.epochs"].value = "<img src=x onerror=alert(1)>"
    row = form._rows["run.epochs"]
    assert "<img" not in row.error.value
    assert "&lt;img" in row.error.value


def test_help_names_what_it_does_its_bounds_and_kohyas_name():
    fields = dict(list_settings())
    assert "1 to 1,024; Kohya: network_dim" in make_help(fields["adapter.rank"]).value
    assert "above 0 to 1,024" in make_help(fields["adapter.alpha"]).value


def test_a_setting_that_waits_for_another_is_grey_and_says_why(form):
    assert form.controls["loss.min_snr_gamma"].disabled
    assert "Only used when loss.weighting is min_snr." in form._rows["loss.min_snr_gamma"].why_off.value
    form.controls["loss.weighting"].value = "min_snr"
    assert not form.controls["loss.min_snr_gamma"].disabled
    assert form._rows["loss.min_snr_gamma"].why_off.value == ""


@pytest.mark.parametrize("family", choices_of(ModelConfig.model_fields["family"]))
def test_what_cannot_act_on_a_family_is_grey_with_its_reason_and_off(family):
    form = SettingsForm(TrainConfig())
    form.controls["model.family"].value = family
    assert form.errors == {} and form.value.model.family == family
    refused = find_inapplicable(family, form.value.adapter.kind)
    for name, widget in form.controls.items():
        assert widget.disabled == (name in refused or name in find_idle(form.value)), name
        if name in refused:
            shown = make_control(dict(list_settings())[name], read_setting(form.value, name)).widget.value
            assert widget.value == shown, f"{name} shows the value that is in force"
    form.controls["model.family"].value = TrainConfig().model.family
    assert form.value == TrainConfig(), "the way back brings the defaults back"


def test_a_switch_that_would_ignore_what_was_set_names_it(form, monkeypatch):
    form.controls["noise.offset"].value = "0.3"
    field = dict(list_settings())["noise.offset"]
    monkeypatch.setitem(facts_of(field), "not_for", {"lora": "There is nothing to shift <here>."})
    form.controls["run.epochs"].value = "3"
    error = form._rows["run.epochs"].error.value
    assert "noise.offset: 0.3 would do nothing: There is nothing to shift &lt;here&gt;." in error


def test_rarely_needed_settings_are_hidden_until_asked_for(form):
    box = form._rows["data.bucket_step"].box
    assert box.layout.display == "none"
    form.widget.children[0].value = True
    assert box.layout.display == ""


def test_a_section_is_shown_whole_with_its_rare_settings_hidden():
    form = SettingsForm(TrainConfig(), names=("loss", "noise"))
    assert list(form.controls)[:2] == ["loss.kind", "loss.huber_schedule"]
    assert {name.split(".")[0] for name in form.controls} == {"loss", "noise"}
    assert form._rows["loss.kind"].box.layout.display == "none"


def test_chosen_settings_are_shown_also_when_they_are_rare():
    form = SettingsForm(TrainConfig(), names=("run.epochs", "data.bucket_step"))
    assert list(form.controls) == ["run.epochs", "data.bucket_step"]
    assert form._rows["data.bucket_step"].box.layout.display != "none"


def test_an_unknown_setting_is_refused():
    with pytest.raises(ConfigError, match=r"run\.epoch: There is no such setting"):
        SettingsForm(TrainConfig(), names=("run.epoch",))


def test_the_projects_form_saves_every_change_and_counts_the_steps(tmp_path):
    from PIL import Image

    project = open_project(tmp_path / "my_lora")
    folder = project.images / "3_mochi"
    folder.mkdir(parents=True)
    for number in range(4):
        Image.new("RGB", (512, 512), (number, 0, 0)).save(folder / f"{number}.png")
    form = edit_settings(project, names=("run.epochs", "run.batch_size"))
    form.controls["run.epochs"].value = "7"
    assert json.loads(project.config_file.read_text())["run"]["epochs"] == 7
    assert "6 steps x 7 epochs = 42 steps" in form._status.value
    form.controls["run.epochs"].value = "0"
    assert project.load_config().run.epochs == 7


def test_the_projects_form_keeps_what_others_have_written_meanwhile(tmp_path):
    project = open_project(tmp_path / "my_lora")
    form = edit_settings(project)
    project.save_config(change_settings(project.load_config(), {"data.trigger_words": ("mochi",)}))
    form.controls["run.epochs"].value = "7"
    assert project.load_config().data.trigger_words == ("mochi",)
    assert project.load_config().run.epochs == 7


def test_a_project_without_pictures_can_be_configured(tmp_path):
    form = edit_settings(open_project(tmp_path / "my_lora"))
    form.controls["run.epochs"].value = "7"
    assert "cannot be counted" in form._status.value


def test_optimizer_arguments_are_typed_as_values():
    config = make_config({"optimizer": {"arguments": {"betas": [0.9, 0.99], "amsgrad": True}}})
    form = SettingsForm(config, names=("optimizer.arguments",))
    control = form.controls["optimizer.arguments"]
    assert control.value == "betas = [0.9, 0.99]\namsgrad = true"
    control.value = "betas = 0.5, 0.6\namsgrad = false\nd_coef = 2\nname = plain"
    expected = {"betas": (0.5, 0.6), "amsgrad": False, "d_coef": 2, "name": "plain"}
    assert form.value.optimizer.arguments == expected and isinstance(hash(form.value), int)
    assert make_config(json.loads(form.value.model_dump_json())) == form.value
