"""Small demonstrations for the notebooks: what a training does to one picture."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from matplotlib.figure import Figure
from PIL import Image

from lora_nb.config import LossConfig, OptimizerConfig, TrainConfig
from lora_nb.dataset.final_captions import final_caption
from lora_nb.dataset.images import ImageItem
from lora_nb.dataset.tags import split_tags
from lora_nb.evaluation.charts import plot_curves, plot_order, plot_pictures

if TYPE_CHECKING:
    from torch import Tensor

    from lora_nb.models.base import DiffusionModel
    from lora_nb.training.cache import CachedImage


def plot_noising(model: "DiffusionModel", image: "CachedImage", timesteps: Sequence[int], clip_skip: int = 1) -> Figure:
    """Show a picture at several noise levels, and below each what the model takes the clean picture to be.

    The second row comes from the model's answer: noisy = sqrt(kept) * clean + sqrt(1 - kept) * noise, solved for clean.
    """
    import torch

    from lora_nb.training.views import cut_middle

    with torch.no_grad():
        levels = torch.tensor(timesteps, device=model.device)  # (B,)
        if model.objective.prediction == "flow":  # it counts shares of noise instead
            levels = (levels + 1) / model.objective.num_timesteps
        cut = cut_middle(image)
        latents = cut.mean.to(model.device).expand(len(timesteps), -1, -1, -1)  # (B, C, h, w)
        noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(0)).to(model.device)
        noisy = model.objective.add_noise(latents, noise, levels)
        captions = [image.item.caption] * len(timesteps)
        conditioning = model.encode_captions(captions, clip_skip)
        conditioning = model.add_geometry(conditioning, [cut.geometry] * len(timesteps))
        answer = model.predict(noisy, levels, conditioning).float()
        clean = model.objective.clean(noisy, answer, levels)
        pictures = _to_pictures(model.decode_latents(torch.cat([noisy, clean])))
    labels = [f"timestep {step}" for step in timesteps] + ["the model's guess"] * len(timesteps)
    return plot_pictures(pictures, labels, columns=len(timesteps))


def plot_shuffling(item: ImageItem, config: TrainConfig, epochs: int = 6) -> Figure:
    """What the model reads with one picture, epoch after epoch: each tag in its colour, framed if it stays in front."""
    rows = {f"epoch {epoch}": split_tags(final_caption(item, config, epoch)) for epoch in range(1, epochs + 1)}
    stay = config.data.keep_tokens if config.data.shuffle_tags else 0
    return plot_order(rows, stay, f"The caption of {item.name}, as it is read")


def plot_loss_weights(loss: LossConfig) -> Figure:
    """How much each noise level counts, with each way of weighting; all drawn with their largest at 1."""
    timesteps = list(range(0, 1000, 5))
    rows = list_loss_weights(loss, timesteps)
    names = [name for name in rows[0] if name not in ("timestep", "picture left")]
    columns = {name: [float(str(row[name])) for row in rows] for name in names}
    curves = {name: [value / max(column) for value in column] for name, column in columns.items()}
    return plot_curves(
        timesteps, curves, "How much each noise level counts (largest = 1)", "timestep: more noise to the right"
    )


def plot_schedule(optimizer: OptimizerConfig, steps: int) -> Figure:
    """The learning rate over a run, as the settings say, beside a constant one."""
    from lora_nb.training.schedules import learning_rate_curve

    chosen = learning_rate_curve(optimizer, steps)
    curves = {optimizer.lr_scheduler: chosen, "constant, to compare": [optimizer.learning_rate] * steps}
    return plot_curves(range(1, steps + 1), curves, f"Learning rate: {optimizer.lr_scheduler}", "step")


def list_loss_weights(
    loss: LossConfig, timesteps: Sequence[int] = (10, 100, 300, 500, 700, 900, 999)
) -> list[dict[str, object]]:
    """How much each noise level of Stable Diffusion's schedule counts, with each way of weighting: rows of a table."""
    import torch

    from lora_nb.training.losses import LOSS_WEIGHTS

    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2  # what each timestep adds, as in SD's own config
    kept = (1 - betas).cumprod(0)[list(timesteps)]  # (T,) the picture's share, as variance
    weights = {name: weigh(kept / (1 - kept), loss, "epsilon").tolist() for name, weigh in LOSS_WEIGHTS.items()}
    return [
        {"timestep": step, "picture left": f"{share:.0%}"} | {name: row[place] for name, row in weights.items()}
        for place, (step, share) in enumerate(zip(timesteps, kept.sqrt().tolist(), strict=True))
    ]


def _to_pictures(pixels: "Tensor") -> list[Image.Image]:
    """(B, 3, H, W) in -1..1 => pictures"""
    levels = ((pixels.float().clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    return [Image.fromarray(array) for array in levels]
