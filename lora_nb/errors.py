"""What went wrong, where, and what to do about it: the errors that every room raises."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

LONGEST_QUOTE = 300  # characters of what a file or another package says


def quote(said: object, most: int = LONGEST_QUOTE) -> str:
    """What another package says, or a name that a stranger gave, short enough to be read."""
    text = str(said).encode("utf-8", "backslashreplace").decode()  # halves of characters cannot be printed
    return text if len(text) <= most else text[: most - 3] + "..."


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong or unwise, with the way out.

    Checks return lists of these, so that a user sees every problem at once; errors carry them.
    """

    where: str  # the file, folder or setting, as the user knows it
    message: str  # what is wrong, with the value that was found
    fix: str  # what to do next, as an instruction
    severity: Literal["error", "warning", "note"] = "error"  # an error stops training, the others do not

    def __str__(self) -> str:
        return f"{self.where}: {self.message} {self.fix}".rstrip()


class LoraNbError(Exception):
    """Any error that lora_nb raises on purpose: its text is written for the user."""


class ProblemsError(LoraNbError):
    """An error made of several problems, all reported at once."""

    def __init__(self, title: str, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        lines = [title, *(f"  - {problem}" for problem in self.problems)]
        super().__init__("\n".join(lines))


class ConfigError(ProblemsError):
    """Settings that are unknown, out of range or contradict each other."""


class DatasetError(ProblemsError):
    """Pictures or captions that cannot be trained on."""


class RunChangedError(ProblemsError):
    """A run that cannot simply go on: settings or pictures are not what it was started with."""


class ProjectError(LoraNbError):
    """A project folder that is missing, foreign or incomplete."""


class ModelError(LoraNbError):
    """A base model that cannot be found, read or used."""


class LoraFileError(LoraNbError):
    """A LoRA file that cannot be read, or does not fit the model."""


class TrainingError(LoraNbError):
    """A training run that cannot go on."""


class BadLossError(TrainingError):
    """A loss or a gradient that is infinite or no number; the weights are as they were before that step."""

    def __init__(self, found: str, fix: str) -> None:
        self.found = found
        super().__init__(f"{found} {fix}")


class MissingPackageError(LoraNbError):
    """An optional package that the chosen setting needs."""

    def __init__(self, setting: str, package: str) -> None:
        super().__init__(f"{setting} needs the package {package!r}. Install it with: pip install {package}")
