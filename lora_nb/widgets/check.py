"""Am I done here? The last cell of each notebook: `check.dataset(project)` shows ticks, and for the rest the reason."""

from collections.abc import Iterable
from html import escape
from pathlib import Path
from typing import NamedTuple

from IPython.display import HTML

from lora_nb.checkup.doctor import doctor
from lora_nb.checkup.findings import Finding
from lora_nb.config.combinations import find_cautions
from lora_nb.dataset.caption_checks import check_captions
from lora_nb.dataset.checks import check_dataset
from lora_nb.dataset.images import scan_images
from lora_nb.dataset.steps import plan_steps
from lora_nb.dataset.trigger_words import report_triggers
from lora_nb.environment import find_machine
from lora_nb.errors import LoraNbError, Problem
from lora_nb.evaluation.grids import find_loras
from lora_nb.project import Project
from lora_nb.training.runs import check_precision
from lora_nb.training.watching import list_runs, run_state

FEWEST = 8  # pictures, below which a subject is hardly learned


class Tick(NamedTuple):
    """One line of a self-check."""

    ok: bool
    what: str  # what is right, or what is not
    way_out: str = ""


class Checklist(list[Tick]):
    """Ticks and reasons, as a notebook shows them and as a test can read them."""

    @property
    def ok(self) -> bool:
        return all(tick.ok for tick in self)

    def _repr_html_(self) -> str:
        lines = "".join(_line(tick) for tick in self)
        end = "All is well: go on." if self.ok else "Mend what is marked ✗, and run this cell again."
        return f'<ul style="list-style: none; padding: 0">{lines}</ul><p role="status"><b>{end}</b></p>'

    def show(self) -> HTML:
        """For cells that show something else, too."""
        return HTML(self._repr_html_())


def machine(project: Project) -> Checklist:
    """Notebook 1: can this machine train?"""
    found = [each for each in doctor(project.root) if each.severity != "ok"]
    return _from_problems(found, "Everything that training needs is installed.")


def dataset(project: Project) -> Checklist:
    """Notebook 2: can a LoRA learn from these pictures?"""
    found, config = scan_images(project.images), project.load_config()
    count = len(found.items)
    ticks = [Tick(count >= FEWEST, f"{count} pictures", f"A subject needs at least {FEWEST} different ones.")]
    problems = [each for each in check_dataset(found, config) if "caption" not in each.message.lower()]
    ticks += _from_problems(problems, "Nothing would spoil the training.")
    try:
        plan = plan_steps(found, config)
        ticks.append(Tick(True, f"{plan.steps} steps in {plan.epochs} epochs, {len(plan.buckets)} buckets"))
    except LoraNbError as error:
        ticks.append(Tick(False, "The steps cannot be counted.", str(error)))
    return Checklist(ticks)


def captions(project: Project) -> Checklist:
    """Notebook 3: do the captions tie the subject to its trigger words?"""
    found, config = scan_images(project.images), project.load_config()
    words = config.data.trigger_words
    bare = [item.name for item in found.items if not item.caption]
    ticks = [
        Tick(not bare, f"{len(found.items) - len(bare)} of {len(found.items)} pictures have a caption", _few(bare))
    ]
    ticks.append(Tick(bool(words), f"trigger words: {', '.join(words) or 'none'}", "Choose one in notebook 4."))
    for folder in report_triggers(found, config.data):
        odd = [each.name for each in folder.odd]
        ticks.append(Tick(not odd, folder.describe(), _few(odd)))
    problems = [each for each in check_captions(found, config.data) if each.severity == "error"]
    return Checklist([*ticks, *_from_problems(problems, "Every caption can be read.")])


def settings(project: Project) -> Checklist:
    """Notebook 4: do the settings go together, and suit this machine?"""
    config = project.load_config()
    keep, words = config.data.keep_tokens, config.data.trigger_words
    fix = f"Set data.keep_tokens to {len(words)}."
    ticks = [Tick(keep >= len(words), f"{keep} tags stay in front, for {len(words)} trigger words", fix)]
    half = config.adapter.alpha <= config.adapter.rank
    what = f"rank {config.adapter.rank}, alpha {config.adapter.alpha:g}"
    ticks.append(Tick(half, what, "An alpha above the rank multiplies the learning rate."))
    prompts = config.samples.prompts
    without = [prompt for prompt in prompts if not any(word in prompt for word in words)]
    fix = "Add a sample prompt without the trigger word: it shows what leaks."
    ticks.append(
        Tick(not words or bool(without), f"{len(prompts)} sample prompts, {len(without)} without trigger", fix)
    )
    problems = [*find_cautions(config), *check_precision(config, find_machine(project.root))]
    return Checklist([*ticks, *_from_problems(problems, "The settings go together.")])


def training(run: Path) -> Checklist:
    """Notebook 5: is there a LoRA?"""
    state = run_state(run)
    ticks = [
        Tick(state.state == "finished", f"{run.name}: {state.state}, step {state.step} of {state.steps}", _go_on(run))
    ]
    files = find_loras(run)
    return Checklist([*ticks, Tick(bool(files), f"{len(files)} LoRA files", "Train at least one epoch.")])


def evaluation(project: Project) -> Checklist:
    """Notebook 6: is there a judgement?"""
    runs = [state.run for state in list_runs(project)]
    ticks = [Tick(bool(runs), f"{len(runs)} runs", "Train in notebook 5.")]
    plots = sorted(project.grids.glob("**/*.png"))
    return Checklist([*ticks, Tick(bool(plots), f"{len(plots)} pictures of grids", "Draw a grid above.")])


def _from_problems(problems: Iterable[Problem | Finding], if_none: str) -> Checklist:
    """A cross for each error, a tick for what is only to be known."""
    found = list(problems)
    if not found:
        return Checklist([Tick(True, if_none)])
    return Checklist(Tick(each.severity != "error", f"{each.where}: {each.message}", each.fix) for each in found)


def _few(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"Look at {', '.join(names[:3])}{more}." if names else ""


def _go_on(run: Path) -> str:
    return f"Let it go on with the panel above, or: lora-nb continue {run.parent.parent} --run {run.name}"


def _line(tick: Tick) -> str:
    mark, color = ("✓", "#1a7f37") if tick.ok else ("✗", "#c11f2a")
    text = escape(tick.what) + (f" <i>{escape(tick.way_out)}</i>" if tick.way_out and not tick.ok else "")
    return f'<li style="padding: 2px 0"><b style="color: {color}">{mark}</b> {text}</li>'
