from pathlib import Path

import pytest

from lora_nb.config import DataConfig
from lora_nb.dataset.images import scan_images
from lora_nb.dataset.trigger_words import report_triggers
from lora_nb.dataset.vocabulary import KnownTag, read_vocabulary, spell_tag, suggest_tags
from lora_nb.errors import ModelError
from lora_nb.workshop import TAGGER_FOLDER
from tests.dataset.pictures import save

KNOWN = (
    KnownTag("general", 9, 99),
    KnownTag("hat", 0, 50),
    KnownTag("red hat", 0, 10),
    KnownTag("that girl (series)", 4, 70),
    KnownTag("smile", 0, 80),
)


def test_the_datasets_own_tags_come_first_and_the_best_match_of_each():
    found = suggest_tags("HA", {"straw hat": 3, "happy": 1, "chair": 9}, KNOWN)
    assert [(each.tag, each.category) for each in found] == [
        ("happy", "dataset"),
        ("straw hat", "dataset"),
        ("chair", "dataset"),
        ("hat", "general"),
        ("red hat", "general"),
        ("that girl (series)", "character"),
    ]


def test_nothing_typed_suggests_the_datasets_most_common_tags_only():
    assert [each.tag for each in suggest_tags("", {"a": 1, "b": 2}, KNOWN)] == ["b", "a"]


def test_a_rating_and_what_is_there_already_are_not_suggested_twice():
    assert [each.tag for each in suggest_tags("e", {"smile": 2}, KNOWN)] == ["smile", "that girl (series)", "red hat"]


def test_the_taggers_own_list_is_read(tmp_path):
    known = read_vocabulary(TAGGER_FOLDER / "selected_tags.csv")
    assert len(known) > 50 and any(each.name == "red body" for each in known)
    assert spell_tag("red_hat") == "red hat" and spell_tag("^_^") == "^_^"
    (tmp_path / "selected_tags.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ModelError, match="not a WD tagger's tag list"):
        read_vocabulary(tmp_path / "selected_tags.csv")


def test_each_folder_is_held_to_its_own_beginning(tmp_path: Path):
    for number, caption in enumerate(["mochi, a", "mochi, b", "a, mochi", "Mochi, c", None]):
        save(tmp_path / "3_mochi" / f"{number}.png", caption)
    save(tmp_path / "2_winter" / "0.png", "coat, mochi")
    save(tmp_path / "2_winter" / "1.png", "coat, snow")
    winter, mochi = report_triggers(scan_images(tmp_path), DataConfig(trigger_words=("mochi",)))
    assert (winter.folder, winter.words, winter.odd) == ("2_winter", ("coat",), ())
    assert (mochi.words, mochi.pictures) == (("mochi",), 5)
    assert mochi.describe() == "3_mochi: 2 of 5 captions begin with 'mochi'."
    assert [each.name for each in mochi.odd] == ["3_mochi/2.png", "3_mochi/3.png", "3_mochi/4.png"]
    assert "upper and lower case" in mochi.odd[1].reason and "no caption" in mochi.odd[2].reason


def test_two_trigger_words_are_compared_in_order(tmp_path: Path):
    for number, caption in enumerate(["mochi, plush, a", "plush, mochi, b", "mochi, c"]):
        save(tmp_path / f"{number}.png", caption)
    (report,) = report_triggers(scan_images(tmp_path), DataConfig(trigger_words=("mochi", "plush"), keep_tokens=2))
    assert report.folder == "" and report.words == ("mochi", "plush")
    assert "order differs" in report.odd[0].reason
    assert "1 of 2 trigger words are in front" in report.odd[1].reason
