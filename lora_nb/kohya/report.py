"""What became of every key of a Kohya file: a list for programs, a table for people."""

from collections import Counter
from dataclasses import dataclass
from typing import Any, Literal

from lora_nb.config import TrainConfig

Outcome = Literal["imported", "not needed", "not supported", "not known"]
OUTCOMES: tuple[Outcome, ...] = ("imported", "not needed", "not supported", "not known")
LONGEST = 44  # characters of a value in the table


@dataclass(frozen=True)
class Finding:
    """One key of the file."""

    key: str  # as the file spells it
    value: Any
    outcome: Outcome
    settings: dict[str, Any]  # ours, with the values that they got
    why: str  # why not, or what is different here


@dataclass(frozen=True)
class KohyaImport:
    """Settings made from a Kohya file, and the account of it."""

    config: TrainConfig
    findings: tuple[Finding, ...]
    assumed: dict[str, Any]  # settings that the file does not name, at what Kohya does then
    todo: tuple[str, ...]  # what only the user can add

    def count(self) -> dict[Outcome, int]:
        counts = Counter(finding.outcome for finding in self.findings)
        return {outcome: counts[outcome] for outcome in OUTCOMES}

    def describe(self) -> str:
        """The whole account as text, a line for every key."""
        lines = []
        for outcome in OUTCOMES:
            found = [finding for finding in self.findings if finding.outcome == outcome]
            if found:
                lines += [f"{outcome} ({len(found)})", *(f"  {_describe(finding)}" for finding in found), ""]
        if self.assumed:
            values = ", ".join(f"{name}={value!r}" for name, value in self.assumed.items())
            lines += [f"Not in the file, so as Kohya does without it: {values}", ""]
        total = ", ".join(f"{number} {outcome}" for outcome, number in self.count().items())
        return "\n".join([*lines, f"{len(self.findings)} keys: {total}", *(f"! {text}" for text in self.todo)])

    def __repr__(self) -> str:
        return self.describe()  # what a notebook shows


def _describe(finding: Finding) -> str:
    value = repr(finding.value)
    value = value if len(value) <= LONGEST else value[: LONGEST - 3] + "..."
    became = ", ".join(f"{name} = {result!r}" for name, result in finding.settings.items())
    arrow = f" => {became}" if became else ""
    return f"{finding.key} {value}{arrow}" + (f": {finding.why}" if finding.why else "")
