"""What does a training step cost beside the U-Net itself? `python -m benchmarks.step_overhead`

A full-size Stable Diffusion 1.5 U-Net with random weights at 256 px, float32, rank 8, latents and text cached: the
time of a step of the training loop, divided by that of a forward and backward pass

- of the U-Net with the same LoRA as peft computes it: what a loop costs beside the network that it trains;
- of the U-Net alone, to its inputs: what loop and LoRA cost together.

After each step come these passes, on U-Nets that share the weights, so that a machine whose speed drifts does not
favour one of them. Printed is the median of the ratios, in seconds on the clock and of the processor. Takes about 7
minutes on two cores and 7 GiB.
"""

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch
from diffusers import UNet2DConditionModel
from peft import LoraConfig
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
    others = {"with peft's LoRA": share_weights(unet, shape), "alone": share_weights(unet, shape)}
    model = KnownText(ModelConfig(base="random"), Parts(unet, make_text_encoder(600), make_vae(), None, SCHEDULER))
    layers = model.target_modules("lora_unet")
    others["with peft's LoRA"].add_adapter(LoraConfig(r=8, lora_alpha=4, target_modules=layers))
    rounds = time_steps(model, others, make_config(SETTINGS))[WARM_UP:]
    for name in ("wall", "processor"):
        steps, *passes = ([getattr(clock, name) for clock in clocks] for clocks in zip(*rounds, strict=True))
        print(f"{name}: step {median(steps):.3f} s")
        for other, seconds in zip(others, passes, strict=True):
            ratio = median(step / one for step, one in zip(steps, seconds, strict=True))
            print(f"    U-Net {other}: forward and backward {median(seconds):.3f} s, ratio {ratio:.3f}")


def share_weights(unet: UNet2DConditionModel, shape: dict[str, int]) -> UNet2DConditionModel:
    """Another U-Net on the same, frozen numbers."""
    with torch.device("meta"):
        other = UNet2DConditionModel(**shape)
    other.load_state_dict(unet.state_dict(), assign=True)
    return other.requires_grad_(False)


def time_pass(unet: nn.Module) -> Clock:
    latents = torch.randn(1, 4, SIDE // 8, SIDE // 8, requires_grad=True)
    text = torch.randn(1, 77, TEXT_WIDTH, requires_grad=True)
    started = now()
    unet(latents, torch.tensor([500]), text).sample.square().mean().backward()
    return started.since()


def time_steps(model: StableDiffusion, others: dict[str, nn.Module], config: TrainConfig) -> list[tuple[Clock, ...]]:
    """Train on one picture's latents: how long each step took, and the passes of other U-Nets after it."""
    rounds: list[tuple[Clock, ...]] = []
    started = now()

    def listen(event: TrainEvent) -> None:
        nonlocal started
        if isinstance(event, StepDone):
            rounds.append((started.since(), *(time_pass(other) for other in others.values())))
        started = now()

    with tempfile.TemporaryDirectory() as folder:
        item = ImageItem(Path(folder) / "a.png", SIDE, SIDE, "mochi", True, STEPS, "mochi")
        dataset = Dataset(Path(folder), (item,), ())
        latents = torch.randn(4, SIDE // 8, SIDE // 8)
        images = [CachedImage(item, fit_picture(SIDE, SIDE, config.data), latents, torch.zeros_like(latents))]
        output = RunOutput(Path(folder), "random", config, dataset, plan_steps(dataset, config), listen)
        train(model, images, config, output, listen)
    return rounds


if __name__ == "__main__":
    main()
