from lora_nb.config import DataConfig, TrainConfig
from lora_nb.dataset.long_captions import find_cut, find_long_captions
from tests.dataset.pictures import make_item


def count(text: str) -> int:
    """A tokenizer that makes a token of each word and each comma."""
    return len(text.replace(",", " , ").split())


def config(**data: object) -> TrainConfig:
    return TrainConfig(data=DataConfig(shuffle_tags=False, **data))


def test_a_long_caption_is_reported_with_the_tag_where_it_is_cut():
    items = [
        make_item("short.png", (64, 64), caption="a, b, c"),
        make_item("long.png", (64, 64), caption="a, b, red hat, d"),
    ]
    (problem,) = find_long_captions(items, config(), count, most=5)

    assert problem.where == "long.png" and problem.severity == "warning"
    assert "8 tokens" in problem.message and "only 5" in problem.message and "'red hat'" in problem.message
    assert problem.fix == "Shorten it."


def test_what_is_added_to_a_caption_counts():
    item = make_item("a.png", (64, 64), caption="a, b")

    assert find_long_captions([item], config(), count, most=5) == []
    assert len(find_long_captions([item], config(caption_prefix="x y z"), count, most=5)) == 1
    lines = [make_item("a.png", (64, 64), caption="{a|one two three four five}")]
    assert len(find_long_captions(lines, config(wildcards=True), count, most=4)) == 1, "one of ten epochs is enough"


def test_the_word_of_a_sentence_is_named():
    text = "one two three four five six seven eight"

    assert find_cut(text, count, 3) == "four"
    assert find_cut(text, count, 8) == "" and find_cut(text, count, 0) == "one"
    assert find_cut("a, bb cc, d", count, 4) == "bb cc"


def test_where_more_can_be_read_the_way_out_is_named():
    item = make_item("a.png", (64, 64), caption="x " * 80)

    assert "data.max_tokens" in find_long_captions([item], config(), count, most=75)[0].fix
