"""Captions as the model reads them: every setting acts, kept tags stay, and chance repeats itself."""

from collections import Counter
from pathlib import Path

import pytest

from lora_nb.config import DataConfig, TrainConfig
from lora_nb.dataset.final_captions import all_captions, final_caption, looks_per_epoch, plain_caption
from lora_nb.dataset.images import ImageItem, scan_images
from lora_nb.dataset.tags import split_tags
from tests.dataset.pictures import make_item, save


def settings(seed: int = 0, epochs: int = 10, **data: object) -> TrainConfig:
    config = TrainConfig(data=DataConfig(**data))
    return config.model_copy(update={"run": config.run.model_copy(update={"seed": seed, "epochs": epochs})})


def picture(caption: str, **more: object) -> ImageItem:
    return make_item("1_x/a.png", (64, 64), caption=caption, **more)


def read(caption: str, epochs: int = 300, **data: object) -> list[str]:
    """What the model reads of one caption in many epochs."""
    config = settings(**data)
    return [final_caption(picture(caption), config, epoch) for epoch in range(1, epochs + 1)]


def test_kept_tags_stay_in_front_and_the_others_are_shuffled():
    seen = set(read("a, b, c, d, e", keep_tokens=2))

    assert len(seen) == 6
    assert all(text.startswith("a, b, ") and sorted(split_tags(text)) == list("abcde") for text in seen)


def test_the_same_place_gives_the_same_caption_and_every_other_place_another():
    item, config = picture("a, b, c, d, e, f, g, h, i"), settings()

    assert final_caption(item, config, 3, 1) == final_caption(item, config, 3, 1)
    other = make_item("1_x/b.png", (64, 64), caption=item.caption)
    texts = [final_caption(item, config, 3, 1), final_caption(item, config, 4, 1), final_caption(item, config, 3, 2)]
    texts += [final_caption(other, config, 3, 1), final_caption(item, settings(seed=1), 3, 1)]
    assert len(set(texts)) == 5


def test_dropout_drops_as_often_as_asked_and_changes_no_shuffle():
    plain, dropped = read("a, b, c, d, e", 2000), read("a, b, c, d, e", 2000, caption_dropout=0.2)

    assert 0.17 < dropped.count("") / 2000 < 0.23
    assert all(text in ("", before) for text, before in zip(dropped, plain, strict=True))
    assert set(read("a", caption_dropout=1)) == {""}


def test_every_nth_epoch_has_no_captions():
    assert [bool(text) for text in read("a", 7, caption_dropout_every_n_epochs=3)] == [True, True, False] * 2 + [True]


def test_tag_dropout_spares_the_kept_tags_and_the_order():
    plain = read("k1, k2, c, d, e", 3000, keep_tokens=2)
    dropped = [split_tags(text) for text in read("k1, k2, c, d, e", 3000, keep_tokens=2, tag_dropout=0.3)]

    assert all(tags[:2] == ["k1", "k2"] for tags in dropped)
    counts = Counter(tag for tags in dropped for tag in tags[2:])
    assert all(0.66 < counts[tag] / 3000 < 0.74 for tag in "cde")
    for tags, before in zip(dropped, plain, strict=True):
        assert tags == [tag for tag in split_tags(before) if tag in tags]
    ordered = {tuple(split_tags(text)) for text in read("a, b, c", keep_tokens=0, tag_dropout=0.5, shuffle_tags=False)}
    assert ordered == {tuple(t for t in "abc" if t in kept) for kept in ("", "a", "b", "c", "ab", "ac", "bc", "abc")}


@pytest.mark.parametrize("shuffle", [True, False])
def test_the_separator_marks_what_is_kept_and_is_never_read(shuffle):
    seen = set(read("a, b ||| c, d, e ||| f, g", shuffle_tags=shuffle, keep_tokens=0))

    assert not any("|" in text for text in seen)
    assert all(text.startswith("a, b, ") and text.endswith(", f, g") for text in seen)
    assert len(seen) == (6 if shuffle else 1)
    assert set(read("a ## b, c", keep_tokens_separator="##", shuffle_tags=False)) == {"a, b, c"}


def test_prefix_and_suffix_are_kept_and_count_as_kept_tokens():
    seen = set(read("a, b, c", caption_prefix="mochi, octo", caption_suffix="best", keep_tokens=3))

    assert seen == {"mochi, octo, a, b, c, best", "mochi, octo, a, c, b, best"}
    assert all(text.startswith("mochi, octo, ") for text in read("a, b", caption_prefix="mochi, octo", keep_tokens=0))


@pytest.mark.parametrize(
    ("prefix", "suffix", "text"),
    [
        ("a photo of mochi", "", "a photo of mochi, It sits,  smiling."),
        ("Mochi.", "Flat colours.", "Mochi. It sits,  smiling. Flat colours."),
        ("mochi, ", "anime", "mochi, It sits,  smiling. anime"),
    ],
)
def test_a_sentence_is_not_taken_apart_without_shuffling(prefix, suffix, text):
    seen = read("It sits,  smiling.", 5, caption_prefix=prefix, caption_suffix=suffix, shuffle_tags=False)
    assert set(seen) == {text}


def test_regularisation_pictures_get_no_prefix_and_no_trigger_word():
    item = ImageItem(Path("a.png"), 64, 64, "", False, 1, "dog", None, (), is_regularisation=True)

    assert final_caption(item, settings(caption_prefix="mochi", trigger_words=("mochi",)), 1) == "dog"


def test_of_several_lines_one_is_chosen_with_wildcards_and_all_are_joined_without(tmp_path):
    save(tmp_path / "a.png", "first, {x|y}\n\nsecond\n")
    item = scan_images(tmp_path).items[0]

    def seen(**data: object) -> set[str]:
        return {final_caption(item, settings(shuffle_tags=False, **data), epoch) for epoch in range(1, 100)}

    assert seen(wildcards=True) == {"first, x", "first, y", "second"}
    assert seen() == {"first, {x|y} second"}
    assert seen(wildcards=True, caption_prefix="{p|q}") >= {"p, first, x", "q, first, x", "q, second"}


def test_more_kept_tokens_than_tags_is_no_error():
    assert set(read("a, b", keep_tokens=9)) == {"a, b"}


def test_held_out_pictures_are_read_without_chance_but_with_all_words():
    config = settings(tag_dropout=0.9, caption_dropout=1.0, caption_prefix="mochi", caption_dropout_every_n_epochs=1)

    assert plain_caption(picture("b, a"), config) == "mochi, b, a"


def test_all_captions_of_a_run_are_known_beforehand():
    item = make_item("1_x/a.png", (64, 64), caption="a, b, c, d, e, f", repeats=3)
    config = settings(epochs=4, caption_dropout=0.1)
    seen = {final_caption(item, config, epoch, look) for epoch in (1, 2, 3, 4) for look in (0, 1, 2)}

    assert looks_per_epoch(item, config.data) == 3
    assert {text for _, text in all_captions([item], config)} == seen and len(seen) > 6
