"""What machine is this? Colab or local, which GPU, how much memory, which versions."""

import importlib.metadata
import os
import platform
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

OLDEST_TORCHAO = (0, 16)  # peft 0.19 and newer refuse to add adapters beside an older one
RECORDED_PACKAGES = (  # a run writes down their versions, and is warned when they have changed
    "torch",
    "diffusers",
    "transformers",
    "peft",
    "accelerate",
    "bitsandbytes",
    "safetensors",
    "onnxruntime",
    "pydantic",
    "pillow",
    "matplotlib",
    "ipywidgets",
)


@dataclass(frozen=True)
class Machine:
    """What training can count on here. Sizes in GiB."""

    place: Literal["colab", "kaggle", "local"]
    python: str
    cpu_cores: int
    memory_gib: float
    gpu: str | None  # its name, None without one
    gpu_memory_gib: float
    has_bf16: bool
    disk_free_gib: float

    @property
    def precision(self) -> Literal["fp32", "fp16", "bf16"]:
        """The precision that the tutorial advises for this machine."""
        if self.gpu is None:
            return "fp32"
        return "bf16" if self.has_bf16 else "fp16"

    @property
    def device(self) -> Literal["cuda", "cpu"]:
        return "cuda" if self.gpu else "cpu"


def find_machine(folder: Path | None = None) -> Machine:
    """Look at this machine; `folder` is where the free disk space is measured."""
    import psutil
    import torch

    gpu, gpu_memory, has_bf16 = None, 0.0, False
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        gpu, gpu_memory = properties.name, properties.total_memory / 2**30
        # is_bf16_supported() also says yes to a T4, which only emulates it slowly
        has_bf16 = (properties.major, properties.minor) >= (8, 0)
    return Machine(
        place=find_place(),
        python=platform.python_version(),
        cpu_cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        memory_gib=psutil.virtual_memory().total / 2**30,
        gpu=gpu,
        gpu_memory_gib=gpu_memory,
        has_bf16=has_bf16,
        disk_free_gib=shutil.disk_usage(folder or Path.cwd()).free / 2**30,
    )


def find_place() -> Literal["colab", "kaggle", "local"]:
    """Whose computer is this? By environment variables, which copies of Colab's folders do not have."""
    if "COLAB_RELEASE_TAG" in os.environ or "COLAB_GPU" in os.environ:
        return "colab"
    return "kaggle" if "KAGGLE_KERNEL_RUN_TYPE" in os.environ else "local"


def installed_versions() -> dict[str, str]:
    """The versions of the packages that matter; "missing" for those that are not installed."""
    return {name: installed_version(name) or "missing" for name in RECORDED_PACKAGES}


def installed_version(package: str) -> str | None:
    """The version of a package that is installed here; None without it."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def hide_old_torchao() -> None:
    """Let this process do without a torchao that is too old for peft, such as Colab's.

    peft raises ImportError for every plain LoRA beside an old torchao, although neither peft nor we use it then. An
    entry of None in sys.modules makes Python answer that there is no such package: what is on disk stays as it is, and
    no restart is needed.
    """
    version = installed_version("torchao")
    if version and is_old_torchao(version):
        sys.modules["torchao"] = None  # type: ignore[assignment]  # Python's own convention


def is_old_torchao(version: str) -> bool:
    """Whether peft would refuse it; development versions such as 0.17.0+git count as what they start with."""
    numbers = re.match(r"(\d+)\.(\d+)", version)
    return numbers is not None and (int(numbers[1]), int(numbers[2])) < OLDEST_TORCHAO
