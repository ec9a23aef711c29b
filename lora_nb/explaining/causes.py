"""What does this error mean, and what can be done about it? Looked up in causes.toml, where more can be added."""

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from lora_nb.errors import LoraNbError

TABLE = Path(__file__).parent / "causes.toml"
MODULE = re.compile(r"^(?:\w+\.)+(?=\w+(?::|$))", re.MULTILINE)  # a traceback writes torch.OutOfMemoryError: ...

WHILE_HANDLING = "During handling of the above exception, another exception occurred:"  # what is above did not cause it


@dataclass(frozen=True)
class Explanation:
    """What happened, in words that a beginner understands, and the way out."""

    cause: str  # its name in the table
    happened: str
    fix: str
    settings: tuple[str, ...] = ()  # that may be changed for it, the most useful one first

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def lines(self) -> list[str]:
        """What happened; what to do; which settings."""
        change = [f"Settings that matter here: {', '.join(self.settings)}"] if self.settings else []
        return [self.happened, f"What to do: {self.fix}", *change]


@dataclass(frozen=True)
class Cause:
    """One entry of the table."""

    pattern: re.Pattern[str]
    explanation: Explanation
    examples: tuple[str, ...]  # real messages

    def explain(self, text: str) -> Explanation | None:
        """The explanation, with what the pattern has found in it filled in; None if this is not the cause."""
        found = self.pattern.search(text)
        if found is None:
            return None
        words, about = found.groupdict(), self.explanation
        happened, fix = about.happened, about.fix
        for name, word in words.items():
            happened, fix = happened.replace(f"{{{name}}}", word), fix.replace(f"{{{name}}}", word)
        return Explanation(about.cause, happened, fix, about.settings)


@cache
def load_causes(table: Path = TABLE) -> tuple[Cause, ...]:
    """The table's entries, in its order."""
    entries = tomllib.loads(table.read_text(encoding="utf-8"))["cause"]
    return tuple(
        Cause(
            re.compile(entry["pattern"], re.IGNORECASE | re.MULTILINE),
            Explanation(entry["name"], entry["happened"], entry["fix"], tuple(entry.get("settings", ()))),
            tuple(entry["examples"]),
        )
        for entry in entries
    )


def explain(error: BaseException) -> Explanation | None:
    """What an error means, or the error that it was raised from. None for our own, which say it themselves."""
    for each in _chain(error):
        if isinstance(each, LoraNbError):
            return None
        if found := explain_text(f"{type(each).__name__}: {each}"):
            return found
    return None


def explain_failure(kind: str, message: str, traceback: str) -> Explanation | None:
    """The same for an error that was written down: its class, what it said, and its traceback."""
    if kind in own_kinds():
        return None
    return explain_text(f"{kind}: {message}") or explain_log(traceback.rpartition(WHILE_HANDLING)[2])


def explain_log(text: str) -> Explanation | None:
    """The same for what a program has printed. Indented lines are its code and not what it says."""
    return explain_text("\n".join(line for line in text.splitlines() if line[:1].strip()))


def explain_text(text: str) -> Explanation | None:
    """The first cause in the table that this text speaks of."""
    plain = MODULE.sub("", text)
    return next((found for cause in load_causes() if (found := cause.explain(plain))), None)


def own_kinds() -> set[str]:
    """The names of our own errors."""

    def below(kind: type[LoraNbError]) -> Iterator[str]:
        yield kind.__name__
        for each in kind.__subclasses__():
            yield from below(each)

    return set(below(LoraNbError))


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error and those that it was raised from."""
    seen: set[int] = set()
    each: BaseException | None = error
    while each is not None and id(each) not in seen:
        seen.add(id(each))
        yield each
        each = each.__cause__
