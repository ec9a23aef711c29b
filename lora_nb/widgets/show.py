"""How results look in a notebook: tables, findings and source code, as HTML that suits light and dark pages."""

import difflib
import inspect
import textwrap
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, is_dataclass
from html import escape
from typing import Any

from IPython.display import HTML, Markdown

from lora_nb.checkup.findings import Finding
from lora_nb.dataset.tags import CaptionChange, split_tags
from lora_nb.errors import Problem

_CELL = "text-align: left; vertical-align: top; padding: 3px 16px 3px 4px; max-width: 46em; white-space: normal"
_MARKS = {"ok": "✓", "error": "✗", "warning": "!", "note": "·"}
_SEVERITY_COLORS = {"ok": "#1a7f37", "error": "#d93025", "warning": "#c77700", "note": "inherit"}


def show_table(rows: Iterable[Mapping[str, Any]]) -> HTML:
    """Rows under the names of their columns: `show_table([{"tag": "smile", "pictures": 5}])`."""
    lines = list(rows)
    if not lines:
        return HTML("<p>There is nothing to show.</p>")
    head = "".join(f'<th style="{_CELL}">{escape(name)}</th>' for name in lines[0])
    body = "".join(_table_row(_say(value) for value in line.values()) for line in lines)
    return HTML(f'<table style="margin-left: 0"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>')


def show_facts(facts: Any) -> HTML:
    """A dataclass, such as a machine or a plan, or a mapping: one line for each of its values."""
    values = asdict(facts) if is_dataclass(facts) and not isinstance(facts, type) else dict(facts)
    body = "".join(_table_row([f"<b>{escape(_spell(name))}</b>", _say(value)]) for name, value in values.items())
    return HTML(f'<table style="margin-left: 0"><tbody>{body}</tbody></table>')


def show_problems(problems: Iterable[Problem | Finding]) -> HTML:
    """What was found, with the way out of each; a tick if there is nothing."""
    found = list(problems)
    if not found:
        return HTML("<p><b>✓</b> Nothing to mend.</p>")
    return HTML("".join(_problem_html(problem) for problem in found))


def show_changes(changes: Iterable[CaptionChange]) -> HTML:
    """Edited captions, with the tags that went struck through and the new ones underlined."""
    found = list(changes)
    if not found:
        return HTML("<p>No caption would be different.</p>")
    body = "".join(_table_row([f"<b>{escape(change.path.stem)}</b>", _change_html(change)]) for change in found)
    return HTML(f'<table style="margin-left: 0"><tbody>{body}</tbody></table>')


def show_source(*parts: Callable[..., Any]) -> Markdown:
    """The code of functions or classes of this package, as it runs."""
    sources = [textwrap.dedent(inspect.getsource(part)).rstrip() for part in parts]
    return Markdown("```python\n" + "\n\n\n".join(sources) + "\n```")


def count_pictures() -> Callable[[int, int], None]:
    """A progress bar for `on_progress`: pictures drawn, of how many."""
    from tqdm.auto import tqdm

    bar: Any = None

    def show(done: int, total: int) -> None:
        nonlocal bar
        if not total:
            print("All pictures are there already: nothing to draw.")
            return
        bar = bar or tqdm(total=total, unit="picture")
        bar.update(done - bar.n)
        if done == total:
            bar.close()

    return show


def _table_row(cells: Iterable[str]) -> str:
    return "<tr>" + "".join(f'<td style="{_CELL}">{cell}</td>' for cell in cells) + "</tr>"


def _spell(name: str) -> str:
    """A value's name as a person would write it: memory_gib is memory (GiB)."""
    return name.replace("_gib", " (GiB)").replace("_mb", " (MB)").replace("_", " ")


def _say(value: Any) -> str:
    """A value as a person would write it, as HTML."""
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
    if isinstance(value, (list, tuple)) and not hasattr(value, "_fields"):
        return "<br>".join(_say(each) for each in value) or "none"
    return escape(str(value))


def _problem_html(problem: Problem | Finding) -> str:
    color = _SEVERITY_COLORS[problem.severity]
    mark = f'<b style="color: {color}">{_MARKS[problem.severity]} {problem.severity}</b>'
    text = f"{mark} <b>{escape(problem.where)}</b>: {escape(problem.message)} <i>{escape(problem.fix)}</i>"
    return f'<p style="margin: 0 0 .5em; max-width: 60em">{text}</p>'


def _change_html(change: CaptionChange) -> str:
    before, after = split_tags(change.before), split_tags(change.after)
    parts: list[str] = []
    for kind, start, end, new_start, new_end in difflib.SequenceMatcher(None, before, after, False).get_opcodes():
        if kind == "equal":
            parts += [escape(tag) for tag in after[new_start:new_end]]
        else:
            parts += [f'<del style="opacity: .65">{escape(tag)}</del>' for tag in before[start:end]]
            parts += [f"<ins>{escape(tag)}</ins>" for tag in after[new_start:new_end]]
    return ", ".join(parts)
