"""What do blocks in main memory cost, and what do they free? `python -m benchmarks.offloading`

Needs a GPU, and 26 GB of main memory. Trains a LoRA on a full-size Flux.1 dev transformer (12 billion weights in bf16,
all alike, since only time and memory are measured) with gradient checkpointing, for several values of run.offload, and
prints the peak of the GPU's memory and the time of a step. `--gib 15` lets PyTorch use no more than that, as on a card
of 16 GB; a row that does not fit says so. `--depth 1 1 --tokens 8 --side 64` runs
anywhere in a minute, to see that this file works.
"""

import argparse
import gc
import time
from typing import Any

import torch
from diffusers import FluxTransformer2DModel
from torch import nn

from lora_nb.adapters.kinds import add_adapter
from lora_nb.config import AdapterConfig, ModelConfig
from lora_nb.models.flux import Flux, Parts
from lora_nb.models.offloading import offload_blocks
from tests.tiny_models import make_t5, make_text_encoder, make_vae

STEPS = 4  # the first is not counted
WIDTH, POOLED = 4096, 768  # of T5's tokens, and of CLIP's word on the whole caption
VALUE = 0.001  # of every weight


def main() -> None:
    options = read_options()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if options.gib and device.type == "cuda":
        whole = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, options.gib * 2**30 / whole))
    print(f"{torch.cuda.get_device_name() if device.type == 'cuda' else 'CPU'}, {options.side} px, batch 1, rank 16")
    print("run.offload  peak of the GPU  a step")
    for share in options.shares:
        try:
            peak, seconds = measure(share, options, device)
        except torch.cuda.OutOfMemoryError:
            print(f"{share:11.2f}  does not fit", flush=True)
        else:
            print(f"{share:11.2f}  {peak / 2**30:11.1f} GiB  {seconds:.2f} s", flush=True)
        gc.collect()
        torch.cuda.empty_cache()


def read_options() -> Any:
    parser = argparse.ArgumentParser()
    parser.add_argument("--shares", type=float, nargs="+", default=[0.0, 0.25, 0.5, 0.75, 1.0])
    parser.add_argument("--side", type=int, default=1024, help="of the pictures, in pixels")
    parser.add_argument("--tokens", type=int, default=512, help="of a caption")
    parser.add_argument("--depth", type=int, nargs=2, default=[19, 38], help="double and single blocks")
    parser.add_argument("--gib", type=float, default=0.0, help="as much of the GPU's memory as may be used; 0: all")
    return parser.parse_args()


def measure(share: float, options: Any, device: torch.device) -> tuple[float, float]:
    """The peak of the GPU's memory in bytes, and the seconds that a step takes."""
    precision = torch.bfloat16 if device.type == "cuda" else torch.float32  # in which a processor is faster
    model = make_flux(*options.depth, precision)
    offload_blocks(model, share)
    model.to(device=device)
    parameters = add_adapter(model, AdapterConfig(rank=16, alpha=8.0, train_text_encoder=False), seed=1)
    optimizer = torch.optim.AdamW([each for part in parameters.values() for each in part], lr=1e-4)
    model.set_gradient_checkpointing(True)
    text = {
        "encoder_hidden_states": torch.ones(1, options.tokens, WIDTH, device=device),
        "pooled": torch.ones(1, POOLED, device=device),
    }
    latents = torch.ones(1, 16, options.side // 8, options.side // 8, device=device)
    times = []
    for _ in range(STEPS):
        started = time.perf_counter()
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            prediction = model.predict(latents, torch.tensor([0.5], device=device), text)
        prediction.float().square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
    peak = torch.cuda.max_memory_allocated() if device.type == "cuda" else 0
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    return peak, sorted(times[1:])[len(times) // 2 - 1]


def make_flux(double: int, single: int, precision: torch.dtype) -> Flux:
    """Flux.1 dev's transformer, and tiny other parts, which are not used."""
    with torch.device("meta"):
        transformer = FluxTransformer2DModel(num_layers=double, num_single_layers=single, guidance_embeds=True)
    transformer = transformer.to(precision).to_empty(device="cpu")
    fill(transformer)
    clip, t5, vae = make_text_encoder(600), make_t5(50), make_vae(latent_channels=16)
    return Flux(ModelConfig(family="flux", base="random"), Parts(transformer, clip, t5, vae, None, None, {}))


@torch.no_grad()
def fill(module: nn.Module) -> None:
    for tensor in (*module.parameters(), *module.buffers()):
        tensor.fill_(VALUE)


if __name__ == "__main__":
    main()
