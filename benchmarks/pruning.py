"""Does it pay to prune the tags that describe the subject? `python -m benchmarks.pruning`

The tutorial's central claim, tested: the demo's LoRA is trained on the same pictures and with the same settings, once
with captions from which the subject's tags were removed and once with them left in; and a third time, pruned, with
pictures of other creatures beside it (regularisation), which keep it from leaking. All are judged on the same prompts
and seeds. Takes about 15 minutes on two cores.
"""

import tempfile
from pathlib import Path

from lora_nb.dataset.images import REGULARISATION_FOLDER
from lora_nb.evaluation.grids import find_loras
from lora_nb.evaluation.runs import picture_settings
from lora_nb.models.base import load_model
from lora_nb.project import open_project
from lora_nb.training.runs import train_project
from lora_nb.workshop.demo import judgement_prompts, write_demo_pictures, write_other_pictures
from lora_nb.workshop.demo_project import REPEATS, fill_if_empty
from lora_nb.workshop.judge import draw_prompts
from lora_nb.workshop.measure import prompt_adherence, subject_rate

PICTURES = 40
OTHER_COLOURS = ("red body", "purple body", "yellow body", "pink body")  # asked for instead of the subject's own


def main() -> None:
    print(f"{'captions':16} {'subject':>8} {'prompts followed':>17} {'other colour':>13} {'without trigger':>16}")
    for name, pruned, others in (("pruned", True, 0), ("unpruned", False, 0), ("pruned + others", True, REPEATS // 2)):
        with tempfile.TemporaryDirectory() as folder:
            numbers = measure(Path(folder) / "mochi", pruned, others)
        print("{:16} {:8.0%} {:17.0%} {:13.0%} {:16.0%}".format(name, *numbers), flush=True)


def measure(root: Path, pruned: bool, others: int) -> tuple[float, float, float, float]:
    """Train on pruned or full captions, with `others` repeats of the other creatures, and count: the subject by its
    trigger word alone, prompts followed, the subject in another colour when that is asked for, and the subject where
    its trigger word is missing."""
    project = open_project(root)
    write_demo_pictures(project.images, repeats=REPEATS, pruned=pruned)
    if others:
        write_other_pictures(project.root / REGULARISATION_FOLDER, repeats=others)
    fill_if_empty(project)
    config = project.load_config()
    lora = find_loras(train_project(project))[-1]

    model = load_model(config.model)
    settings = picture_settings(config).model_copy(update={"lora": lora})
    prompts = judgement_prompts(PICTURES)
    recoloured = [f"{prompt}, {OTHER_COLOURS[place % 4]}" for place, prompt in enumerate(prompts)]
    plain = [prompt.split(", ", 1)[1] for prompt in prompts]
    pictures, other, without = (draw_prompts(model, asked, settings) for asked in (prompts, recoloured, plain))
    return (
        subject_rate(pictures),
        prompt_adherence(pictures, prompts),
        prompt_adherence(other, recoloured, frozenset(OTHER_COLOURS)),
        subject_rate(without),
    )


if __name__ == "__main__":
    main()
