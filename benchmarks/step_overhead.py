"""What does a training step cost beside the U-Net itself? `python -m benchmarks.step_overhead`

A full-size Stable Diffusion 1.5 U-Net with random weights at 256 px, float32, rank 8, latents and text cached: the
median step of the training loop, divided by the median forward and backward pass of the bare U-Net to its inputs.
Both are measured in turn in one process, so that a machine whose speed drifts does not favour one of them.
Takes about 5 minutes on two cores and 8 GiB.
"""

import tempfile
import time
from itertools import pairwise
from pathlib import Path
from statistics import median

import torch
from diffusers import UNet2DConditionModel
from torch import nn

from lora_nb.config import ModelConfig, TrainConfig
from lora_nb.config_file import make_config
from lora_nb.dataset.buckets import fit_picture
from lora_nb.dataset.images import Dataset, ImageItem
from lora_nb.dataset.steps import plan_steps
from lora_nb.models.stable_diffusion import Parts, StableDiffusion
from lora_nb.training.cache import CachedImage
from lora_nb.training.events import StepDone, TrainEvent
from lora_nb.training.loop import train
from lora_nb.training.output import RunOutput
from tests.tiny_models import SCHEDULER, make_text_encoder, make_vae

TURNS, STEPS, SIDE, TEXT_WIDTH = 4, 8, 256, 768
SETTINGS = {
    "data": {"resolution": SIDE},
    "adapter": {"rank": 8, "alpha": 4, "train_text_encoder": False},
    "optimizer": {"kind": "adamw"},
    "run": {"epochs": 1, "batch_size": 1},
    "samples": {"every_n_epochs": 0},
}


class KnownText(StableDiffusion):
    """The model with its text encoded already: captions are not part of what is measured."""

    text = torch.randn(1, 77, TEXT_WIDTH)

    def encode_captions(
        self, captions: list[str], clip_skip: int = 1, max_tokens: int = 75, weighted: bool = False
    ) -> dict[str, torch.Tensor]:
        return {"encoder_hidden_states": self.text.expand(len(captions), -1, -1)}


def main() -> None:
    torch.manual_seed(0)
    unet = UNet2DConditionModel(sample_size=64, cross_attention_dim=TEXT_WIDTH, attention_head_dim=8)
    model = KnownText(ModelConfig(base="random"), Parts(unet, make_text_encoder(600), make_vae(), None, SCHEDULER))
    config = make_config(SETTINGS)
    bare: list[float] = []
    steps: list[float] = []
    for turn in range(1, TURNS + 1):
        bare += [time_bare_pass(unet) for _ in range(STEPS)][1:]  # the first one warms up
        steps += time_steps(model, config)[1:]
        print(f"turn {turn} of {TURNS}: step {median(steps):.3f} s, bare pass {median(bare):.3f} s", flush=True)
    print(f"median step / median bare pass = {median(steps) / median(bare):.3f} ({len(steps)} of each)")


def time_bare_pass(unet: nn.Module) -> float:
    latents = torch.randn(1, 4, SIDE // 8, SIDE // 8, requires_grad=True)
    text = torch.randn(1, 77, TEXT_WIDTH, requires_grad=True)
    started = time.perf_counter()
    unet(latents, torch.tensor([500]), text).sample.square().mean().backward()
    return time.perf_counter() - started


def time_steps(model: StableDiffusion, config: TrainConfig) -> list[float]:
    """Train on one picture's latents, and return how long each step took."""
    ends: list[float] = [0.0]

    def listen(event: TrainEvent) -> None:
        if isinstance(event, StepDone):
            ends.append(event.seconds)

    with tempfile.TemporaryDirectory() as folder:
        item = ImageItem(Path(folder) / "a.png", SIDE, SIDE, "mochi", True, STEPS, "mochi")
        dataset = Dataset(Path(folder), (item,), ())
        latents = torch.randn(4, SIDE // 8, SIDE // 8)
        images = [CachedImage(item, fit_picture(SIDE, SIDE, config.data), latents, torch.zeros_like(latents))]
        output = RunOutput(Path(folder), "random", config, dataset, plan_steps(dataset, config), listen)
        train(model, images, config, output, listen)
    return [after - before for before, after in pairwise(ends)]


if __name__ == "__main__":
    main()
