"""How much host memory do loading and caching take? `python -m benchmarks.loading_memory`

Writes a full-size Stable Diffusion 1.5 and an SDXL with random fp16 weights (2 and 7 GB in a temporary folder, one
model at a time), as a diffusers folder and as a single checkpoint. Then, each in a process of its own: open the model,
encode two pictures, encode their captions, put VAE and text encoders to sleep, and look at the denoiser's weights, so
that all of them have been read. Prints the peak of the resident memory, file pages that are mapped included, beside the
weights of the largest network, which has to be there in the end. Takes about 10 minutes on one core and 8 GB of memory.
"""

import gc
import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

EDITIONS = {"sd1": 512, "sdxl": 1024}  # and the size of their pictures
CAPTIONS = ["mochi, forest, smiling", "mochi, snow, from behind"]


def main() -> None:
    print("model   form    imports    peak  denoiser  peak / denoiser  (peak - imports) / denoiser")
    for edition, side in EDITIONS.items():
        with tempfile.TemporaryDirectory() as name:
            root = Path(name)
            run("write", edition, root)
            for form in ("folder", "file"):
                facts = json.loads(run("measure", edition, root, form, side))
                before, peak, weights = (facts[key] / 1e9 for key in ("before", "peak", "denoiser"))
                ratios = f"{peak / weights:15.2f}  {(peak - before) / weights:27.2f}"
                print(f"{edition:7} {form:6} {before:5.2f} GB {peak:4.2f} GB  {weights:5.2f} GB {ratios}", flush=True)


def run(*command: object) -> str:
    """This file in a process of its own, so that what one step leaves in memory is not counted for the next."""
    arguments = [sys.executable, "-m", "benchmarks.loading_memory", *(str(each) for each in command)]
    return subprocess.run(arguments, check=True, stdout=subprocess.PIPE, text=True).stdout.strip().splitlines()[-1]


def write(edition: str, root: Path) -> None:
    """A diffusers folder and a single checkpoint of the same size, with weights that are small random numbers."""
    from safetensors.torch import save_file

    from lora_nb.models.file_source import CLIP_TOKENIZER, CONFIGS
    from tests.models.original_files import to_original

    configs = json.loads((CONFIGS / f"{edition}.json").read_text())
    index = {"_class_name": configs["pipeline"]}
    single = {}
    for part, network, layout in networks_of(edition, configs):
        weights = random_weights(network, configs[part])
        folder = root / "folder" / part
        folder.mkdir(parents=True)
        (folder / "config.json").write_text(json.dumps(configs[part]))
        weight_file = "model" if part.startswith("text") else "diffusion_pytorch_model"
        save_file(weights, folder / f"{weight_file}.safetensors", {"format": "pt"})
        single |= to_original(weights, layout)
        del weights
        gc.collect()
    save_file(single, root / "model.safetensors")
    for part in ("tokenizer", "tokenizer_2") if edition == "sdxl" else ("tokenizer",):
        (root / "folder" / part).mkdir()
        for file in CLIP_TOKENIZER.iterdir():
            (root / "folder" / part / file.name).write_bytes(file.read_bytes())
    (root / "folder" / "scheduler").mkdir()
    (root / "folder" / "scheduler" / "scheduler_config.json").write_text(json.dumps(configs["scheduler"]))
    (root / "folder" / "model_index.json").write_text(json.dumps(index))
    print("written")


def networks_of(edition: str, configs: dict) -> Iterator[tuple]:  # type: ignore[type-arg]
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTextModelWithProjection

    from lora_nb.models.layouts import clip_layout, open_clip_layout, unet_layout, vae_layout

    yield "unet", UNet2DConditionModel, unet_layout(configs["unet"])
    yield "vae", AutoencoderKL, vae_layout(configs["vae"])
    if edition == "sd1":
        yield "text_encoder", CLIPTextModel, clip_layout("cond_stage_model.transformer.")
    else:
        yield "text_encoder", CLIPTextModel, clip_layout("conditioner.embedders.0.transformer.")
        yield "text_encoder_2", CLIPTextModelWithProjection, open_clip_layout("conditioner.embedders.1.model.")


def random_weights(network, config) -> dict:  # type: ignore[no-untyped-def,type-arg]
    import torch

    from lora_nb.models.networks import make_shape

    block = torch.randn(1 << 22, generator=torch.Generator().manual_seed(0)).mul_(0.02).half()
    weights = {}
    for name, shape in make_shape(network, config).state_dict().items():
        repeats = -(-shape.numel() // len(block))
        weights[name] = block.repeat(repeats)[: shape.numel()].reshape(shape.shape).clone()
    return weights


def measure(edition: str, root: Path, form: str, side: int) -> None:
    """The whole way to the first step of a training, as training.runs goes it, and what it took."""
    import torch

    from lora_nb.adapters.kinds import add_adapter  # noqa: F401  (all that a training imports counts as imports)
    from lora_nb.config import TrainConfig
    from lora_nb.config_file import make_config
    from lora_nb.dataset.images import scan_images
    from lora_nb.models.base import load_model
    from lora_nb.training.cache import cache_dataset
    from lora_nb.training.loop import train  # noqa: F401

    base = root / ("folder" if form == "folder" else "model.safetensors")
    settings = {"model": {"family": edition, "base": str(base)}, "data": {"resolution": side}}
    config: TrainConfig = make_config(settings)
    pictures = root / "pictures"
    make_pictures(pictures, side)
    before = peak_memory()
    model = load_model(config.model, precision="fp16")
    with tempfile.TemporaryDirectory() as cache:
        cache_dataset(model, scan_images(pictures), config.data, Path(cache))
    model.networks.sleep("vae")
    with torch.no_grad():
        model.encode_captions(CAPTIONS[:1])
        model.networks.sleep(*model.text_encoders)
        read_weights(model.denoiser)
    weights = sum(parameter.nbytes for parameter in model.denoiser.parameters())
    print(json.dumps({"before": before, "peak": peak_memory(), "denoiser": weights}))


def read_weights(network) -> None:  # type: ignore[no-untyped-def]
    """Look at a number of every page, which brings the page into memory, as training will."""
    for parameter in network.parameters():
        parameter.flatten()[:: 4096 // parameter.element_size()].sum()


def make_pictures(folder: Path, side: int) -> None:
    import numpy as np
    from PIL import Image

    folder.mkdir(exist_ok=True)
    for number, caption in enumerate(CAPTIONS):
        values = np.random.default_rng(number).integers(0, 255, (side, side, 3), dtype=np.uint8)
        Image.fromarray(values).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text(caption)


def peak_memory() -> int:
    """The most memory that this process has had resident, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    if sys.argv[1:2] == ["write"]:
        write(sys.argv[2], Path(sys.argv[3]))
    elif sys.argv[1:2] == ["measure"]:
        measure(sys.argv[2], Path(sys.argv[3]), sys.argv[4], int(sys.argv[5]))
    else:
        main()
