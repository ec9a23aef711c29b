"""The commands about captions: a tagger writes them, pruning takes out the subject, and nothing is lost."""

import pytest
from PIL import Image
from typer.testing import CliRunner

from lora_nb.__main__ import app
from lora_nb.captioners.wd import WdTagger
from lora_nb.config_file import make_config
from lora_nb.dataset.images import scan_images
from lora_nb.dataset.tags import read_caption
from lora_nb.errors import ConfigError
from lora_nb.project import open_project
from lora_nb.workshop.demo import write_demo_pictures
from tests.captioners.tiny_florence import save_tiny_florence


def run(*arguments, code=0):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result.output


@pytest.fixture
def project(tmp_path):
    """The demo's pictures, of which the first two have captions."""
    project = open_project(tmp_path / "mochi")
    write_demo_pictures(project.images)
    for path in sorted(project.images.rglob("*.txt"))[2:]:
        path.unlink()
    project.save_config(make_config({"data": {"trigger_words": ["mochi"]}}))
    return project


def captions_of(project):
    return [read_caption(item.path) for item in scan_images(project.images).items]


def test_the_shipped_tagger_captions_what_has_no_caption(project):
    before = captions_of(project)
    output = run("caption", project.root)
    after = captions_of(project)
    assert "WD tagger on CPU: 12 pictures" in output and "10 captions are written" in output
    assert "only knows the demo's world" in output and "SmilingWolf/" in output
    assert after[:2] == before[:2], "captions that are there are skipped"
    assert all(caption.startswith("mochi, ") and "orange stripes" in caption for caption in after[2:])


def test_a_dry_run_shows_the_captions_and_writes_none(project):
    before = captions_of(project)
    output = run("caption", project.root, "--existing", "replace", "--dry-run")
    assert "12 captions would be written" in output and f"- {before[0]}" in output and "+ mochi, " in output
    assert captions_of(project) == before and not list(project.images.rglob("*.bak"))


def test_thresholds_and_blacklist_choose_the_tags(project):
    def tags(*options):
        run("caption", project.root, "--existing", "replace", "--trigger", "", *options)
        return [set(caption.split(", ")) for caption in captions_of(project)]

    many, usual, few = tags("--threshold", 0.05), tags(), tags("--threshold", 0.99)
    assert sum(map(len, many)) > sum(map(len, usual)) > sum(map(len, few))
    assert all("antenna" in each for each in usual)
    assert not any("antenna" in each or "teal body" in each for each in tags("--blacklist", "antenna, teal_body"))


def test_mcut_cuts_where_the_likely_tags_end(project, monkeypatch):
    unsure = {"antenna": 0.3, "smile": 0.29}
    monkeypatch.setattr(
        WdTagger, "predict", lambda self, pictures: [dict.fromkeys(self.tags, 0.02) | unsure for _ in pictures]
    )
    run("caption", project.root, "--existing", "replace")
    assert set(captions_of(project)) == {"mochi"}
    run("caption", project.root, "--existing", "replace", "--threshold", "mcut")
    assert set(captions_of(project)) == {"mochi, antenna, smile"}


@pytest.mark.parametrize(("existing", "place"), [("append", 1), ("prepend", -2)])
def test_old_tags_stay_where_they_are_asked_to(project, existing, place):
    first = scan_images(project.images).items[0].path.with_suffix(".txt")
    first.write_text("mochi, hand-made, own tag")
    output = run("caption", project.root, "--existing", existing, "--trigger", "mochi, plush")
    tags = first.read_text().strip().split(", ")
    assert tags[:2] == ["mochi", "plush"] and "antenna" in tags
    assert (tags[2:4] if existing == "append" else tags[-2:]) == ["hand-made", "own tag"]
    assert first.with_suffix(".txt.bak").read_text() == "mochi, hand-made, own tag"
    assert "originals are kept" in output


def test_florence_describes_and_is_cut_where_the_model_stops_to_read(project, tmp_path, monkeypatch):
    from lora_nb.captioners.florence import Florence
    from lora_nb.config import TrainConfig
    from lora_nb.models.base import load_model

    long = " ".join(f"A cat sits on chair number {number}." for number in range(40))
    monkeypatch.setattr(Florence, "caption", lambda self, picture: f"{self.task} {long}")
    folder = save_tiny_florence(tmp_path / "florence")
    run("caption", project.root, "--captioner", "florence", "--base", folder, "--task", "short")
    (caption,) = set(captions_of(project)[2:])
    assert caption.startswith("mochi, <CAPTION> A cat") and caption.endswith(".")
    assert 60 < load_model(TrainConfig().model).count_tokens(caption) <= 75


def test_what_cannot_be_done_is_said(project):
    assert "neither a number from 0 to 1 nor mcut" in run("caption", project.root, "--threshold", "high", code=2)
    assert "'overwrite' is not one of" in run("caption", project.root, "--existing", "overwrite", code=2)
    with pytest.raises(ConfigError, match="wd does not take it"):
        run("caption", project.root, "--task", "short")


def test_pruning_is_advice_with_reasons_until_it_is_applied(project):
    run("caption", project.root, "--existing", "replace")
    before = captions_of(project)
    output = run("prune", project.root)
    assert "prune  antenna" in output and "It is in 12 of 12 pictures: it belongs to the subject." in output
    assert "mochi will mean: antenna" in output and "12 captions would be written" in output
    free = next(line for line in output.splitlines() if line.startswith("These stay free"))
    assert "standing" in free and "mochi" not in free and "antenna" not in free
    assert captions_of(project) == before


def test_applied_pruning_keeps_the_originals_and_the_users_word(project):
    run("caption", project.root, "--existing", "replace", "--trigger", "mochi")
    for path in project.images.rglob("*.bak"):
        path.unlink()
    before = captions_of(project)
    output = run("prune", project.root, "--apply", "--keep", "ANTENNA", "--also", "smile")
    assert "The originals are kept" in output
    for old, new in zip(before, captions_of(project), strict=True):
        assert new.startswith("mochi, ") and "antenna" in new
        assert not {"orange stripes", "teal body", "smile"} & set(new.split(", "))
        assert set(new.split(", ")) < set(old.split(", "))
    kept = [path.read_text().strip() for path in sorted(project.images.rglob("*.txt.bak"))]
    assert kept == before


def test_applied_pruning_can_be_undone_in_the_editor(project):
    from lora_nb.dataset.caption_history import open_history

    run("caption", project.root, "--existing", "replace")
    before = captions_of(project)
    run("prune", project.root, "--apply")
    assert captions_of(project) != before
    assert open_history(project).undo().label.startswith("Remove antenna")
    assert captions_of(project) == before


def test_the_class_in_general_is_neither_captioned_nor_pruned(project):
    folder = project.root / "regularisation" / "1_creature"
    folder.mkdir(parents=True)
    Image.new("RGB", (64, 64)).save(folder / "a.png")
    (folder / "a.txt").write_text("antenna, creature")
    run("caption", project.root, "--existing", "replace")
    run("prune", project.root, "--apply")
    assert (folder / "a.txt").read_text() == "antenna, creature"
