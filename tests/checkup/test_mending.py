"""Safe mends are shown before they are run, and their failures are told."""

import subprocess

from lora_nb.checkup import mending
from lora_nb.checkup.findings import Finding
from lora_nb.checkup.mending import mend

MISSING = Finding("package peft", "It is not installed.", "", "error", ("python", "-m", "pip", "install", "peft>=1"))


def test_only_what_has_a_command_is_mended_and_each_is_shown_first(monkeypatch):
    story = []

    def run(command, **_):
        story.append(command)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(mending.subprocess, "run", run)
    assert mend([Finding("disk", "Full.", "Make room.", "warning"), MISSING], story.append) == 1
    assert story == ["Mending package peft: python -m pip install 'peft>=1'", MISSING.command, "  Done."]


def test_a_mend_that_fails_is_told_and_the_next_one_is_tried(monkeypatch):
    said = []
    monkeypatch.setattr(
        mending.subprocess, "run", lambda command, **_: subprocess.CompletedProcess(command, int("peft>=1" in command))
    )
    other = Finding("package torchao", "Old.", "", "note", ("pip", "uninstall", "-y", "torchao"))
    assert mend([MISSING, other], said.append) == 1
    assert "did not work: it ended with status 1" in said[1] and said[3] == "  Done."


def test_a_command_that_is_not_there_is_told():
    said = []
    assert mend([Finding("x", "x", "", "error", ("no-such-program-of-anybody",))], said.append) == 0
    assert "could not be started (No such file or directory)" in said[1]
