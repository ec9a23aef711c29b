import pytest

from lora_nb.models.weighted import parse_weights, strip_weights


@pytest.mark.parametrize(
    ("caption", "pieces"),
    [
        ("plain, words", [("plain, words", 1)]),
        ("a (b) c", [("a ", 1), ("b", 1.1), (" c", 1)]),
        ("a [b] c", [("a ", 1), ("b", 1 / 1.1), (" c", 1)]),
        ("(a:1.3), b", [("a", 1.3), (", b", 1)]),
        ("(a, b : .5 )", [("a, b ", 0.5)]),
        ("((a) b:2)", [("a", 2.2), (" b", 2)]),
        ("(((a)))", [("a", 1.1**3)]),
        ("([a])", [("a", 1)]),
        (r"\(a\) (b\):1.5)", [("(a) ", 1), ("b)", 1.5)]),
        ("a (b", [("a ", 1), ("b", 1.1)]),
        ("a [b", [("a ", 1), ("b", 1 / 1.1)]),
        ("a) b]", [("a) b]", 1)]),
        ("time 12:30) x:", [("time 12:30) x:", 1)]),
        ("[a:0.5]", [("a:0.5", 1 / 1.1)]),
        ("(a:-1)", [("a", -1)]),
        ("", []),
    ],
)
def test_brackets_are_read_as_the_web_uis_read_them(caption, pieces):
    found = parse_weights(caption)

    assert [text for text, _ in found] == [text for text, _ in pieces]
    assert [weight for _, weight in found] == pytest.approx([weight for _, weight in pieces])
    assert strip_weights(caption) == "".join(text for text, _ in pieces)
