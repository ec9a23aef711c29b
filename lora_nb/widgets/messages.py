"""How a form says that something works or not: in words and with a mark, so that colour is not needed to read it."""

from html import escape

LABEL_WIDTH = "190px"  # of a form's labels: holds the longest title, since cut labels cannot be read
UNDER_FIELD = f"margin-left: calc({LABEL_WIDTH} + 8px); max-width: 56em; line-height: 1.4"

# of Jupyter's theme; the second is for Colab, where it can be read on light and on dark pages
_GOOD, _BAD = "var(--jp-success-color0, #2e8b3d)", "var(--jp-error-color1, #d93025)"


def good(text: str) -> str:
    """HTML for what works; empty for no text."""
    return _paint(f"✓ {text}", _GOOD) if text else ""


def bad(text: str) -> str:
    """HTML for what does not work; empty for no text."""
    return _paint(f"✗ {text}", _BAD) if text else ""


def note(text: str) -> str:
    """HTML for why something cannot be changed now; empty for no text."""
    return f'<div style="{UNDER_FIELD}; font-weight: 600; opacity: .8">· {escape(text)}</div>' if text else ""


def _paint(text: str, color: str) -> str:
    # role="status" makes screen readers say it when it changes
    return f'<div role="status" style="{UNDER_FIELD}; color: {color}; font-weight: 600">{escape(text)}</div>'
