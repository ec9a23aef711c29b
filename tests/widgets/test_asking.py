"""The frame of the widgets, on the kernel's side."""

import pytest

pytest.importorskip("anywidget")

from lora_nb.project import open_project
from lora_nb.widgets.asking import PART, send_part
from lora_nb.widgets.panel import show_panel


def test_questions_are_not_bound_to_the_thread_that_made_the_widget(tmp_path):
    widget = show_panel(open_project(tmp_path / "mochi"))
    widget.comm.__dict__["_reply_subshell_id"] = None  # as ipykernel 7 notes where a widget last spoke
    widget._receive(widget, {"id": "1", "ask": "news"}, [])
    assert "_reply_subshell_id" not in widget.comm.__dict__


def test_a_part_is_never_larger_than_a_message_may_be():
    facts, (part,) = send_part(b"x" * (PART + 5), PART, {"type": "text/plain"})
    assert (len(part), facts["size"]) == (5, PART + 5)
