"""Errors in a notebook: what happened and what to do, above the traceback."""

from html import escape
from types import TracebackType
from typing import Any

from lora_nb.errors import LoraNbError
from lora_nb.explaining.causes import explain

_BOX = "border: 1px solid #d93025; border-left-width: 5px; border-radius: 6px; padding: 6px 12px; max-width: 60em"


class Notice:
    """What an error means, as a notebook or a terminal shows it."""

    def __init__(self, title: str, lines: list[str]) -> None:
        self.title, self.lines = title, lines

    def __repr__(self) -> str:
        return "\n".join([self.title, *self.lines])

    def _repr_html_(self) -> str:
        text = "".join(f'<p style="margin: .3em 0; white-space: pre-wrap">{escape(line)}</p>' for line in self.lines)
        return f'<div role="alert" style="{_BOX}"><b>{escape(self.title)}</b>{text}</div>'


def explain_errors() -> None:
    """From now on, show what an error means above its traceback, in every cell of this notebook.

    Nothing is hidden, and errors of other programs that are not in the table look as they always do. Calling it again
    changes nothing; outside of a notebook it does nothing.
    """
    from IPython import get_ipython

    shell: Any = get_ipython()  # type: ignore[no-untyped-call, unused-ignore]
    if shell is None or getattr(shell, "lora_nb_explains", False):
        return
    others, show_as_before = shell.custom_exceptions, shell.CustomTB  # Colab has some for missing packages

    def show(
        shell: Any, kind: type[BaseException], error: BaseException, where: TracebackType, tb_offset: int | None = None
    ) -> Any:
        notice = describe_error(error)
        if notice is not None:
            from IPython.display import display

            display(notice)
        if issubclass(kind, others):
            return show_as_before(kind, error, where, tb_offset=tb_offset)
        return shell.showtraceback((kind, error, where), tb_offset=tb_offset, running_compiled_code=True)

    shell.set_custom_exc((Exception, *others), show)
    shell.lora_nb_explains = True


def describe_error(error: BaseException) -> Notice | None:
    """What to say of an error: our own speak for themselves, others by the table. None if there is nothing to say."""
    if isinstance(error, LoraNbError):
        return Notice("This did not work:", str(error).splitlines())
    found = explain(error)
    return Notice("What this error means:", found.lines()) if found else None
