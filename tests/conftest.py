"""What all tests share: a tiny model, made once."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def tiny_sd1_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete, tiny Stable Diffusion 1 in diffusers format. Read it, do not change it."""
    from tests.tiny_models import save_tiny_sd1

    return save_tiny_sd1(tmp_path_factory.mktemp("models") / "tiny_sd1")


@pytest.fixture(scope="session")
def tiny_sd2_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete, tiny Stable Diffusion 2 that predicts v. Read it, do not change it."""
    from tests.tiny_models import save_tiny_sd2

    return save_tiny_sd2(tmp_path_factory.mktemp("models") / "tiny_sd2")


@pytest.fixture(scope="session")
def tiny_sdxl_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete, tiny SDXL. Read it, do not change it."""
    from tests.tiny_models import save_tiny_sdxl

    return save_tiny_sdxl(tmp_path_factory.mktemp("models") / "tiny_sdxl")


@pytest.fixture(scope="session")
def tiny_flux_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete, tiny Flux dev. Read it, do not change it."""
    from tests.tiny_models import save_tiny_flux

    return save_tiny_flux(tmp_path_factory.mktemp("models") / "tiny_flux")


@pytest.fixture
def tiny_sd1(tiny_sd1_folder: Path):
    """That model, freshly loaded."""
    from lora_nb.config import ModelConfig
    from lora_nb.models.base import load_model

    return load_model(ModelConfig(base=str(tiny_sd1_folder)))


@pytest.fixture
def tiny_sd2(tiny_sd2_folder: Path):
    """That model, freshly loaded."""
    from lora_nb.config import ModelConfig
    from lora_nb.models.base import load_model

    return load_model(ModelConfig(family="sd2", base=str(tiny_sd2_folder)))


@pytest.fixture
def tiny_sdxl(tiny_sdxl_folder: Path):
    """That model, freshly loaded."""
    from lora_nb.config import ModelConfig
    from lora_nb.models.base import load_model

    return load_model(ModelConfig(family="sdxl", base=str(tiny_sdxl_folder)))


@pytest.fixture
def tiny_flux(tiny_flux_folder: Path):
    """That model, freshly loaded."""
    from lora_nb.config import ModelConfig
    from lora_nb.models.base import load_model

    return load_model(ModelConfig(family="flux", base=str(tiny_flux_folder), t5_tokens=32))
