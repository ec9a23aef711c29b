from pathlib import Path

import pytest

from lora_nb.config import TrainConfig
from lora_nb.config_file import change_settings
from lora_nb.dataset.checks import check_dataset
from lora_nb.dataset.images import Dataset, scan_images
from lora_nb.errors import Problem
from tests.dataset.pictures import make_dataset, make_item, save


def config(**changes: object) -> TrainConfig:
    """Settings for 64-pixel pictures, with changes: `config(data__keep_tokens=2)`."""
    base = {"data.resolution": 64, "data.bucket_step": 8, "data.min_bucket_size": 16, "data.max_bucket_size": 256}
    base |= {"data.trigger_words": ("mochi",), "run.batch_size": 1}
    return change_settings(TrainConfig(), base | {name.replace("__", "."): value for name, value in changes.items()})


def good_items(count: int = 6, caption: str = "mochi, smile") -> list:
    return [make_item(f"2_mochi/{n}.png", (64, 64), caption=f"{caption} {n}", class_name="mochi") for n in range(count)]


def find(problems: list[Problem], *words: str) -> Problem:
    found = [problem for problem in problems if all(word in str(problem) for word in words)]
    assert len(found) == 1, [str(problem) for problem in problems]
    assert found[0].fix
    return found[0]


def captioned(*captions: str) -> Dataset:
    items = enumerate([*captions, *["mochi, hat"] * 5])
    return make_dataset(*(make_item(f"{number}.png", (64, 64), caption=caption) for number, caption in items))


def test_a_good_dataset_has_no_problem():
    assert check_dataset(make_dataset(*good_items()), config()) == []


def test_no_picture_is_an_error_and_comes_first(tmp_path):
    (tmp_path / "broken.png").write_bytes(b"")

    problems = check_dataset(scan_images(tmp_path), config())

    assert problems[0].severity == "error" and "no picture to train on" in problems[0].message
    assert find(problems, "broken.png").severity == "warning"


def test_errors_come_before_warnings_before_notes():
    dataset = Dataset(Path("data"), (make_item("a.png", (4, 64)),), (Problem("x", "y", "z", "note"),))

    severities = [problem.severity for problem in check_dataset(dataset, config(data__enlarge_pictures=False))]

    assert severities == sorted(severities, key=["error", "warning", "note"].index) and severities[0] == "error"


def test_a_picture_that_fits_no_bucket_is_an_error():
    items = [*good_items(), make_item("2_mochi/narrow.png", (4, 64), caption="mochi")]

    problem = find(check_dataset(make_dataset(*items), config(data__enlarge_pictures=False)), "narrow.png")

    assert problem.severity == "error" and "4 x 64" in problem.message


def test_few_pictures_are_a_warning():
    assert find(check_dataset(make_dataset(*good_items(4)), config()), "very few").severity == "warning"
    assert find(check_dataset(make_dataset(*good_items(1)), config()), "1 picture is very few")


def test_a_date_taken_for_repeats_is_a_warning():
    items = [*good_items(), make_item("20240101_photos/a.png", (64, 64), caption="mochi", repeats=20240101)]

    assert find(check_dataset(make_dataset(*items), config()), "20240101 repeats").where == "20240101_photos"


def test_identical_files_are_named(tmp_path):
    for name in ("a.png", "b.png", "c.png"):
        save(tmp_path / "2_mochi" / name, "mochi")
    save(tmp_path / "2_mochi" / "other.png", "mochi", size=(64, 64))

    assert find(
        check_dataset(scan_images(tmp_path), config()), "2_mochi/a.png, 2_mochi/b.png, 2_mochi/c.png", "3 times"
    )


