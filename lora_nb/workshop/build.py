"""Builds the small model that ships, from nothing: `python -m lora_nb.workshop.build [--cache DIR] [--stage NAME]`.

Every stage keeps its result in the cache, so a build that was cut continues where it stopped.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline

from lora_nb.workshop import MODEL_FOLDER, TAGGER_FOLDER
from lora_nb.workshop.autoencoder import Phase, copy_for_ema, new_autoencoder, save_checkpoint, train_phase
from lora_nb.workshop.denoiser import Examples, new_text_encoder, new_unet, train_denoiser
from lora_nb.workshop.examples import draw_examples, load_examples
from lora_nb.workshop.tokenizer import save_tokenizer
from lora_nb.workshop.wide_world import abstract_picture
from lora_nb.workshop.world import SIDE, draw, random_creature, random_unusual_creature

SEED = 7
ABSTRACT_PICTURES, CREATURE_PICTURES = 8000, 6000
AUTOENCODER_PHASES = {  # name: what to train on, and where the learning rate starts and ends
    "vae1": (Phase(700, 32, 24, 0.4), (3e-3, 2e-3)),
    "vae2": (Phase(1200, 64, 12, 0.6, kl=1e-6), (2e-3, 0.0)),
    "vae3": (Phase(2800, 64, 12, 0.65, kl=1e-6), (2e-3, 1e-4)),
    "vae4": (Phase(1600, 64, 12, 0.7, wear=0.15), (1e-3, 0.0)),
}
# The weights that ship were cut and continued: their decay was planned for 4400 steps until step 250, for 3000 until
# step 2000, and then for these. Their vae1 and vae2 went through half precision before vae3.
DENOISER_STEPS = 4200


def draw_pictures(cache: Path) -> None:
    """Draw what the autoencoder learns from."""
    abstract = [np.asarray(abstract_picture(random.Random(i), SIDE)) for i in range(ABSTRACT_PICTURES)]
    np.save(cache / "abstract.npy", np.stack(abstract))
    rng = random.Random(SEED)
    kinds = (random_creature, random_unusual_creature)
    creatures = [np.asarray(draw(kinds[i % 2](rng), SIDE, SIDE)) for i in range(CREATURE_PICTURES)]
    np.save(cache / "vae_creatures.npy", np.stack(creatures))


def train_autoencoder(cache: Path) -> None:
    """Train the autoencoder phase by phase."""
    torch.manual_seed(SEED)
    model = new_autoencoder()
    ema = copy_for_ema(model)
    pools = [np.load(cache / "abstract.npy"), np.load(cache / "vae_creatures.npy")]
    for name, (phase, rates) in AUTOENCODER_PHASES.items():
        saved = cache / f"{name}.pt"
        if saved.exists():
            state = torch.load(saved, weights_only=True)
            model.load_state_dict(state["model"])
            ema.load_state_dict(state["ema"])
            continue
        print(f" {name}", flush=True)
        train_phase(model, ema, phase, rates, pools)
        save_checkpoint(cache, name, model, ema)


def load_autoencoder(cache: Path) -> Any:
    """Load the averaged weights of the last phase."""
    autoencoder = new_autoencoder()
    state = torch.load(cache / f"{list(AUTOENCODER_PHASES)[-1]}.pt", weights_only=True)
    autoencoder.load_state_dict(state["ema"])
    return autoencoder.eval().requires_grad_(False)


def encode_base_pictures(cache: Path) -> None:
    """Turn the base world's pictures into latents, once."""
    examples, factor = load_examples(cache, load_autoencoder(cache))
    print(f" scaling factor {factor:.4f}", flush=True)
    torch.save({"latents": examples.latents, "tags": examples.tags, "factor": factor}, cache / "examples.pt")


def train_base_model(cache: Path) -> None:
    """Train U-Net and text encoder together."""
    saved = torch.load(cache / "examples.pt", weights_only=True)
    tokenizer = save_tokenizer(cache / "tokenizer")
    examples = Examples(saved["latents"], saved["tags"])
    ema = train_denoiser(examples, tokenizer, DENOISER_STEPS, cache / "denoiser_running.pt")
    torch.save(ema.state_dict(), cache / "denoiser.pt")


def save_model(cache: Path, folder: Path = MODEL_FOLDER) -> None:
    """Write the pipeline that ships, from the finished denoiser or the running one's average."""
    finished = cache / "denoiser.pt"
    running = cache / "denoiser_running.pt"
    state = torch.load(finished if finished.exists() else running, weights_only=True)
    state = state.get("ema", state)
    tokenizer = save_tokenizer(cache / "tokenizer")
    model = torch.nn.ModuleDict({"unet": new_unet(), "text": new_text_encoder(tokenizer)})
    model.load_state_dict(state)
    autoencoder = load_autoencoder(cache)
    autoencoder.register_to_config(scaling_factor=torch.load(cache / "examples.pt", weights_only=True)["factor"])
    pipeline: Any = StableDiffusionPipeline(
        vae=autoencoder,
        text_encoder=model["text"],
        tokenizer=tokenizer,
        unet=model["unet"],
        scheduler=DDIMScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            clip_sample=False,
            set_alpha_to_one=False,
            steps_offset=1,
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.to(dtype=torch.float16).save_pretrained(folder)
    for name in ("vocab.json", "merges.txt"):  # transformers 5 leaves them out, older versions read nothing else
        shutil.copyfile(cache / "tokenizer" / name, folder / "tokenizer" / name)


def train_tagger(cache: Path) -> None:
    """Train the tagger and write it in WD's format."""
    from lora_nb.workshop.tagger import build_tagger

    build_tagger(cache, load_autoencoder(cache), TAGGER_FOLDER)


STAGES: dict[str, tuple[Callable[[Path], None], str]] = {  # each with the file that shows it is done
    "pictures": (draw_pictures, "vae_creatures.npy"),
    "autoencoder": (train_autoencoder, "vae4.pt"),
    "base-pictures": (draw_examples, "base_80x48.npy"),
    "latents": (encode_base_pictures, "examples.pt"),
    "denoiser": (train_base_model, "denoiser.pt"),
    "save": (save_model, "-"),  # cheap, so it is always done again
    "tagger": (train_tagger, "tagger.done"),
}


def main() -> None:
    """Run all stages, or one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "lora_nb_workshop")
    parser.add_argument("--stage", choices=STAGES)
    options = parser.parse_args()
    options.cache.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(os.cpu_count() or 1)
    for name, (run, proof) in STAGES.items():
        if options.stage in (None, name) and not (options.cache / proof).exists():
            started = time.time()
            run(options.cache)
            print(f"{name}: {time.time() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
