from pathlib import Path

import pytest
from PIL import Image

from lora_nb.captioners.captions import CAPTIONERS, caption_dataset, load_captioner
from lora_nb.dataset.images import scan_images
from lora_nb.errors import ConfigError
from lora_nb.workshop import TAGGER_FOLDER
from lora_nb.workshop.demo import write_demo_pictures


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, caption in (("a", "old tag, smile"), ("b", None)):
        Image.new("RGB", (8, 8), "red").save(tmp_path / f"{name}.png")
        if caption:
            (tmp_path / f"{name}.txt").write_text(caption)
    return tmp_path


def read(folder: Path) -> list[str]:
    return [(folder / f"{name}.txt").read_text().strip() for name in "ab"]


@pytest.mark.parametrize(
    ("existing", "expected"),
    [
        ("skip", ["old tag, smile", "mochi, smile, hat"]),
        ("replace", ["mochi, smile, hat", "mochi, smile, hat"]),
        ("append", ["mochi, old tag, smile, hat", "mochi, smile, hat"]),
        ("prepend", ["mochi, smile, hat, old tag", "mochi, smile, hat"]),
    ],
)
def test_captions_that_are_there_are_treated_as_asked(folder, existing, expected):
    for _ in range(2):  # doing it again changes nothing
        caption_dataset(scan_images(folder), lambda _: "smile, hat", existing=existing, trigger_words=("mochi",))
        assert read(folder) == expected


def test_a_sentence_is_kept_whole_and_added_once(folder):
    for _ in range(2):
        caption_dataset(scan_images(folder), lambda _: "A cat, a dog, a cat.", existing="append")
        assert read(folder) == ["old tag, smile, A cat, a dog, a cat.", "A cat, a dog, a cat."]


def test_each_line_of_a_caption_is_a_caption_of_its_own(folder):
    (folder / "a.txt").write_text("one, smile\ntwo")
    caption_dataset(scan_images(folder), lambda _: "smile, hat", existing="append")
    assert read(folder)[0] == "one, smile, hat\ntwo, smile, hat"
    caption_dataset(scan_images(folder), lambda _: "smile, hat", existing="replace")
    assert read(folder)[0] == "smile, hat"


@pytest.mark.parametrize(("existing", "expected"), [("skip", "typed"), ("append", "typed, hat"), ("replace", "hat")])
def test_what_somebody_types_while_the_picture_is_looked_at_counts(folder, existing, expected):
    def look_and_let_type(_: Image.Image) -> str:
        (folder / "b.txt").write_text("typed")
        return "hat"

    (folder / "a.png").unlink()
    caption_dataset(scan_images(folder), look_and_let_type, existing=existing)
    assert (folder / "b.txt").read_text() == expected


def test_a_dry_run_writes_nothing(folder):
    changes = caption_dataset(scan_images(folder), lambda _: "hat", existing="replace", dry_run=True)
    assert [change.after for change in changes] == ["hat", "hat"]
    assert not (folder / "b.txt").exists()


def test_what_was_made_before_a_cut_is_kept(folder):
    def cut(picture: Image.Image) -> str:
        if seen:
            raise KeyboardInterrupt
        seen.append(picture)
        return "hat"

    seen: list[Image.Image] = []
    with pytest.raises(KeyboardInterrupt):
        caption_dataset(scan_images(folder), cut, existing="replace")
    assert (folder / "a.txt").read_text().strip() == "hat" and not (folder / "b.txt").exists()


def test_the_tagger_that_ships_captions_the_demo(tmp_path):
    write_demo_pictures(tmp_path)
    for path in tmp_path.rglob("*.txt"):
        path.unlink()
    tagger = load_captioner("wd", TAGGER_FOLDER)
    progress: list[tuple[int, int]] = []

    caption_dataset(
        scan_images(tmp_path), tagger.caption, trigger_words=("mochi",), on_progress=lambda *x: progress.append(x)
    )

    items = scan_images(tmp_path).items
    assert progress[-1] == (12, 12)
    assert all(item.caption.startswith("mochi, ") and item.caption.count(",") >= 3 for item in items)
    assert "WD tagger on CPU" in tagger.describe_device()


def test_the_class_in_general_gets_no_trigger_words(tmp_path):
    folders = [tmp_path / "images" / "2_mochi", tmp_path / "regularisation" / "1_creature"]
    for folder in folders:
        folder.mkdir(parents=True)
        Image.new("RGB", (8, 8), "red").save(folder / "a.png")
    caption_dataset(scan_images(tmp_path / "images"), lambda _: "hat", trigger_words=("mochi",))
    assert [(folder / "a.txt").read_text().strip() for folder in folders] == ["mochi, hat", "hat"]


def test_replaced_captions_are_kept(folder):
    for words in ("hat", "scarf"):
        caption_dataset(scan_images(folder), lambda _, words=words: words, existing="replace")
    assert read(folder) == ["scarf", "scarf"]
    assert (folder / "a.txt.bak").read_text().strip() == "old tag, smile"


def test_an_option_that_a_captioner_would_ignore_is_refused():
    with pytest.raises(ConfigError, match=r"task(.|\n)*wd takes: threshold, character_threshold, unwanted"):
        load_captioner("wd", TAGGER_FOLDER, task="short")
    with pytest.raises(ConfigError, match=r"threshold(.|\n)*florence takes: task"):
        load_captioner("florence", threshold=0.5)


def test_an_unknown_captioner_is_named():
    with pytest.raises(ConfigError, match="Choose one of: wd, florence"):
        load_captioner("blip")
    assert set(CAPTIONERS) == {"wd", "florence"}
