import random
from collections import Counter

import pytest

from lora_nb.dataset.wildcards import expand_wildcards, find_brace_mistake


def test_every_choice_is_taken_about_equally_often():
    rng = random.Random(0)
    seen = Counter(expand_wildcards("a {red|blue| green } hat", rng) for _ in range(3000))

    assert seen.keys() == {"a red hat", "a blue hat", "a green hat"} and min(seen.values()) > 900


def test_choices_may_hold_choices():
    rng = random.Random(0)
    seen = {expand_wildcards("{a|b {c|d}}, {x|}", rng) for _ in range(200)}

    assert seen == {f"{first}, {second}" for first in ("a", "b c", "b d") for second in ("x", "")}


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("plain", "plain"),
        ("{one}", "one"),
        (r"\{a|b\}", "{a|b}"),
        ("open {a|b", "open {a|b"),
        ("a} {b|b}", "a} b"),
        ("}{", "}{"),
    ],
)
def test_what_is_no_choice_stays(text, result):
    assert expand_wildcards(text, random.Random(0)) == result


def test_unbalanced_braces_are_found():
    assert "closing" in find_brace_mistake("a} {b|c}") and "never closed" in find_brace_mistake("{a|{b}")
    assert find_brace_mistake(r"{a|{b|c}} \{") == ""
