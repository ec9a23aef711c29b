"""Are the packages there, in versions that work, and do those that need a library find it?"""

import importlib
import platform
import shlex
import sys
from typing import Any

from lora_nb.checkup.findings import Finding
from lora_nb.checkup.versions import (
    NEWEST_PYTHON,
    OLDEST_PYTHON,
    numbers,
    oldest_versions,
    plain_name,
    tested_versions,
)
from lora_nb.environment import find_place, installed_version, is_old_torchao
from lora_nb.errors import quote

ONNX_WITH_GPU = "onnxruntime-gpu"
# the same program for other machines, which pip knows under names of their own
STAND_INS = {"onnxruntime": (ONNX_WITH_GPU, "onnxruntime-directml")}


def look_at_packages() -> list[Finding]:
    """Python and every package that training needs."""
    tested = tested_versions()
    found = [look_at_python(sys.version_info[:2])]
    found += [look_at_package(name, oldest, tested) for name, oldest in oldest_versions().items()]
    found += look_at_torchao(installed_version("torchao"))
    return [*found, *look_at_onnxruntime(), *look_at_bitsandbytes()]


def look_at_python(version: tuple[int, int]) -> Finding:
    """Is it a Python that lora_nb was tested with?"""
    tested = f"{_spell(OLDEST_PYTHON)} to {_spell(NEWEST_PYTHON)}"
    if version < OLDEST_PYTHON:
        return Finding("Python", f"{_spell(version)} is too old.", f"Install one of {tested}.", "error")
    if version > NEWEST_PYTHON:
        fix = f"If a package cannot be installed or fails, use one of {tested}."
        return Finding("Python", f"{_spell(version)} is newer than those it was tested with.", fix, "note")
    return Finding("Python", f"{platform.python_version()}.")


def look_at_package(name: str, oldest: str, tested: dict[str, str]) -> Finding:
    """Is it installed, new enough, and the version that was tested?"""
    where, best = f"package {name}", tested.get(plain_name(name))
    wanted = f"{name}=={best}" if best else f"{name}>={oldest}"
    install = (sys.executable, "-m", "pip", "install", wanted)
    versions = [installed_version(each) for each in (name, *STAND_INS.get(name, ()))]
    version = next((each for each in versions if each), None)
    by_hand = f"pip install {shlex.quote(wanted)}"
    if version is None:
        return Finding(where, "It is not installed.", f"Install it with: {by_hand}", "error", install)
    if numbers(version) < numbers(oldest):
        fix = f"Install a newer one with: {by_hand}"
        return Finding(where, f"{version} is too old: {oldest} is the oldest that works.", fix, "error", install)
    if best is None or numbers(version) == numbers(best):
        return Finding(where, f"{version}.")
    message = f"{version}; {best} was tested."
    return Finding(where, message, f"Only if something fails with it: {by_hand}", "note")


def look_at_torchao(version: str | None) -> list[Finding]:
    """An old torchao makes peft refuse to put a LoRA on a model; here it is hidden, other programs will stumble."""
    if version is None or not is_old_torchao(version):
        return []
    message = f"Version {version} is too old for peft. lora_nb trains as if it were not there."
    fix = "Nothing to do here. If other code with peft fails: pip uninstall -y torchao, then restart the session."
    # what a hosted machine brings along stays as it is
    command = (sys.executable, "-m", "pip", "uninstall", "-y", "torchao") if find_place() == "local" else ()
    return [Finding("package torchao", message, fix, "note", command)]


def look_at_onnxruntime() -> list[Finding]:
    """The tagger runs in it: on the GPU only if it is made for one."""
    if installed_version("onnxruntime") and installed_version(ONNX_WITH_GPU):
        message = f"onnxruntime and {ONNX_WITH_GPU} are both installed, and each overwrites files of the other."
        fix = f"Keep one: pip uninstall -y onnxruntime {ONNX_WITH_GPU}, then pip install the one that you want."
        return [Finding("tagger", message, fix, "warning")]
    runtime, trouble = _start("onnxruntime")
    if trouble:
        return [trouble]
    if runtime is None:
        return []
    if not hasattr(runtime, "get_available_providers"):  # what a broken uninstall leaves behind
        fix = "Install it again: pip install --force-reinstall onnxruntime"
        return [Finding("tagger", "Of onnxruntime only an empty folder is there.", fix, "warning")]
    if "CUDAExecutionProvider" in runtime.get_available_providers():
        return [Finding("tagger", "It can use the GPU.")]
    if not _has_gpu():
        return [Finding("tagger", "It runs on the processor.")]
    fix = f"To tag faster: pip uninstall -y onnxruntime, then pip install {ONNX_WITH_GPU}."
    return [Finding("tagger", "It runs on the processor although there is a GPU.", fix, "note")]


def look_at_bitsandbytes() -> list[Finding]:
    """8-bit optimizers and quantized models need its library, which must suit PyTorch's CUDA."""
    package, trouble = _start("bitsandbytes")
    if trouble:
        return [trouble]
    if package is None:
        return []
    library = getattr(getattr(package, "cextension", None), "lib", None)
    fix = "Until then leave 8-bit optimizers and quantized models alone. Install it again: pip install -U bitsandbytes"
    if "ErrorHandler" in type(library).__name__:  # its stand-in for a library that could not be loaded
        return [Finding("bitsandbytes", "Its library could not be loaded.", fix, "warning")]
    if _has_gpu() and not getattr(library, "compiled_with_cuda", True):
        return [Finding("bitsandbytes", "Its library for this GPU was not found.", fix, "warning")]
    return [Finding("bitsandbytes", "Its library is there.")]


def _start(name: str) -> tuple[Any, Finding | None]:
    """Import a package: nothing at all if it is not there, for then its own line has said so."""
    try:
        return importlib.import_module(name), None
    except ModuleNotFoundError as error:
        if error.name == name:
            return None, None
        reason: Exception = error
    except Exception as error:  # half-installed packages fail in many ways
        reason = error
    message = f"It is installed but does not start: {quote(reason)}."
    return None, Finding(name, message, f"Install it again: pip install --force-reinstall {name}", "warning")


def _has_gpu() -> bool:
    torch, _ = _start("torch")
    return torch is not None and torch.cuda.is_available()


def _spell(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
