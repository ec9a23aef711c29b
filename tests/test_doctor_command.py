"""The command lora-nb doctor: lines for people, JSON for bug reports, and --fix."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lora_nb import doctor_command
from lora_nb.__main__ import app
from lora_nb.checkup import doctor as examination
from lora_nb.checkup import mending
from lora_nb.checkup.findings import Finding
from lora_nb.doctor_command import shorten_home

SECRET = "hf_AbCdEfGhIjKlMnOpQrStUvWxYz012345"
MISSING = Finding("package peft", "It is not installed.", "Install it.", "error", (sys.executable, "-m", "pip", "peft"))


def doctor(*words):
    return CliRunner().invoke(app, ["doctor", *map(str, words)])


@pytest.fixture
def findings(monkeypatch):
    """What the doctor finds, in place of this machine's."""
    found = [Finding("Python", "3.12.")]
    monkeypatch.setattr(examination, "doctor", lambda folder: found)
    return found


@pytest.fixture
def commands(monkeypatch):
    """The commands that would have been run; each works."""
    seen = []

    def run(command, **_):
        seen.append(tuple(command))
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(mending.subprocess, "run", run)
    return seen


def test_a_bug_report_is_whole_and_without_secrets(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", SECRET)
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = tmp_path / "my_lora"
    folder.mkdir()
    command = [sys.executable, "-m", "lora_nb", "doctor", str(folder), "--json"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    report = json.loads(result.stdout)
    assert report["machine"]["cpu_cores"] >= 1 and report["versions"]["torch"] and report["lora_nb"]
    assert {"where": "~/my_lora", "message": "It can be written to.", "fix": "", "severity": "ok"} in report["findings"]
    assert SECRET not in result.stdout and str(tmp_path) not in result.stdout
    assert result.returncode == any(each["severity"] == "error" for each in report["findings"])


def test_what_is_well_is_said_too(findings):
    result = doctor()
    assert result.exit_code == 0 and "✓ Python: 3.12." in result.stdout and "Nothing stands" in result.stdout


def test_an_error_is_the_commands_status_and_tells_of_fix(findings, commands):
    findings.append(MISSING)
    result = doctor()
    assert result.exit_code == 1 and "1 of these can be mended with: lora-nb doctor --fix" in result.stdout
    assert commands == []


def test_fix_mends_and_looks_again_with_new_eyes(findings, commands, tmp_path):
    findings.append(MISSING)
    result = doctor(tmp_path, "--fix", "--json")
    again = (sys.executable, "-m", "lora_nb", "doctor", str(tmp_path), "--json")
    assert commands == [MISSING.command, again]
    assert result.exit_code == 0 and "Mending package peft" in result.stderr


def test_fix_with_nothing_to_mend_says_so(findings, commands):
    result = doctor("--fix")
    assert "nothing that --fix could mend" in result.stdout and commands == []


def test_a_mend_that_failed_leaves_the_error(findings, monkeypatch):
    findings.append(MISSING)
    monkeypatch.setattr(mending, "run_command", lambda command: "it ended with status 1")
    result = doctor("--fix")
    assert result.exit_code == 1 and "did not work" in result.stderr and "package peft" in result.stdout


def test_the_home_folder_is_shortened_and_nothing_else():
    home = Path("/home/ada")
    text = ["/home/ada/x and /home/ada", {"a": "/home/adam/x"}, 3]
    assert shorten_home(text, home) == ["~/x and ~", {"a": "/home/adam/x"}, 3]
    assert shorten_home("/etc/x", Path("/")) == "/etc/x"
    assert doctor_command.shorten_home(None) is None
