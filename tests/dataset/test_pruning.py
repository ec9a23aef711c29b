from lora_nb.dataset.pruning import advise_pruning, preview_pruning, tags_to_prune
from lora_nb.workshop.demo import PRUNED, mochi
from lora_nb.workshop.world import tags


def advice_of(found, tag):
    return next(each for each in found if each.tag == tag)


def test_the_demos_subject_is_found_and_everything_that_varies_stays():
    captions = [", ".join(["mochi", *tags(mochi(number))]) for number in range(12)]
    found = advise_pruning(captions, trigger_words=("mochi",))
    assert set(tags_to_prune(found)) == set(PRUNED)
    assert "mochi" not in {each.tag for each in found}


def test_how_a_picture_is_taken_stays_however_constant():
    found = advise_pruning(["1girl, solo, white_background, red hair"] * 3)
    assert tags_to_prune(found) == ["red hair"]
    assert "how the picture is taken" in advice_of(found, "white_background").reason


def test_tags_that_others_replace_are_seen_to_vary():
    captions = ["red hat", "red hat", "blue hat", "freckles", "freckles"]
    found = advise_pruning(captions)
    assert advice_of(found, "red hat").advice == "keep" and "vary" in advice_of(found, "red hat").reason
    assert advice_of(found, "freckles").advice == "look"


def test_most_constant_comes_first_and_shares_are_of_the_pictures():
    found = advise_pruning(["a, b, b", "a", "a, c"])
    assert [(each.tag, each.pictures) for each in found] == [("a", 3), ("b", 1), ("c", 1)]
    assert found[0].share == 1 and "3 of 3" in found[0].reason


def test_the_preview_says_what_the_trigger_will_mean():
    learned, promptable = preview_pruning(["Red_Hair, smile", "red hair, sad"], ["red hair"])
    assert learned == ["Red_Hair", "red hair"] and promptable == ["smile", "sad"]


def test_no_captions_need_no_advice():
    assert advise_pruning([]) == [] and advise_pruning(["", ""]) == []
