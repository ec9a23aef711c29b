"""What machine is this? Colab or local, which GPU, how much memory, which versions: and what to do about it."""

import importlib.metadata
import os
import platform
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lora_nb.errors import Problem

OLDEST_TORCHAO = (0, 16)  # peft 0.19 and newer refuse to add adapters beside an older one
TESTED_PACKAGES = (
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
    return {name: _version(name) for name in TESTED_PACKAGES}


def doctor(folder: Path | None = None) -> list[Problem]:
    """Look for what would make a training fail here. An empty list is a healthy machine."""
    machine = find_machine(folder)
    missing = [name for name, version in installed_versions().items() if version == "missing"]
    problems = [
        Problem(f"package {name}", "It is not installed.", f"Install it with: pip install {name}") for name in missing
    ]
    problems += _check_torchao(_version("torchao"))
    if machine.gpu is None:
        fix = "The workshop model trains in minutes; for larger models choose a GPU runtime, or be very patient."
        problems.append(Problem("GPU", "There is none that PyTorch can use.", fix, "note"))
    if machine.disk_free_gib < 2:
        found = f"Only {machine.disk_free_gib:.1f} GiB are free."
        problems.append(Problem("disk", found, "Free some space, or put the project on another disk.", "warning"))
    if machine.memory_gib < 3:
        found = f"Only {machine.memory_gib:.1f} GiB in this machine."
        problems.append(Problem("memory", found, "Close other programs; the demo needs about 3 GiB.", "warning"))
    if folder is not None and not os.access(folder, os.W_OK):
        problems.append(Problem(str(folder), "It cannot be written to.", "Choose another folder."))
    return problems


def hide_old_torchao() -> None:
    """Let this process do without a torchao that is too old for peft, such as Colab's.

    peft raises ImportError for every plain LoRA beside an old torchao, although neither peft nor we use it then. An
    entry of None in sys.modules makes Python answer that there is no such package: what is on disk stays as it is, and
    no restart is needed.
    """
    if _is_old_torchao(_version("torchao")):
        sys.modules["torchao"] = None  # type: ignore[assignment]  # Python's own convention


def _check_torchao(version: str) -> list[Problem]:
    """An old torchao makes peft refuse to put a LoRA on a model; here it is hidden, other programs will stumble."""
    if not _is_old_torchao(version):
        return []
    found = f"Version {version} is too old for peft. lora_nb trains as if it were not there."
    fix = "Nothing to do here. If other code with peft fails: pip uninstall -y torchao, then restart the session."
    return [Problem("package torchao", found, fix, "note")]


def _is_old_torchao(version: str) -> bool:
    """Whether peft would refuse it; development versions such as 0.17.0+git count as what they start with."""
    numbers = re.match(r"(\d+)\.(\d+)", version)
    return numbers is not None and (int(numbers[1]), int(numbers[2])) < OLDEST_TORCHAO


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "missing"
