"""When the loss is infinite or no number, which pictures and noise levels were it? Looked up only then."""

import math
from collections.abc import Callable, Iterable

from lora_nb.config import TrainConfig
from lora_nb.errors import BadLossError
from lora_nb.models.base import DiffusionModel
from lora_nb.training.batches import Batch
from lora_nb.training.noise import draw_noise

MOST_NAMED = 8  # pictures


def check_finite(
    what: str,
    value: float,
    step: int,
    model: DiffusionModel,
    config: TrainConfig,
    make_again: Callable[[], Iterable[Batch]],
) -> None:
    """Stop before a broken loss spoils the weights: nothing learned so far is lost, the last LoRA is on disk.

    make_again: makes the step's batches once more. Raises BadLossError.
    """
    if math.isfinite(value):
        return
    batches = list(make_again())
    examples = [example for batch in batches for example in list_examples(batch, model, config)]
    said = ", ".join(examples[:MOST_NAMED]) + (f" and {len(examples) - MOST_NAMED} more" * (len(examples) > MOST_NAMED))
    raise BadLossError(
        f"The {what} became {value} at step {step}. Its pictures: {said}.{blame_latents(batches)}",
        "The step was not taken, and the LoRAs saved before are intact. Lower optimizer.learning_rate, or set "
        "run.precision to bf16 or fp32, and continue; run.on_bad_loss can do the first by itself.",
    )


def list_examples(batch: Batch, model: DiffusionModel, config: TrainConfig) -> list[str]:
    """Each picture of a batch with its noise level, drawn as `training_loss` draws it."""
    draw_noise(batch.latents, config.noise, batch.generators)  # comes first from the same generators
    timesteps = model.objective.sample_timesteps(batch.latents, config.noise, batch.generators).tolist()
    return [f"{name} (timestep {value:.4g})" for name, value in zip(batch.names, timesteps, strict=True)]


def blame_latents(batches: list[Batch]) -> str:
    """Pictures whose latents are broken already: then no learning rate is to blame."""
    pairs = [pair for batch in batches for pair in zip(batch.names, batch.latents, strict=True)]
    names = list(dict.fromkeys(name for name, latents in pairs if not latents.isfinite().all()))
    if not names:
        return ""
    return f" What the VAE made of {', '.join(names[:MOST_NAMED])} is broken already: set model.vae to another one."
