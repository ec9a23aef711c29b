"""The frame of every browser widget: the page asks, the kernel answers in the message handler.

Nothing is sent from a thread and nothing is pushed: on Colab such updates never appear. State is not kept in synced
traits either: what is on disk is the truth, and a page that is opened anew asks for it.
"""

import base64
import re
import threading
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import anywidget

from lora_nb.errors import LoraNbError
from lora_nb.explaining.causes import explain

STATIC = Path(__file__).parent / "static"
PART = 512 * 1024  # bytes in one message: hosts refuse larger ones, at sizes that they do not tell
_IMPORT = re.compile(r"^import \{[^}]*\} from \"\./(\w+)\.js\";\n", re.MULTILINE)

Reply = Any  # what json can hold, or a pair of that and the bytes that go with it


class AskedWidget(anywidget.AnyWidget):
    """A widget that answers the questions of its page. Subclasses name their files and their answers.

    `files = "board"` in the class uses static/board.js and static/board.css. A method `answer_rename` answers
    `kernel.ask("rename", {...})`: it gets the details by name, and `buffers=` if bytes came with them, and returns what
    JSON can hold or a pair (that, list of bytes). A LoraNbError is shown in the page in its own words.
    """

    files: ClassVar[str]
    elsewhere: ClassVar[Sequence[Path]] = ()  # scripts and styles of other rooms that its own import

    def __init_subclass__(cls, **more: Any) -> None:
        if "files" in cls.__dict__:  # traitlets makes subclasses of its own when traits are added
            cls._esm, cls._css = compose_module(cls.files, cls.elsewhere), compose_style(cls.files, cls.elsewhere)
        super().__init_subclass__(**more)

    def __init__(self, **traits: Any) -> None:
        super().__init__(**traits)
        self._lock = threading.RLock()  # JupyterLab may handle messages in a thread of their own
        self.on_msg(self._receive)
        self._answer_anywhere()

    def answer_greet(self, sent: Sequence[int], buffers: Sequence[bytes] = ()) -> Reply:
        """Say whether the page's bytes arrived, and send them back."""
        return {"arrived": [bytes(each) for each in buffers] == [bytes(sent)]}, [bytes(sent)]

    def _receive(self, _: Any, message: Any, buffers: Sequence[Any] | None) -> None:
        if not isinstance(message, dict) or "ask" not in message:
            return
        encoded = message.get("encoded")
        data = [base64.b64decode(each) for each in encoded] if encoded else [bytes(each) for each in buffers or ()]
        reply: dict[str, Any] = {"id": message.get("id")}
        out: list[bytes] = []
        try:
            with self._lock:
                reply["answer"], out = self._answer(message["ask"], message.get("details") or {}, data)
        except LoraNbError as error:
            reply["error"] = str(error)
        except Exception as error:  # the page must hear of it; the traceback goes to the notebook's log
            found, said = explain(error), f"{type(error).__name__}: {error}"
            reply["error"] = f"{found}\n{said}" if found else said
            traceback.print_exc()
        if message.get("plain"):
            reply["encoded"] = [base64.b64encode(each).decode() for each in out]
            out = []
        self.send(reply, out or None)
        self._answer_anywhere()

    def _answer_anywhere(self) -> None:
        """Let questions be answered while a cell runs.

        JupyterLab sends them to a thread of the kernel (a subshell), but ipykernel 7 takes them to where the widget
        last spoke, which is the cell that made it, and there they would wait. Elsewhere there is nothing to forget.
        """
        if self.comm is not None:
            self.comm.__dict__.pop("_reply_subshell_id", None)

    def _answer(self, question: str, details: dict[str, Any], buffers: list[bytes]) -> tuple[Any, list[bytes]]:
        answer: Callable[..., Reply] = getattr(self, f"answer_{question}")
        reply = answer(**details, buffers=buffers) if buffers else answer(**details)
        return reply if isinstance(reply, tuple) else (reply, [])


def send_part(content: bytes, start: int, facts: dict[str, Any]) -> Reply:
    """Answer with the bytes from `start` on, no more than a message may hold: shared.js has askInParts() for it."""
    return facts | {"size": len(content)}, [content[start : start + PART]]


def compose_module(name: str, elsewhere: Sequence[Path] = ()) -> str:
    """One self-contained ES module of a widget's own file and all that it imports from beside it, each once."""
    places = {file.stem: file for file in elsewhere if file.suffix == ".js"}
    parts: dict[str, str] = {}

    def collect(part: str) -> None:
        if part not in parts:
            text = places.get(part, STATIC / f"{part}.js").read_text(encoding="utf-8")
            for match in _IMPORT.finditer(text):
                collect(match[1])
            parts[part] = _IMPORT.sub("", text)

    collect(name)
    own = parts.pop(name)
    return re.sub(r"^export (?=function|class|async|const)", "", "".join(parts.values()), flags=re.MULTILINE) + own


def compose_style(name: str, elsewhere: Sequence[Path] = ()) -> str:
    """The shared style, those from elsewhere and a widget's own, if it has one."""
    others = [file for file in elsewhere if file.suffix == ".css"]
    files = [STATIC / "shared.css", *others, STATIC / f"{name}.css"]
    return "".join(file.read_text(encoding="utf-8") for file in files if file.exists())
