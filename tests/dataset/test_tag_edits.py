from pathlib import Path

import pytest

from lora_nb.dataset.filtering import choose_pictures, filter_dataset
from lora_nb.dataset.images import Dataset, scan_images
from lora_nb.dataset.tag_edits import (
    EDITS,
    add_tags,
    dedupe_tags,
    rename_tag,
    replace_text,
    set_trigger_words,
    sort_tags,
    tidy_tags,
)
from lora_nb.dataset.tags import add_trigger_words, join_whole_tags, remove_tags, split_whole_tags
from lora_nb.errors import DatasetError
from tests.dataset.pictures import names, save

WRITTEN = {"a": "mochi, smile, red_hat", "b": "mochi, sitting, smile", "c": None}


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return make(tmp_path, WRITTEN)


def make(folder: Path, captions: dict[str, str | None]) -> Dataset:
    for name, caption in captions.items():
        save(folder / "2_mochi" / f"{name}.png", caption)
    return scan_images(folder)


def texts(dataset: Dataset) -> list[str | None]:
    paths = [item.path.with_suffix(".txt") for item in dataset.items]
    return [path.read_text(encoding="utf-8") if path.exists() else None for path in paths]


@pytest.mark.parametrize(
    ("place", "first"),
    [
        ("end", "mochi, smile, red_hat, forest"),
        ("start", "forest, mochi, smile, red_hat"),
        ("after triggers", "mochi, forest, smile, red_hat"),
    ],
)
def test_tags_are_added_where_they_are_asked_to(dataset, place, first):
    changes = add_tags(dataset, ["forest"], place=place)
    assert texts(dataset)[0] == first and texts(dataset)[2] == "forest"
    assert len(changes) == 3 and add_tags(dataset, ["Forest"], place=place) == []


def test_a_tag_is_renamed_at_its_place_and_melts_into_one_that_is_there(dataset):
    rename_tag(dataset, "Red Hat", "smile")
    assert texts(dataset)[:2] == ["mochi, smile", "mochi, sitting, smile"]
    rename_tag(dataset, "sitting", "sitting on chair, indoors")
    assert texts(dataset)[1] == "mochi, sitting on chair, indoors, smile"
    with pytest.raises(DatasetError, match="A name is missing"):
        rename_tag(dataset, "smile", " , ")


def test_text_is_replaced_literally_or_by_a_regular_expression(dataset):
    replace_text(dataset, ".", "x")
    assert texts(dataset)[0] == WRITTEN["a"], "a full stop is a full stop"
    replace_text(dataset, r"red_(\w+)", r"blue \1 (\g<1>)", regex=True)
    assert texts(dataset)[0] == "mochi, smile, blue hat (hat)"
    replace_text(dataset, "SMILE", "", match_case=False)
    assert texts(dataset)[:2] == ["mochi, blue hat (hat)", "mochi, sitting"]
    replace_text(dataset, "sitting", r"a\b")
    assert texts(dataset)[1] == r"mochi, a\b"


@pytest.mark.parametrize(("find", "new"), [("(", ""), ("mochi", r"\9"), ("", "x")])
def test_a_bad_search_is_explained_and_changes_nothing(dataset, find, new):
    with pytest.raises(DatasetError, match="No caption was changed"):
        replace_text(dataset, find, new, regex=True)
    assert texts(dataset) == list(WRITTEN.values())


def test_sorting_keeps_what_stands_in_front(dataset):
    sort_tags(dataset)
    assert texts(dataset)[:2] == ["mochi, red_hat, smile", "mochi, sitting, smile"]
    sort_tags(scan_images(dataset.root), by="frequency")
    assert texts(dataset)[:2] == ["mochi, smile, red_hat", "mochi, smile, sitting"]
    with pytest.raises(DatasetError, match="alphabet, frequency, length"):
        sort_tags(dataset, by="colour")


