"""The command that looks at this machine, mends what it safely can, and reports for a question or a bug."""

import json
import re
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lora_nb.terminal import print_problems

if TYPE_CHECKING:
    from lora_nb.checkup.findings import Finding


def doctor(
    folder: Annotated[Path, typer.Argument(help="The folder to work in.")] = Path("."),
    fix: Annotated[bool, typer.Option("--fix", help="Mend what can be mended without harm, then look again.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for a bug report; no token is in it.")] = False,
) -> None:
    """Look at this machine: packages, GPU, memory, disk, keys, and what to mend."""
    from lora_nb.checkup.doctor import doctor as look

    findings = look(folder)
    if fix and _mend(findings):
        # what was installed just now is seen by a new process: this one holds the old packages
        again = [sys.executable, "-m", "lora_nb", "doctor", str(folder), *(["--json"] if as_json else [])]
        raise typer.Exit(subprocess.run(again, check=False).returncode)
    if as_json:
        print(json.dumps(shorten_home(report(findings)), indent=2, ensure_ascii=False))
    else:
        print_problems(findings)
        _tell_of_fix(findings, fix)
    if any(finding.severity == "error" for finding in findings):
        raise typer.Exit(1)


def report(findings: "list[Finding]") -> dict[str, Any]:
    """All that helps somebody else to see what is wrong here."""
    import platform

    from lora_nb import __version__
    from lora_nb.checkup.versions import oldest_versions
    from lora_nb.environment import find_machine, installed_version

    try:
        machine = asdict(find_machine())
    except Exception as error:  # without a PyTorch that starts, and the findings say so
        machine = {"error": type(error).__name__}
    lines = [{name: value for name, value in asdict(each).items() if name != "command"} for each in findings]
    return {
        "lora_nb": __version__,
        "system": platform.platform(),
        "machine": machine,
        "versions": {name: installed_version(name) for name in oldest_versions()},
        "findings": lines,
    }


def shorten_home(value: Any, home: Path | None = None) -> Any:
    """The same values with ~ for the home folder, in which the user's name often stands."""
    home = home or Path.home()
    if isinstance(value, dict):
        return {name: shorten_home(each, home) for name, each in value.items()}
    if isinstance(value, list):
        return [shorten_home(each, home) for each in value]
    if isinstance(value, str) and home != Path(home.anchor):
        return re.sub(re.escape(str(home)) + r"(?![\w.-])", "~", value)
    return value


def _mend(findings: "list[Finding]") -> int:
    from lora_nb.checkup.mending import mend

    return mend(findings, say=lambda line: print(line, file=sys.stderr, flush=True))


def _tell_of_fix(findings: "list[Finding]", tried: bool) -> None:
    """There is a quicker way for what has a command."""
    count = sum(bool(finding.command) for finding in findings)
    if tried and not count:
        print("There is nothing that --fix could mend.")
    elif count and not tried:
        print(f"{count} of these can be mended with: lora-nb doctor --fix")
