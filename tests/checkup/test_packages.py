"""What the doctor says of versions, and of packages that are there but do not work."""

import importlib
import importlib.metadata
import sys
from types import SimpleNamespace

import pytest

from lora_nb.checkup import packages
from lora_nb.checkup.packages import (
    look_at_bitsandbytes,
    look_at_onnxruntime,
    look_at_package,
    look_at_packages,
    look_at_python,
    look_at_torchao,
)

TESTED = {"diffusers": "0.42.1"}


@pytest.fixture
def installed(monkeypatch):
    """Packages by name and version, in place of those that are here."""
    versions: dict[str, str] = {}

    def version(name):
        if name not in versions:
            raise importlib.metadata.PackageNotFoundError(name)
        return versions[name]

    monkeypatch.setattr(importlib.metadata, "version", version)
    return versions


@pytest.fixture
def modules(monkeypatch):
    """What importing gives, by name; an exception is raised."""
    stand_ins: dict[str, object] = {}

    def start(name):
        if name not in stand_ins:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        if isinstance(stand_ins[name], Exception):
            raise stand_ins[name]
        return stand_ins[name]

    monkeypatch.setattr(packages.importlib, "import_module", start)
    return stand_ins


def torch_with(gpu):
    return SimpleNamespace(cuda=SimpleNamespace(is_available=lambda: gpu))


def test_the_tested_version_is_well(installed):
    installed["diffusers"] = "0.42.1+local"
    found = look_at_package("diffusers", "0.34", TESTED)
    assert found.severity == "ok" and "0.42.1" in found.message and not found.command


def test_a_missing_package_and_one_too_old_are_errors_that_pip_mends(installed):
    missing = look_at_package("diffusers", "0.34", TESTED)
    installed["diffusers"] = "0.33.9"
    old = look_at_package("diffusers", "0.34", TESTED)
    for found in (missing, old):
        assert found.severity == "error" and "pip install diffusers==0.42.1" in found.fix
        assert found.command == (sys.executable, "-m", "pip", "install", "diffusers==0.42.1")
    assert "0.33.9 is too old: 0.34" in old.message


def test_another_version_than_the_tested_one_is_only_a_note(installed):
    for version in ("0.39.0", "0.43.0"):
        installed["diffusers"] = version
        found = look_at_package("diffusers", "0.34", TESTED)
        assert found.severity == "note" and "0.42.1 was tested" in found.message and not found.command


def test_without_the_list_of_tested_versions_the_oldest_that_works_counts(installed):
    assert "pip install 'diffusers>=0.34'" in look_at_package("diffusers", "0.34", {}).fix
    installed["diffusers"] = "0.40"
    assert look_at_package("diffusers", "0.34", {}).severity == "ok"


def test_the_gpu_edition_of_onnxruntime_counts_as_onnxruntime(installed):
    installed["onnxruntime-gpu"] = "1.32.0"
    assert look_at_package("onnxruntime", "1.20", {"onnxruntime": "1.32.0"}).severity == "ok"


def test_two_editions_of_onnxruntime_are_one_too_many(installed):
    installed |= {"onnxruntime": "1.32.0", "onnxruntime-gpu": "1.32.0"}
    (found,) = look_at_onnxruntime()
    assert found.severity == "warning" and "pip uninstall -y onnxruntime onnxruntime-gpu" in found.fix


def test_a_tagger_that_leaves_the_gpu_alone_is_noted(installed, modules):
    modules |= {"onnxruntime": SimpleNamespace(get_available_providers=lambda: ["CPUExecutionProvider"])}
    assert look_at_onnxruntime()[0].severity == "ok"
    modules["torch"] = torch_with(gpu=True)
    (found,) = look_at_onnxruntime()
    assert found.severity == "note" and "pip install onnxruntime-gpu" in found.fix
    modules["onnxruntime"] = SimpleNamespace(get_available_providers=lambda: ["CUDAExecutionProvider"])
    assert look_at_onnxruntime()[0].severity == "ok"


def test_what_a_broken_uninstall_leaves_is_warned_of(installed, modules):
    modules["onnxruntime"] = SimpleNamespace()
    assert look_at_onnxruntime()[0].severity == "warning"


def test_bitsandbytes_without_its_library_is_warned_of(modules):
    assert look_at_bitsandbytes() == []  # its own line says that it is missing
    broken = type("ErrorHandlerMockBNBNativeLibrary", (), {})()
    modules["bitsandbytes"] = SimpleNamespace(cextension=SimpleNamespace(lib=broken))
    assert "could not be loaded" in look_at_bitsandbytes()[0].message
    for_processors = SimpleNamespace(compiled_with_cuda=False)
    modules["bitsandbytes"] = SimpleNamespace(cextension=SimpleNamespace(lib=for_processors))
    assert look_at_bitsandbytes()[0].severity == "ok"
    modules["torch"] = torch_with(gpu=True)
    assert "for this GPU was not found" in look_at_bitsandbytes()[0].message


def test_a_package_that_does_not_start_is_named_with_the_reason(modules):
    modules["bitsandbytes"] = OSError("libcudart.so.13: cannot open shared object file")
    (found,) = look_at_bitsandbytes()
    assert found.severity == "warning" and "libcudart.so.13" in found.message and "--force-reinstall" in found.fix


def test_an_old_torchao_is_noted_and_removed_only_where_the_user_installed_it(monkeypatch):
    for name in ("COLAB_GPU", "COLAB_RELEASE_TAG", "KAGGLE_KERNEL_RUN_TYPE"):
        monkeypatch.delenv(name, raising=False)
    (found,) = look_at_torchao("0.10.0")
    assert found.severity == "note" and "pip uninstall -y torchao" in found.fix
    assert found.command[1:] == ("-m", "pip", "uninstall", "-y", "torchao")
    monkeypatch.setenv("COLAB_RELEASE_TAG", "release-colab-20260819")
    assert look_at_torchao("0.10.0")[0].command == ()
    assert look_at_torchao("0.17.1+git") == look_at_torchao(None) == []


def test_another_python_than_the_tested_ones_is_told():
    assert look_at_python((3, 12)).severity == "ok"
    assert look_at_python((3, 10)).severity == "error"
    assert look_at_python((3, 15)).severity == "note" and "3.11 to 3.13" in look_at_python((3, 15)).fix


def test_every_package_that_is_needed_has_its_line():
    where = [found.where for found in look_at_packages()]
    assert where[0] == "Python" and {"package torch", "package peft", "package anywidget"} <= set(where)
