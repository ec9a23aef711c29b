"""The same steps without a notebook: the command `lora-nb`.

Heavy imports happen inside the commands, so that `lora-nb --help` answers at once.
"""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from lora_nb.caption_commands import caption, prune
from lora_nb.doctor_command import doctor
from lora_nb.plan_command import plan
from lora_nb.run_commands import go_on, pause, restore, runs, sample_now, save_now, stop, train
from lora_nb.terminal import ProjectFolder, print_crash, print_problems, progress_bar

app = typer.Typer(
    help="From a folder of pictures to a tested LoRA for Stable Diffusion.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for other programs.")]


def main() -> None:
    """Run the command. Errors that are meant for the user are printed alone, others with an explanation above."""
    from lora_nb.errors import LoraNbError

    try:
        app()
    except LoraNbError as error:
        print(f"lora-nb: {error}", file=sys.stderr)
        sys.exit(1)
    except Exception as error:
        print_crash(error)
        sys.exit(1)


@app.command()
def demo(
    folder: Annotated[Path, typer.Argument(help="Where to put the demo project.")] = Path("lora_nb_demo"),
) -> None:
    """Train a LoRA on twelve pictures with the small model of this package, and draw its epoch x weight plot."""
    from lora_nb.workshop.demo_project import run_demo

    run_demo(folder)


@app.command()
def new(
    folder: Annotated[Path, typer.Argument(help="The project's folder, which will be made.")],
    images: Annotated[Path | None, typer.Option(help="A folder of pictures (and captions) to copy in.")] = None,
    trigger: Annotated[
        str | None, typer.Option(help="Trigger words, with commas. Default: the project's name.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="'workshop' (the default), a diffusers folder, or a name on the hub.")
    ] = None,
    family: Annotated[
        str | None, typer.Option(help="What kind of model that is: sd1 (the default), sd2, sdxl or flux.")
    ] = None,
    preset: Annotated[
        str | None, typer.Option(help="Settings for a case: character/sdxl/t4. See: lora-nb presets")
    ] = None,
) -> None:
    """Make a project: its folder, a copy of the pictures, and the settings that the tutorial advises here."""
    from lora_nb.environment import find_machine
    from lora_nb.presets.advice import advise_config, start_from_preset
    from lora_nb.project import make_project

    words = tuple(word.strip() for word in (trigger or folder.resolve().name).split(",") if word.strip())
    if preset is None:
        config = advise_config(find_machine(), model or "workshop", words, family or "sd1")
    else:
        config = start_from_preset(preset, model, words, family)
    project = make_project(folder, images)
    project.save_config(config)
    print(f"Project {project.root}")
    print(f"  pictures  {project.images}")
    print(f"  settings  {project.config_file}")
    print(f"Next: lora-nb check {folder}")


@app.command()
def presets(
    name: Annotated[str | None, typer.Argument(help="A preset, to see what it sets and why.")] = None,
) -> None:
    """List the presets for subject, model and machine, each with its reason; or show one."""
    from lora_nb.presets.catalogue import describe_presets, find_preset

    print(find_preset(name).describe() if name else describe_presets())


@app.command("import-kohya")
def import_kohya_settings(
    file: Annotated[Path, typer.Argument(help="A .json of Kohya_SS, a .toml of sd-scripts, or a LoRA file.")],
    into: Annotated[Path | None, typer.Option(help="The project that gets these settings. Default: none.")] = None,
) -> None:
    """Bring settings over from Kohya, and say what became of every single one."""
    from lora_nb.kohya.importing import import_kohya
    from lora_nb.project import find_project

    result = import_kohya(file)
    print(result.describe())
    if into is not None:
        project = find_project(into)
        project.save_config(result.config)
        print(f"Saved in {project.config_file}")


app.command()(caption)
app.command()(prune)


@app.command()
def check(folder: ProjectFolder) -> None:
    """Look for everything that would spoil a training, before it starts."""
    from lora_nb.config.combinations import find_cautions
    from lora_nb.dataset.checks import check_dataset
    from lora_nb.dataset.images import scan_images
    from lora_nb.project import find_project

    project = find_project(folder)
    dataset, config = scan_images(project.images), project.load_config()
    problems = [*check_dataset(dataset, config), *find_cautions(config)]
    print(f"{len(dataset.items)} pictures in {project.images}")
    print_problems(problems)
    if any(problem.severity == "error" for problem in problems):
        raise typer.Exit(1)


app.command()(plan)


app.command()(train)
app.command()(runs)
app.command()(stop)
app.command()(pause)
app.command("continue")(go_on)
app.command()(restore)
app.command("sample-now")(sample_now)
app.command("save-now")(save_now)


@app.command()
def grid(
    folder: ProjectFolder,
    run: Annotated[str | None, typer.Option(help="The run. Default: the last one.")] = None,
    prompt: Annotated[list[str] | None, typer.Option(help="A prompt; may be repeated. Default: the samples'.")] = None,
    weights: Annotated[str, typer.Option(help="LoRA weights, with commas.")] = "0.6,0.8,1",
    columns: Annotated[int, typer.Option(help="At most this many epochs, evenly spread.")] = 6,
    seed: Annotated[int | None, typer.Option(help="The same seed gives the same pictures.")] = None,
) -> None:
    """Draw the epoch x weight plot of a run, with a column without the LoRA to compare with."""
    from lora_nb.evaluation.runs import GridChoice, plot_run
    from lora_nb.project import find_project

    numbers = tuple(_read_number(text) for text in weights.split(","))
    choice = GridChoice(prompts=tuple(prompt or ()), weights=numbers, columns=columns, seed=seed)
    with progress_bar("pictures") as on_progress:
        path = plot_run(find_project(folder), choice, run=run, on_progress=on_progress)
    print(f"Plot: {path}")


@app.command()
def inspect(
    file: Annotated[Path, typer.Argument(help="A LoRA in .safetensors format, from any program.")],
    as_json: AsJson = False,
) -> None:
    """Show what is inside a LoRA file: its parts, ranks, strength and where it comes from."""
    from lora_nb.adapters.files import lora_summary, read_lora
    from lora_nb.errors import quote

    summary = lora_summary(read_lora(file))
    if as_json:
        print(json.dumps(summary, indent=2, ensure_ascii=False))
        return
    for name, value in summary.items():
        if not isinstance(value, dict):
            print(f"{name:14} {value}")
            continue
        print(name)
        for key, part in value.items():
            print(f"  {key:32} {quote(part, most=100)}")


app.command()(doctor)


def _read_number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a number. For example: --weights 0.6,0.8,1") from None


if __name__ == "__main__":
    main()
