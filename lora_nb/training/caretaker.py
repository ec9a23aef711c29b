"""Between two steps: saves checkpoints, and answers what the outside has asked of the run."""

import time
import traceback
from dataclasses import dataclass, field

from lora_nb.training.checkpoints import checkpoint_name, remove_old, write_checkpoint
from lora_nb.training.claims import show_life
from lora_nb.training.event_log import flush_events
from lora_nb.training.events import CheckpointSaved, RunContinued, RunPaused
from lora_nb.training.learner import Learner
from lora_nb.training.output import RunOutput
from lora_nb.training.requests import Request, StopAsked, take_requests
from lora_nb.training.setbacks import is_out_of_memory
from lora_nb.training.snapshots import restore, snapshot

EVENTS = "events.jsonl"
LOOK_EVERY = 0.2  # seconds, while the run is paused
LIFE_EVERY = 30.0  # seconds between two signs of life


@dataclass
class Caretaker:
    """Looks after a run while the loop trains; in several processes, all do what the first one was asked."""

    learner: Learner
    output: RunOutput
    _shown: float = field(default=0.0, init=False)  # when the last sign of life was given
    _saved_step: int = field(default=0, init=False)
    _saved_at: float = field(default=0.0, init=False)  # on the run's watch
    _last: tuple[int, int, int] = field(default=(0, 0, 0), init=False)  # step, epoch, bytes of events that told of it

    def go_back(self) -> tuple[int, int]:
        """Bring the learner to the checkpoint that the run goes on from, if any. Returns the step and the epoch."""
        checkpoint = self.output.checkpoint
        self._saved_at = self.output.watch.seconds
        if checkpoint is None:
            return 0, 0
        restore(self.learner, checkpoint.folder)
        self._saved_step = checkpoint.step
        self._last = checkpoint.step, checkpoint.epoch, int(checkpoint.facts["events"])
        return checkpoint.step, checkpoint.epoch

    def attend(self, step: int, epoch: int) -> None:
        """Save a checkpoint if it is time, and answer what was asked since the last step. Raises StopAsked."""
        self._show_life()
        self._remember(step, epoch)
        requests = self._take()
        if self._is_time(step) or {"stop", "pause", "save_now"} & set(requests):
            self.save_checkpoint()
        if "pause" in self._answer(requests, step, epoch):
            self._wait(step, epoch)

    def save_checkpoint(self) -> None:
        """Write down everything that is needed to go on after the last step.

        What follows the last step of an epoch, its LoRA and pictures, is done again then, and told again.
        """
        output, run = self.output, self.output.config.run
        step, epoch, events = self._last
        if step == self._saved_step or not output.team.is_first:
            return
        started, place = time.monotonic(), output.folder / "checkpoints"
        flush_events(output.folder / EVENTS)
        facts = {
            "step": step,
            "epoch": epoch,
            "steps": output.plan.steps,
            "seconds": output.watch.seconds,
            "events": events,
            "started_at": output.started_at,
            "session_id": output.session_id,
            "config": output.config.model_dump(mode="json"),
        }
        size = write_checkpoint(place, step, snapshot(self.learner, facts))
        remove_old(place, step, run.keep_checkpoints, run.keep_checkpoint_every_n_steps)
        self._saved_step, self._saved_at = step, output.watch.seconds
        seconds = time.monotonic() - started
        output.on_event(CheckpointSaved(step, epoch, str(place / checkpoint_name(step)), size, seconds))

    def save_after(self, error: Exception) -> None:
        """If the run may go on after this error, keep what was learned before it."""
        allowed = self.output.config.run.on_out_of_memory != "stop"
        if allowed and is_out_of_memory(error) and self.learner.is_whole:
            traceback.clear_frames(error.__traceback__)  # what was computed so far holds much memory
            self.learner.optimizer.zero_grad()
            self.save_checkpoint()

    def _remember(self, step: int, epoch: int) -> None:
        events = self.output.folder / EVENTS
        if self._last[0] != step and self.output.team.is_first:
            self._last = step, epoch, events.stat().st_size if events.exists() else 0

    def _is_time(self, step: int) -> bool:
        run = self.output.config.run
        waited = self.output.watch.seconds - self._saved_at
        by_time = run.checkpoint_every_n_minutes and waited >= 60 * run.checkpoint_every_n_minutes
        return bool(by_time or (run.checkpoint_every_n_steps and step % run.checkpoint_every_n_steps == 0))

    def _take(self) -> list[Request]:
        team = self.output.team
        return team.agree(take_requests(self.output.folder) if team.is_first else [])

    def _answer(self, requests: list[Request], step: int, epoch: int) -> list[Request]:
        """Do what can be done at once. Returns all requests."""
        if "save_now" in requests or "sample_now" in requests:
            with self.learner.final_weights():
                if "save_now" in requests:
                    self.output.save_lora(self.learner.model, step, epoch, at_step=True)
                if "sample_now" in requests:
                    self.output.draw_samples(self.learner.model, step, epoch, at_step=True)
        if "stop" in requests:
            raise StopAsked
        return requests

    def _wait(self, step: int, epoch: int) -> None:
        on_event, watch = self.output.on_event, self.output.watch
        on_event(RunPaused(step, epoch))
        with watch.stopped():
            while "go_on" not in self._answer(self._take(), step, epoch):
                self._show_life()
                time.sleep(LOOK_EVERY)
        plan = self.output.plan
        on_event(RunContinued(step, epoch, "", plan.steps, plan.epochs))

    def _show_life(self) -> None:
        if time.monotonic() - self._shown > LIFE_EVERY and self.output.team.is_first:
            self._shown = time.monotonic()
            show_life(self.output.folder)
