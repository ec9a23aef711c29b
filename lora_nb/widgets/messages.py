"""How a form says that something works or not: in words and with a mark, so that colour is not needed to read it."""

from collections.abc import Iterable
from html import escape


def good(text: str) -> str:
    """HTML for what works; empty for no text."""
    return _say(f"✓ {text}", "good") if text else ""


def bad(text: str) -> str:
    """HTML for what does not work; empty for no text."""
    return _say(f"✗ {text}", "bad") if text else ""


def note(text: str) -> str:
    """HTML for why something cannot be changed now; empty for no text."""
    return f'<div class="lnf-under lnf-note">· {escape(text)}</div>' if text else ""


def advice(text: str, aside: str = "") -> str:
    """HTML for what stands in small letters below a field."""
    end = f" <i>({escape(aside)})</i>" if aside else ""
    return f'<div class="lnf-under lnf-help">{escape(text)}{end}</div>'


def bullets(lines: Iterable[tuple[str, str] | str]) -> str:
    """HTML for a list below a field; of a pair, the first stands out."""
    items = [
        escape(line) if isinstance(line, str) else f"<b>{escape(line[0])}</b>: {escape(line[1])}" for line in lines
    ]
    return f'<ul class="lnf-under lnf-help">{"".join(f"<li>{item}</li>" for item in items)}</ul>'


def _say(text: str, kind: str) -> str:
    # role="status" makes screen readers say it when it changes
    return f'<div role="status" class="lnf-under lnf-{kind}">{escape(text)}</div>'
