"""What a whole, tiny training shows to the outside: everything that a setting may change."""

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors import safe_open

from lora_nb.config import TrainConfig
from lora_nb.config_file import make_config
from lora_nb.dataset.images import scan_images
from lora_nb.dataset.steps import plan_steps
from lora_nb.models.base import load_model
from lora_nb.project import Project, open_project
from lora_nb.training.events import CheckpointSaved, StepDone
from lora_nb.training.runs import train_project

OF_THE_MOMENT = ("ss_session_id", "ss_training_started_at", "ss_training_finished_at", "modelspec.date")
SMALL = {  # a training of two steps with two small pictures in two shapes
    "data": {"resolution": 64, "bucket_step": 16, "min_bucket_size": 32, "max_bucket_size": 128},
    "adapter": {"rank": 4, "alpha": 2},
    "optimizer": {"kind": "adamw", "learning_rate": 1e-3, "lr_scheduler": "constant"},
    "run": {"epochs": 1, "batch_size": 1},
    "samples": {"prompts": ["mochi"], "every_n_epochs": 0, "width": 64, "height": 64, "steps": 2},
}


@dataclass(frozen=True)
class Observed:
    """One training, as far as it can be compared."""

    plan: Any  # steps and buckets, counted before
    lora: dict[str, tuple[Any, ...]]  # every tensor of the last file: type, shape and numbers
    metadata: dict[str, str]
    files: list[str]  # what the run left behind
    pictures: list[bytes]  # the samples
    rates: list[float]  # the learning rates
    model: list[tuple[str, ...]]  # how its layers were set up while it was trained
    checkpoints: list[int]  # how many there were after each that was saved


def nested(values: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """{"run.epochs": 5} => {"run": {"epochs": 5}}"""
    result: dict[str, dict[str, Any]] = {}
    for name, value in values.items():
        section, _, field = name.partition(".")
        result.setdefault(section, {})[field] = value
    return result


def small_config(model: Path, family: str, values: dict[str, Any]) -> TrainConfig:
    """The settings of the small training, with some of them changed: {"run.epochs": 5}."""
    merged = {section: dict(part) for section, part in SMALL.items()}
    merged["model"] = {"base": str(model), "family": family}
    for section, part in nested(values).items():
        merged.setdefault(section, {}).update(part)
    return make_config(merged)


def make_small_project(root: Path) -> Project:
    """Two pictures with captions, one of them larger than its bucket and both half transparent."""
    project = open_project(root / "mochi")
    folder = project.images / "1_mochi"
    folder.mkdir()
    for number, size in enumerate([(64, 64), (150, 100)]):
        picture = Image.effect_noise(size, 60).convert("RGB")
        picture.putalpha(Image.linear_gradient("L").resize(size))
        picture.save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text(f"mochi, tag {number}, {{forest|sea}} ||| smile, hat")
    general = project.root / "regularisation" / "1_creature"
    general.mkdir(parents=True)
    Image.effect_noise((64, 64), 60).convert("RGB").save(general / "r.png")
    return project


def observe(project: Project, config: TrainConfig, model: Any = None) -> Observed:
    """Train with these settings, really, and look at everything that comes out."""
    run_settings = config.run
    model = model or load_model(
        config.model,
        precision=run_settings.precision,
        quantization=run_settings.quantization,
        offload=run_settings.offload,
    )
    rates: list[float] = []
    layers: list[tuple[str, ...]] = []
    checkpoints: list[int] = []

    def look(event: Any) -> None:
        if isinstance(event, StepDone):
            rates.append(event.learning_rate)
            layers[:] = _look_at_layers(model)
        if isinstance(event, CheckpointSaved):
            checkpoints.append(len(list(Path(event.path).parent.iterdir())))

    folder = train_project(project, config, run=f"run{next(_NUMBERS)}", model=model, on_event=look)
    file = folder / "loras" / f"{project.name}.safetensors"
    files = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    pictures = [path.read_bytes() for path in sorted((folder / "samples").glob("*.png"))]
    plan = plan_steps(scan_images(project.images), config)
    return Observed(plan, *_read_lora(file), files, pictures, rates, layers, checkpoints)


_NUMBERS = itertools.count(1)


def _read_lora(file: Path) -> tuple[dict[str, tuple[Any, ...]], dict[str, str]]:
    tensors = {}
    with safe_open(file, framework="pt") as opened:
        metadata = {key: text for key, text in opened.metadata().items() if key not in OF_THE_MOMENT}
        for name in opened.keys():  # noqa: SIM118  it is no dict
            tensor = opened.get_tensor(name)
            tensors[name] = (str(tensor.dtype), tuple(tensor.shape), tensor.double().numpy().tobytes())
    return tensors, metadata


def _look_at_layers(model: Any) -> list[tuple[str, ...]]:
    """Every layer's class, type of weights, order in memory, and whether it forgets what it computed."""
    found = []
    for name, module in model.denoiser.named_modules():
        weight = getattr(module, "weight", None)
        shape = ()
        if isinstance(weight, torch.Tensor):
            shape = (str(weight.dtype), str(weight.stride()), str(weight.device))
        forgets = str(getattr(module, "gradient_checkpointing", ""))
        compiled = str(getattr(module, "_compiled_call_impl", None) is not None)
        hooked = str(bool(module._forward_pre_hooks) or hasattr(module, "_diffusers_hook"))
        found.append((name, type(module).__name__, forgets, compiled, hooked, *shape))
    return found
