"""What all tests share: tiny models, made once, and how the tests are spread over the processors."""

import gc
import os
from pathlib import Path
from typing import Any

import pytest

JUPYTER = ("tests/notebooks/", "tests/browser/")  # one after the other: they choose free ports, which can clash
MINUTES = ("demo", "notebooks", "browser")  # marks of tests that take minutes

if "PYTEST_XDIST_WORKER_COUNT" in os.environ:  # workers that each use all processors would wait for one another
    processors = (os.cpu_count() or 1) // int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
    os.environ["OMP_NUM_THREADS"] = str(max(1, processors))  # before torch is imported anywhere


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The long tests go first, so that no worker is left with them at the end."""
    items.sort(key=lambda item: not any(item.get_closest_marker(mark) for mark in MINUTES))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Keep what shares fixtures on one worker: a file's tests, or one model's part of the walk through all settings."""
    from xdist.scheduler import LoadScopeScheduling

    class ByFileOrModel(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file, _, test = nodeid.partition("::")
            if file.startswith(JUPYTER):
                return "jupyter"
            is_walk = file.endswith("test_every_setting.py") and "[" in test
            return "-".join([file, *test.rstrip("]").split("-")[-2:]]) if is_walk else file

    return ByFileOrModel(config, log)


@pytest.fixture(autouse=True)
def quick_garbage_collection() -> None:
    """Every training collects garbage a few times. It need not look through all that thousands of tests have imported,
    which takes a second each time."""
    gc.collect()
    gc.freeze()


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