def test_small_pictures_are_named_with_their_factor_worst_first():
    items = [*good_items(), *(make_item(f"{n}.png", (64 // n, 64 // n), caption="mochi") for n in (2, 4))]
    dataset = make_dataset(*items)

    assert find(check_dataset(dataset, config()), "4.png 4.0x, 2.png 2.0x").where == "2 of 8 pictures"
    assert not [p for p in check_dataset(dataset, config(data__enlarge_pictures=False)) if "enlarged" in p.message]


def test_extreme_crops_are_named_with_what_is_lost():
    items = [*good_items(), make_item("wide.png", (900, 100), caption="mochi")]
    settings = config(data__min_bucket_size=32, data__max_bucket_size=128)

    problem = find(check_dataset(make_dataset(*items), settings), "cropped away", "wide.png 56%")

    assert problem.severity == "warning"
    without = find(check_dataset(make_dataset(*items), config(data__enable_buckets=False)), "cropped away")
    assert "enable_buckets" in without.fix


def test_buckets_that_cannot_fill_a_batch_are_counted():
    items = [*good_items(), make_item("tall.png", (32, 128), caption="mochi")]

    problem = find(check_dataset(make_dataset(*items), config(run__batch_size=4)), "batch size of 4")

    assert "1 of 2 buckets" in problem.message and "32 x 128 has 1" in problem.message
    assert problem.severity == "warning"


def test_repeats_that_fill_a_batch_with_one_picture_are_only_noted():
    items = [*good_items(), make_item("tall.png", (32, 128), caption="mochi", repeats=8)]

    assert find(check_dataset(make_dataset(*items), config(run__batch_size=4)), "one picture twice").severity == "note"


def test_bucket_bounds_that_leave_one_square_are_a_warning():
    settings = config(data__min_bucket_size=256, data__max_bucket_size=1024)

    problem = find(check_dataset(make_dataset(*good_items()), settings), "leave one bucket, 64 x 64")

    assert problem.where == "data.min_bucket_size" and "to 32" in problem.fix and problem.severity == "warning"
    assert check_dataset(make_dataset(*good_items()), config(data__min_bucket_size=32, data__max_bucket_size=128)) == []


def test_no_captions_at_all_is_a_note_that_says_what_happens():
    items = [make_item(f"2_mochi/{n}.png", (64, 64), class_name="mochi") for n in range(6)]
    named = find(check_dataset(make_dataset(*items), config()), "6 of 6", "folder's name, 'mochi'")
    assert named.severity == "note"

    items = [make_item(f"{n}.png", (64, 64)) for n in range(6)]
    assert find(check_dataset(make_dataset(*items), config()), "trigger words, 'mochi'").severity == "note"

    wordless = find(check_dataset(make_dataset(*items), config(data__trigger_words=())), "without any words")
    assert wordless.severity == "warning"


def test_some_captions_missing_is_a_warning_that_names_them():
    items = [*good_items(), make_item("2_mochi/bare.png", (64, 64), class_name="mochi")]

    assert find(check_dataset(make_dataset(*items), config()), "1 of 7", "2_mochi/bare.png").severity == "warning"


@pytest.mark.parametrize(
    ("caption", "finding"),
    [
        ("smile, hat", "No trigger word"),
        ("mochila, hat", "No trigger word"),
        ("smile, mochi, hat", "does not stand first"),
        ("a bench, and mochi on it", "does not stand first"),
        ("mochi, smile, Mochi", "2 where 1 trigger"),
    ],
)
def test_captions_with_wrong_trigger_words_are_named(caption, finding):
    problem = find(check_dataset(captioned(caption), config()), finding)

    assert "0.png" in problem.message and problem.where == "1 of 6 captions" and problem.severity == "warning"


def test_unequally_many_trigger_words_are_named():
    dataset = captioned("octo, mochi, hat", "mochi, octo")
    problems = check_dataset(dataset, config(data__trigger_words=("mochi", "octo"), data__keep_tokens=2))

    assert find(problems, "1 where 2 trigger words").where == "5 of 7 captions"
    assert len(problems) == 1


@pytest.mark.parametrize("caption", ["Mochi, smile", "mochi sits on a bench, smiling", "a bench under mochi"])
def test_a_first_tag_that_holds_the_trigger_word_is_fine(caption):
    assert check_dataset(captioned(caption), config()) == []


def test_a_class_name_that_holds_the_trigger_word_is_no_late_trigger_word():
    items = [make_item(f"2_cute mochi/{n}.png", (64, 64), class_name="cute mochi") for n in range(6)]

    assert [problem.severity for problem in check_dataset(make_dataset(*items), config())] == ["note"]


def test_a_sentence_that_holds_the_trigger_word_is_fine_without_shuffling():
    settings = config(data__shuffle_tags=False)

    assert check_dataset(captioned("a photo of mochi on a bench"), settings) == []
    assert find(check_dataset(captioned("a photo of a bench"), settings), "No trigger word")


def test_keep_tokens_must_be_the_number_of_trigger_words():
    problem = find(check_dataset(captioned(), config(data__keep_tokens=3)), "3 tags are kept")
    assert problem.fix == "Set it to 1." and problem.severity == "warning"

    assert check_dataset(captioned(), config(data__keep_tokens=3, data__shuffle_tags=False)) == []


def test_a_first_tag_that_all_captions_share_is_suggested_as_trigger_word():
    problem = find(check_dataset(captioned(), config(data__trigger_words=())), "all captions begin with 'mochi'")

    assert problem.where == "data.trigger_words" and problem.severity == "note"
