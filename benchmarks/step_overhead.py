"""What does a training step cost beside the U-Net itself? `python -m benchmarks.step_overhead`

A full-size Stable Diffusion 1.5 U-Net with random weights at 256 px, float32, rank 8, latents and text cached: the
time of a step of the training loop, divided by that of a forward and backward pass of the bare U-Net to its inputs.
After each step comes a bare pass on a second U-Net that shares the weights, so that a machine whose speed drifts does
not favour one of them. Printed is the median of the pairs' ratios, in seconds on the clock and of the processor.
Takes about 5 minutes on two cores and 6 GiB.
"""

import tempfile
import time
from dataclasses import dataclass
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

STEPS, WARM_UP, SIDE, TEXT_WIDTH = 32, 2, 256, 768
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


@dataclass
class Clock:
    """Seconds that passed, and seconds that this process's threads computed."""

    wall: float
    processor: float

    def since(self) -> "Clock":
        return Clock(time.perf_counter() - self.wall, time.process_time() - self.processor)


def now() -> Clock:
    return Clock(time.perf_counter(), time.process_time())


def main() -> None:
    torch.manual_seed(0)
    shape = {"sample_size": 64, "cross_attention_dim": TEXT_WIDTH, "attention_head_dim": 8}
    unet = UNet2DConditionModel(**shape)
    with torch.device("meta"):
        bare = UNet2DConditionModel(**shape)
    bare.load_state_dict(unet.state_dict(), assign=True)
    bare.requires_grad_(False)
    model = KnownText(ModelConfig(base="random"), Parts(unet, make_text_encoder(600), make_vae(), None, SCHEDULER))
    pairs = time_steps(model, bare, make_config(SETTINGS))[WARM_UP:]
    for name in ("wall", "processor"):
        steps, passes = ([getattr(clock, name) for clock in clocks] for clocks in zip(*pairs, strict=True))
        ratio = median(step / one for step, one in zip(steps, passes, strict=True))
        print(f"{name:9}: step {median(steps):.3f} s, bare pass {median(passes):.3f} s, ratio {ratio:.3f}")


def time_bare_pass(unet: nn.Module) -> Clock:
    latents = torch.randn(1, 4, SIDE // 8, SIDE // 8, requires_grad=True)
    text = torch.randn(1, 77, TEXT_WIDTH, requires_grad=True)
    started = now()
    unet(latents, torch.tensor([500]), text).sample.square().mean().backward()
    return started.since()


def time_steps(model: StableDiffusion, bare: nn.Module, config: TrainConfig) -> list[tuple[Clock, Clock]]:
    """Train on one picture's latents: how long each step took, and the bare pass after it."""
    pairs: list[tuple[Clock, Clock]] = []
    started = now()

    def listen(event: TrainEvent) -> None:
        nonlocal started
        if isinstance(event, StepDone):
            pairs.append((started.since(), time_bare_pass(bare)))
        started = now()

    with tempfile.TemporaryDirectory() as folder:
        item = ImageItem(Path(folder) / "a.png", SIDE, SIDE, "mochi", True, STEPS, "mochi")
        dataset = Dataset(Path(folder), (item,), ())
        latents = torch.randn(4, SIDE // 8, SIDE // 8)
        images = [CachedImage(item, fit_picture(SIDE, SIDE, config.data), latents, torch.zeros_like(latents))]
        output = RunOutput(Path(folder), "random", config, dataset, plan_steps(dataset, config), listen)
        train(model, images, config, output, listen)
    return pairs


if __name__ == "__main__":
    main()
