"""Mending what can be mended without harm: each command is shown, run, and its failure told."""

import shlex
import subprocess
from collections.abc import Callable, Iterable

from lora_nb.checkup.findings import Finding

STDERR = 2  # what pip says belongs there, as stdout may be read by another program


def mend(findings: Iterable[Finding], say: Callable[[str], None]) -> int:
    """Run the commands of all findings that have one, and return how many of them worked."""
    worked = 0
    for finding in findings:
        if not finding.command:
            continue
        say(f"Mending {finding.where}: {shlex.join(finding.command)}")
        trouble = run_command(finding.command)
        say(f"  It did not work: {trouble}." if trouble else "  Done.")
        worked += not trouble
    return worked


def run_command(command: tuple[str, ...]) -> str:
    """Run a command where the user sees what it says. Returns what went wrong; empty if it worked."""
    try:
        status = subprocess.run(command, stdout=STDERR, check=False).returncode
    except OSError as error:
        return f"it could not be started ({error.strerror})"
    return f"it ended with status {status}; the reason stands above" if status else ""
