"""A run's beginning and end on disk, whatever happens between: claimed, written down, and why it failed."""

import errno
import shutil
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lora_nb.errors import TrainingError
from lora_nb.training.acceleration import Team
from lora_nb.training.claims import claim_run
from lora_nb.training.event_log import write_events_to
from lora_nb.training.events import OnEvent, RunContinued, RunFailed, RunFinished, RunStarted, StepDone, TrainEvent
from lora_nb.training.memory_watch import watch_memory
from lora_nb.training.requests import take_requests


@contextmanager
def take_on(folder: Path, team: Team, prepared: bool) -> Iterator[OnEvent]:
    """Work on a run alone, with a listener that writes its events down; an error is written down, too.

    A run that fails before it has begun leaves nothing, unless it was prepared: then somebody waits to hear of it.
    Only the first process of a team writes.
    """
    if not team.is_first:
        yield lambda event: None
        return
    is_new = not folder.exists()
    with claim_run(folder):
        log = _Log(folder)
        if not prepared:
            take_requests(folder)  # of an earlier process
        try:
            with watch_memory(folder):  # which must have ended before the folder is removed
                yield log
        except KeyboardInterrupt:
            log(RunFinished("stopped", 0.0))
            raise
        except Exception as found:
            error = explain_full_disk(found, folder)
            with suppress(OSError):  # on a full disk
                log(RunFailed(log.step, type(error).__name__, str(error), traceback.format_exc()))
            raise error from (None if error is found else found)
        finally:
            if is_new and not log.has_begun:
                _remove(folder)


def explain_full_disk(error: Exception, folder: Path) -> Exception:
    """The same error, unless it means that nothing more can be written: then one that says what to do."""
    if not isinstance(error, OSError) or error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return error
    return TrainingError(
        f"The disk is full: there was no room for {error.filename or folder}. What was saved before is whole. Make "
        "room, then go on: lora-nb continue"
    )


class _Log:
    """Writes events, and remembers how far the run is."""

    def __init__(self, folder: Path) -> None:
        self._write = write_events_to(folder / "events.jsonl")
        self.step = 0
        self.has_begun = False

    def __call__(self, event: TrainEvent) -> None:
        self.has_begun |= isinstance(event, RunStarted)
        if isinstance(event, StepDone | RunContinued):
            self.step = event.step
        self._write(event)


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    with suppress(OSError):
        folder.parent.rmdir()  # if it was the first run
