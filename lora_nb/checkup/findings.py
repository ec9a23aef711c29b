"""What the doctor says of one thing that it looked at."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's report: what was looked at, what was found, and the way out if it is not well."""

    where: str
    message: str
    fix: str = ""
    severity: Literal["ok", "error", "warning", "note"] = "ok"  # an error stops training, the others do not
    command: tuple[str, ...] = ()  # mends it and can do no harm, so that `lora-nb doctor --fix` may run it

    def __str__(self) -> str:
        return f"{self.where}: {self.message} {self.fix}".rstrip()
