"""Tables, findings and source code in notebooks."""

import re
from pathlib import Path

import pytest

pytest.importorskip("IPython")

from lora_nb.dataset.tags import CaptionChange, split_tags
from lora_nb.environment import Machine
from lora_nb.errors import Problem
from lora_nb.widgets.show import (
    count_pictures,
    show_changes,
    show_facts,
    show_problems,
    show_source,
    show_table,
)


def test_a_table_has_its_columns_names_and_every_row():
    html = show_table([{"tag": "smile", "pictures": 5}, {"tag": "sad", "pictures": 2}]).data
    assert html.count("<th ") == 2
    assert html.count("<tr>") == 3
    assert ">smile</td>" in html


def test_an_empty_table_says_so():
    assert "nothing to show" in show_table([]).data


def test_values_are_written_as_a_person_would():
    html = show_facts({"gpu": None, "has_bf16": False, "memory_gib": 15.61234, "words": ("a", "b")}).data
    for text in ("none", "no<", "15.6", "a<br>b", "has bf16", "memory (GiB)"):
        assert text in html


def test_a_dataclass_is_shown_with_all_its_values():
    machine = Machine("local", "3.11.7", 2, 7.7, None, 0.0, False, 20.0)
    html = show_facts(machine).data
    assert "cpu cores" in html
    assert "3.11.7" in html


def test_names_and_captions_cannot_become_html():
    evil = "<script>alert(1)</script>"
    change = CaptionChange(Path("001.txt"), evil, f"{evil}, mochi")
    problems = [Problem(evil, evil, evil)]
    for shown in (
        show_table([{evil: evil}]),
        show_problems(problems),
        show_changes([change]),
        show_facts({evil: evil}),
    ):
        assert "<script>" not in shown.data


def test_problems_show_the_way_out():
    html = show_problems([Problem("001.png", "It is broken.", "Replace it.", "warning")]).data
    for text in ("warning", "001.png", "It is broken.", "Replace it."):
        assert text in html
    assert "Nothing to mend" in show_problems([]).data


def test_changes_mark_what_goes_and_what_comes():
    html = show_changes([CaptionChange(Path("001.txt"), "mochi, round body, smile", "mochi, plush, smile")]).data
    assert re.sub(" style=.*?>", ">", html).endswith(
        "<td>mochi, <del>round body</del>, <ins>plush</ins>, smile</td></tr></tbody></table>"
    )


def test_source_is_shown_as_it_stands():
    markdown = show_source(split_tags).data
    assert markdown.startswith("```python\ndef split_tags(")


def test_progress_counts_to_the_end_and_says_when_there_is_nothing_to_do(capsys):
    show = count_pictures()
    for done in range(4):
        show(done, 3)
    count_pictures()(0, 0)
    assert "nothing to draw" in capsys.readouterr().out
