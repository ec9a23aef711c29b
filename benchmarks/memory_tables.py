"""What fits on which GPU? `python -m benchmarks.memory_tables > docs/memory.md`

Computed, not measured: see lora_nb/forecast/. Takes about ten minutes on one core, and no GPU.
"""

from typing import Any

from lora_nb.config import TrainConfig
from lora_nb.config_file import make_config
from lora_nb.forecast.memory import GIB, MemoryForecast, forecast_memory
from lora_nb.forecast.stages import BatchShape

CARDS = {"8 GB": 7.8, "T4": 14.5, "12 GB": 11.6, "16 GB": 15.6, "L4": 22.0, "24 GB": 23.6, "A100 40": 39.4}  # GiB
CARDS = dict(sorted(CARDS.items(), key=lambda card: card[1]))
MEASURED = """\
| 256x1 | 4.52 GiB | 4.40 GiB | 1.03 |
| 256x1c | 4.17 GiB | 4.23 GiB | 0.99 |
| 256x4 | 6.21 GiB | 5.95 GiB | 1.04 |
| 256x4c | 4.84 GiB | 4.79 GiB | 1.01 |
| 512x1 | 6.20 GiB | 5.94 GiB | 1.04 |
| 512x1ct | 5.42 GiB | 5.21 GiB | 1.04 |
| 512x4 | 13.10 GiB | 12.08 GiB | 1.08 |
| 512x4c | 7.66 GiB | 8.02 GiB | 0.96 |"""
ON_GPU = """\
| batch 1, fp32 | 5.81 GiB | 6.22 GiB | 0.93 |
| batch 4, fp16 | 7.38 GiB | 7.58 GiB | 0.97 |
| batch 4, fp16, channels last | 7.38 GiB | 7.53 GiB | 0.98 |"""
RANK = {"rank": 16, "alpha": 8}
UNET = RANK | {"train_text_encoder": False}
# family, resolution, batch size, gradient checkpointing, precision, what else
More = dict[str, dict[str, Any]]
ROWS: list[tuple[str, int, int, bool, str, More]] = [
    ("sd1", 512, 1, False, "fp16", {"adapter": RANK}),
    ("sd1", 512, 1, False, "fp16", {"adapter": UNET}),
    ("sd1", 512, 1, True, "fp16", {"adapter": UNET}),
    ("sd1", 512, 4, False, "fp16", {"adapter": UNET}),
    ("sd1", 512, 4, True, "fp16", {"adapter": UNET}),
    ("sd1", 768, 4, True, "fp16", {"adapter": UNET}),
    ("sd1", 512, 4, False, "fp32", {"adapter": UNET}),
    ("sd2", 768, 2, True, "fp16", {"adapter": UNET}),
    ("sdxl", 1024, 1, True, "fp16", {"adapter": RANK}),
    ("sdxl", 1024, 1, False, "bf16", {"adapter": UNET}),
    ("sdxl", 1024, 1, True, "bf16", {"adapter": UNET}),
    ("sdxl", 1024, 4, True, "bf16", {"adapter": UNET}),
    ("sdxl", 768, 1, True, "bf16", {"adapter": UNET}),
    ("sdxl", 1024, 1, True, "bf16", {"adapter": UNET, "run": {"quantization": "nf4"}}),
    ("flux", 1024, 1, True, "bf16", {"adapter": UNET}),
    ("flux", 512, 1, True, "bf16", {"adapter": UNET}),
    ("flux", 1024, 1, True, "bf16", {"adapter": UNET, "run": {"offload": 0.5}}),
    ("flux", 1024, 1, True, "bf16", {"adapter": UNET, "run": {"quantization": "int8"}}),
    ("flux", 512, 1, True, "bf16", {"adapter": UNET, "run": {"quantization": "nf4"}}),
    ("flux", 1024, 1, True, "bf16", {"adapter": UNET, "run": {"quantization": "nf4"}}),
]
NAMES = {"sd1": "SD 1.5", "sd2": "SD 2.1", "sdxl": "SDXL", "flux": "Flux.1 dev"}
HEAD = """# How much memory does a training need?

`lora-nb plan PROJECT` computes it for your settings and your pictures, in seconds and without a GPU; with `--card 12`
for a GPU with 12 GiB instead of this machine's. If it does not fit, it names the cheapest change that does.

## What fits on which GPU

All figures are **computed, not measured on these GPUs**: the real training step runs on tensors that have a size but no
numbers, and every block of memory is counted; 0.6 GiB for the GPU's driver and 5 % for what is lost between blocks are
assumed. LoRA of rank 16, AdamW in 8 bits, captions encoded beforehand, square pictures. Peak in GiB; a card has a bit
less than its name says (a T4 14.5 GiB). "with pictures": where the training fits, but not the sample pictures that are
drawn between the epochs at that size (VAE and text encoders wake up for them): set `samples.every_n_epochs` to 0.

"""
TAIL = """
## How true it is

On CPUs the forecast can be checked. Full-size SD 1.5 in float32, random weights, against the peak of resident memory
that the system reports for `lora-nb train` (`python -m benchmarks.memory_forecast`; the name says pixels x batch size,
c: gradient checkpointing, t: the text encoder learns, too):

| setting | forecast | measured | forecast / measured |
|---|---|---|---|
{measured}

On a GPU, an H200 with SD 1.5 at 512 px (`python -m benchmarks.gpu`; measured is what PyTorch had reserved and the
driver had taken, 0.75 GiB of it):

| setting | forecast | measured | forecast / measured |
|---|---|---|---|
{on_gpu}

Without a GPU a program takes up to twice what its tensors need, because freed memory stays in pieces; the forecast
follows the rules of Linux's allocator for that (`lora_nb/forecast/allocators.py`), with one number that was fitted to
these eight.
"""


def main() -> None:
    print(HEAD, end="")
    print(f"| model | settings | training | with pictures | {' | '.join(CARDS)} |")
    print("|---" * (4 + len(CARDS)) + "|")
    for row in ROWS:
        family, side, batch, *_ = row
        found = forecast_memory(settings(*row), BatchShape(side, side, batch), "cuda")
        peaks = [gib(size) for size in (max(found.training, found.caching), found.peak)]
        cards = [judge(found, size * GIB) for size in CARDS.values()]
        print(f"| {' | '.join([NAMES[family], describe(*row), *peaks, *cards])} |", flush=True)
    print(TAIL.format(measured=MEASURED, on_gpu=ON_GPU), end="")


def describe(family: str, side: int, batch: int, checkpointing: bool, precision: str, more: More) -> str:
    said = [f"{side} px, batch {batch}", precision]
    said += ["gradient checkpointing"] if checkpointing else []
    said += [] if "train_text_encoder" in more["adapter"] else ["text encoders learn"]
    return ", ".join([*said, *(f"{name} {value}" for name, value in more.get("run", {}).items())])


def settings(family: str, side: int, batch: int, checkpointing: bool, precision: str, more: More) -> TrainConfig:
    run = {"batch_size": batch, "gradient_checkpointing": checkpointing, "precision": precision}
    samples = {"width": side, "height": side, "prompts": ["mochi"], "every_n_epochs": 1}
    given = {"model": {"family": family, "base": "someone/else"}, "data": {"resolution": side}, "samples": samples}
    return make_config(given | more | {"run": run | more.get("run", {})})


def judge(found: MemoryForecast, capacity: float) -> str:
    if found.peak <= capacity:
        return "yes"
    return "no pictures" if max(found.training, found.caching) <= capacity else "-"


def gib(size: int) -> str:
    return f"{size / GIB:.1f}"


if __name__ == "__main__":
    main()
