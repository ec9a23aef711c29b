"""Captions in any encoding, of any length, with anything in them: read rightly, or named; an edit loses nothing."""

import codecs
import os

import pytest

from lora_nb.config_file import make_config
from lora_nb.dataset.caption_checks import check_captions
from lora_nb.dataset.caption_saving import read_caption_text, save_caption
from lora_nb.dataset.final_captions import final_caption
from lora_nb.dataset.images import refresh_captions, scan_images
from lora_nb.dataset.tags import add_trigger_words, caption_path, read_caption, remove_tags
from lora_nb.errors import DatasetError
from tests.dataset.pictures import save
from tests.fuzz.contract import attempt, check_problem, contents_of, run_cases
from tests.fuzz.spoiling import damage, no_file, odd_text

ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "cp1252", "shift-jis", "cp1251", "latin-1", "utf-7")
CONFIGS = (
    make_config({"data": {"trigger_words": ["mochi"]}}),
    make_config({"data": {"wildcards": True, "shuffle_tags": True, "tag_dropout": 0.5, "caption_prefix": "{a|b}"}}),
    make_config({"data": {"weighted_captions": True, "shuffle_tags": True}}),
)


def test_odd_captions_are_read_or_named(tmp_path):
    def case(chance, folder):
        picture = save(folder / "3_cat" / "a.png")
        save(folder / "3_cat" / "b.png", "a cat, sitting")
        content = odd_caption(chance)
        caption_path(picture).write_bytes(content)
        return tell_outcome(chance, folder, picture, content)

    run_cases("captions", 350, case, tmp_path)


def test_what_is_no_caption_file_holds_nobody_up(tmp_path):
    def case(chance, folder):
        picture = save(folder / "3_cat" / "a.png")
        save(folder / "3_cat" / "b.png", "a cat, sitting")
        no_file(chance, caption_path(picture))
        return tell_outcome(chance, folder, picture, None)

    run_cases("no captions", 60, case, tmp_path)


def test_a_pipe_that_is_called_a_caption_is_named(tmp_path):
    picture = save(tmp_path / "a.png")
    os.mkfifo(tmp_path / "a.txt")
    with pytest.raises(DatasetError, match="no file, but a pipe or a device"):
        read_caption(picture)
    with pytest.raises(DatasetError, match="no file, but a pipe or a device"):
        save_caption(picture, "mochi", "")


def tell_outcome(chance, folder, picture, content):
    """Scan, check and arrange it for training; then edit it. What was there before is kept."""
    dataset = attempt(lambda: scan_images(folder), untouched=folder).result
    item = next(item for item in dataset.items if item.path == picture)
    config = chance.choice(CONFIGS)
    for problem in (*dataset.problems, *attempt(lambda: check_captions(dataset, config.data)).result):
        check_problem(problem)
    attempt(lambda: [final_caption(item, config, epoch) for epoch in (0, 1, 2)])
    assert attempt(lambda: refresh_captions(dataset), untouched=folder).result.items == dataset.items
    read = attempt(lambda: read_caption(picture), names="a.txt", untouched=folder)
    if read.error:
        assert not item.has_caption and any(problem.where == "3_cat/a.txt" for problem in dataset.problems)
    else:
        assert (read.result or "") == item.caption and "\n" not in item.caption
    edit = chance.choice(
        [
            lambda: add_trigger_words(dataset, ["mochi"]),
            lambda: remove_tags(dataset, ["smile", "a cat"]),
            lambda: save_caption(picture, odd_text(chance), read_caption_text(picture)[1]),
        ]
    )
    before = contents_of(folder)
    there = [path for path in before if os.path.exists(path)]  # a link to nothing may be written over
    edited = attempt(edit, names="a.txt")
    after = contents_of(folder)
    lost = {path for path in there if before[path] not in (after.get(path), after.get(f"{path}.bak"))}
    assert not lost and (not edited.error or after == before)
    return read.word


def odd_caption(chance):
    text = odd_text(chance)
    encoded = text.encode(chance.choice(ENCODINGS), "replace")
    if chance.random() < 0.3:
        return damage(chance, encoded)
    more = [
        codecs.BOM_UTF8,
        chance.randbytes(chance.randrange(300)),
        b"mochi\0smile",
        b"x" * 1_000_000,
        b"mochi, " * 14_000,
        b"(" * 50_000,
        b"\r\n\r\n" * 1000,
        "mochi, smile, \u05d0\u05d1\u05d2".encode() * 3,
        b"\x1b[31mred\x1b[0m, \x07bell",
    ]
    return chance.choice(more) if chance.random() < 0.3 else encoded
