"""A tiny model and a small project of painted pictures, for training in seconds."""

from pathlib import Path

import pytest
from PIL import Image

from lora_nb.config import TrainConfig
from lora_nb.config_file import make_config
from lora_nb.project import Project, open_project

SIZES = [(64, 64), (64, 64), (64, 64), (96, 64), (64, 96)]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Five pictures in three shapes, 2 repeats each, with captions."""
    project = open_project(tmp_path / "mochi")
    folder = project.images / "2_mochi"
    folder.mkdir()
    for number, size in enumerate(SIZES):
        colour = (50 * number, 255 - 40 * number, 128)
        Image.new("RGB", size, colour).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text(f"mochi, tag {number}, forest, smile")
    return project


@pytest.fixture
def config(tiny_sd1_folder: Path) -> TrainConfig:
    return make_config(
        {
            "model": {"base": str(tiny_sd1_folder)},
            "data": {
                "resolution": 64,
                "bucket_step": 16,
                "min_bucket_size": 32,
                "max_bucket_size": 128,
                "trigger_words": ["mochi"],
            },
            "adapter": {"rank": 4, "alpha": 2},
            "optimizer": {"kind": "adamw", "learning_rate": 1e-3},
            "run": {"epochs": 2, "batch_size": 2},
        }
    )