def test_tags_are_tidied_and_stand_once(tmp_path):
    dataset = make(tmp_path, {"a": "mochi, red_hat,, ^_^, Red hat, mochi"})
    dedupe_tags(dataset)
    assert texts(dataset) == ["mochi, red_hat, ^_^"]
    tidy_tags(dataset)
    assert texts(dataset) == ["mochi, red hat, ^_^"]


def test_trigger_words_are_set_in_place_of_others(dataset):
    set_trigger_words(dataset, ["plush", "octo"], instead_of=["mochi"])
    assert texts(dataset) == ["plush, octo, smile, red_hat", "plush, octo, sitting, smile", "plush, octo"]


@pytest.mark.parametrize("name", list(EDITS))
def test_a_dry_run_of_every_edit_writes_nothing(dataset, name):
    options = {
        "add": (["x"],),
        "remove": (["smile"],),
        "rename": ("smile", "grin"),
        "replace": ("smile", "grin"),
        "triggers": (["x"],),
    }.get(name, ())
    dataset.items[0].path.with_suffix(".txt").write_text("mochi, smile, red_hat, smile")
    before = texts(dataset)
    changes = EDITS[name](dataset, *options, dry_run=True)
    assert changes and texts(dataset) == before
    assert changes == EDITS[name](dataset, *options)
    assert not EDITS[name](dataset, *options, dry_run=True) or name == "replace"


def test_an_edit_reaches_only_the_pictures_of_the_filter(dataset):
    assert names(filter_dataset(dataset, having=["SMILE"], lacking=["red hat"])) == ["2_mochi/b.png"]
    assert names(filter_dataset(dataset, text="Sitt")) == ["2_mochi/b.png"]
    assert names(filter_dataset(dataset, text="c.png")) == ["2_mochi/c.png"]
    assert names(filter_dataset(dataset, captioned=False)) == ["2_mochi/c.png"]
    assert names(filter_dataset(dataset, folder="3_other")) == []
    remove_tags(filter_dataset(dataset, having=["sitting"]), ["smile"])
    assert texts(dataset)[:2] == ["mochi, smile, red_hat", "mochi, sitting"]
    with pytest.raises(DatasetError, match=r"2_mochi/z\.png"):
        choose_pictures(dataset, ["2_mochi/a.png", "2_mochi/z.png"])


SPECIAL = (
    "mochi, (red hat, boots:1.2), {red|blue, green} background, smile",
    "mochi ||| smile, forest ||| high quality",
    "smile, :(, ;), mochi",
    r"mochi, hatsune miku \(cosplay\), smile",
)


@pytest.mark.parametrize("text", SPECIAL)
def test_weights_wildcards_and_marks_survive_every_edit(tmp_path, text):
    assert join_whole_tags(split_whole_tags(text)) == text
    dataset = make(tmp_path, {"a": text})
    add_tags(dataset, ["x"])
    remove_tags(dataset, ["x", "red hat", "green", "boots"])
    assert texts(dataset) == [text]
    remove_tags(dataset, ["smile"])
    assert "smile" not in (texts(dataset)[0] or "") and texts(dataset)[0].count("|") == text.count("|")
    add_trigger_words(dataset, ["mochi"])
    assert texts(dataset)[0].count("mochi") == 1


def test_each_line_of_a_file_with_several_is_a_caption_of_its_own(tmp_path):
    dataset = make(tmp_path, {"a": "smile, forest\n\nsmile, beach\n"})
    changes = add_trigger_words(dataset, ["mochi"])
    assert texts(dataset) == ["mochi, smile, forest\nmochi, smile, beach"]
    assert changes[0].before == "smile, forest\nsmile, beach"
    assert (dataset.items[0].path.with_suffix(".txt.bak")).read_text() == "smile, forest\n\nsmile, beach\n"


def test_a_caption_that_becomes_empty_loses_its_file_but_not_its_original(tmp_path):
    dataset = make(tmp_path, {"a": "smile"})
    remove_tags(dataset, ["smile"])
    assert texts(dataset) == [None] and dataset.items[0].path.with_suffix(".txt.bak").read_text() == "smile"
