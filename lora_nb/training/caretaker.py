"""Between two steps: answers what the outside has asked of the run."""

import time
from dataclasses import dataclass, field

from lora_nb.training.claims import show_life
from lora_nb.training.events import RunContinued, RunPaused
from lora_nb.training.learner import Learner
from lora_nb.training.output import RunOutput
from lora_nb.training.requests import Request, StopAsked, take_requests

LOOK_EVERY = 0.2  # seconds, while the run is paused
LIFE_EVERY = 30.0  # seconds between two signs of life


@dataclass
class Caretaker:
    """Looks after a run while the loop trains; in several processes, all do what the first one was asked."""

    learner: Learner
    output: RunOutput
    _shown: float = field(default=0.0, init=False)

    def attend(self, step: int, epoch: int) -> None:
        """Answer what was asked since the last step. Raises StopAsked."""
        self._show_life()
        requests = self._take()
        if "pause" in self._answer(requests, step, epoch):
            self._wait(step, epoch)

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
