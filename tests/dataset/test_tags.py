from collections import Counter
from pathlib import Path

import pytest

from lora_nb.config import DataConfig
from lora_nb.dataset.images import Dataset, scan_images
from lora_nb.dataset.tags import (
    add_trigger_words,
    count_tags,
    read_caption,
    remove_tags,
    split_tags,
    training_caption,
    write_caption,
)
from lora_nb.errors import DatasetError
from tests.dataset.pictures import make_item, save


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    save(tmp_path / "2_mochi" / "a.png", "smile, Long_Hair, red background")
    save(tmp_path / "2_mochi" / "b.png", "sitting, mochi, smile")
    save(tmp_path / "2_mochi" / "c.png")
    return scan_images(tmp_path)


def captions(dataset: Dataset) -> dict[str, str | None]:
    return {item.path.stem: read_caption(item.path) for item in dataset.items}


def test_captions_survive_writing_and_reading(tmp_path):
    for text in ("mochi, smile", "", "もち, ^_^, naïve 🐙", "Ein Satz. Mit Punkt."):
        write_caption(tmp_path / "a.png", text)
        assert read_caption(tmp_path / "a.png") == text


def test_a_caption_is_written_on_one_line(tmp_path):
    write_caption(tmp_path / "a.b.png", " mochi,\r\n smile\n")

    assert (tmp_path / "a.b.txt").read_bytes() == b"mochi, smile"


def test_no_file_is_no_caption(tmp_path):
    assert read_caption(tmp_path / "a.png") is None


def test_a_byte_order_mark_is_not_part_of_the_caption(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfmochi")

    assert read_caption(tmp_path / "a.png") == "mochi"


def test_a_folder_with_a_captions_name_is_a_problem_and_no_crash(tmp_path):
    (tmp_path / "a.txt").mkdir()

    with pytest.raises(DatasetError, match=r"a\.txt"):
        read_caption(tmp_path / "a.png")


def test_tags_are_split_at_commas_and_tidied():
    assert split_tags(" mochi,smile ,, red  hat,") == ["mochi", "smile", "red hat"]
    assert split_tags("") == []


def test_tags_are_counted_once_for_each_caption():
    assert count_tags(["a, b", "b, b, c", ""]) == Counter({"b": 2, "a": 1, "c": 1})


def test_removing_tags_ignores_case_and_underscores(dataset):
    changes = remove_tags(dataset, ["long hair", "SMILE", "no such tag"])

    assert captions(dataset) == {"a": "red background", "b": "sitting, mochi", "c": None}
    assert [(change.before, change.after) for change in changes] == [
        ("smile, Long_Hair, red background", "red background"),
        ("sitting, mochi, smile", "sitting, mochi"),
    ]


def test_trigger_words_come_first_and_are_moved_not_doubled(dataset):
    add_trigger_words(dataset, ["mochi", "octo"])

    assert captions(dataset) == {
        "a": "mochi, octo, smile, Long_Hair, red background",
        "b": "mochi, octo, sitting, smile",
        "c": "mochi, octo",
    }
    assert add_trigger_words(dataset, ["mochi", "octo"]) == []


def test_a_dry_run_tells_all_and_changes_nothing(dataset):
    before = captions(dataset)

    assert len(remove_tags(dataset, ["smile"], dry_run=True)) == 2
    assert len(add_trigger_words(dataset, ["mochi"], dry_run=True)) == 3
    assert captions(dataset) == before


def test_an_edit_works_on_what_is_on_disk_now(dataset):
    write_caption(dataset.items[0].path, "edited, smile")

    remove_tags(dataset, ["smile"])

    assert captions(dataset)["a"] == "edited"


def test_one_unreadable_caption_stops_an_edit_before_it_starts(dataset):
    dataset.items[2].path.with_suffix(".txt").write_bytes(b"caf\xe9")

    with pytest.raises(DatasetError, match=r"No caption was changed(.|\n)*c\.txt"):
        remove_tags(dataset, ["smile"])
    assert "smile" in (read_caption(dataset.items[0].path) or "")


def test_the_first_original_of_an_edited_caption_is_kept(dataset):
    remove_tags(dataset, ["smile"])
    remove_tags(dataset, ["red background"])
    folder = dataset.items[0].path.parent
    assert captions(dataset)["a"] == "Long_Hair"
    assert (folder / "a.txt.bak").read_text().strip() == "smile, Long_Hair, red background"
    add_trigger_words(dataset, ["mochi"])
    assert not (folder / "c.txt.bak").exists(), "there was none"
    assert scan_images(folder.parent).problems == (), "it is no caption that somebody forgot"


def test_edits_leave_regularisation_pictures_alone(tmp_path):
    save(tmp_path / "images" / "2_mochi" / "a.png", "smile, hat")
    save(tmp_path / "regularisation" / "1_creature" / "b.png", "hat, creature")
    dataset = scan_images(tmp_path / "images")
    assert len(dataset.items) == 2
    remove_tags(dataset, ["hat"])
    add_trigger_words(dataset, ["mochi"])
    assert [read_caption(item.path) for item in dataset.items] == ["mochi, smile", "hat, creature"]


def test_a_shared_caption_is_edited_once(tmp_path):
    save(tmp_path / "a.png", "smile, hat")
    save(tmp_path / "a.jpg")

    assert len(remove_tags(scan_images(tmp_path), ["hat"])) == 1


@pytest.mark.parametrize(
    ("caption", "class_name", "words", "text"),
    [
        ("smile", "dog", ("mochi",), "smile"),
        ("", "ohwx dog", ("ohwx",), "ohwx dog"),
        ("", "ohwx_dog", ("OHWX",), "ohwx_dog"),
        ("", "mochila", ("mochi",), "mochi"),
        ("", "dog", (), "dog"),
        ("", "dog", ("mochi", "octo"), "mochi, octo"),
        ("", "", ("mochi",), "mochi"),
        ("", "", (), ""),
    ],
)
def test_a_picture_without_caption_is_trained_with_its_class_or_the_trigger_words(caption, class_name, words, text):
    item = make_item("a.png", (64, 64), caption=caption, class_name=class_name)

    assert training_caption(item, DataConfig(trigger_words=words)) == text
