"""The small model that ships, and the picture world it was trained on."""

from pathlib import Path

_FILES = Path(__file__).parent / "files"
MODEL_FOLDER = _FILES / "model"  # a StableDiffusionPipeline in diffusers' layout
TAGGER_FOLDER = _FILES / "tagger"  # a tagger in WD v3's format
