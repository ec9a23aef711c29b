"""What the doctor says of a GPU, of one that PyTorch does not see, and of memory."""

import subprocess
import sys
from types import SimpleNamespace

import pytest

from lora_nb.checkup import cards
from lora_nb.checkup.cards import Card, explain_unused, find_card
from lora_nb.checkup.hardware import explain_none, look_at_hardware, look_at_memory, look_at_precision, try_gpu
from tests.test_environment import machine

T4 = machine(gpu="Tesla T4", gpu_memory_gib=14.6)
CARD = Card("GeForce RTX 3060", "470.82")


def torch_that(cuda="13.0", error=None, free_gib=14.0):
    """Facts of a PyTorch: what it was made for, and how it fails."""

    def calculate(*_, **__):
        if error:
            raise error
        value = SimpleNamespace(item=lambda: 4.0)
        return type("Tensor", (), {"__add__": lambda self, _: self, "sum": lambda self: value})()

    on_gpu = SimpleNamespace(init=calculate, mem_get_info=lambda: (free_gib * 2**30, 15 * 2**30))
    return SimpleNamespace(__version__="2.13.0", version=SimpleNamespace(cuda=cuda), ones=calculate, cuda=on_gpu)


def test_a_gpu_that_calculates_is_well():
    (found,) = try_gpu(torch_that(), T4)
    assert found.severity == "ok" and "Tesla T4" in found.message


def test_a_gpu_that_does_not_calculate_is_an_error():
    error = RuntimeError("CUDA error: no kernel image is available for execution on the device\nmore\nlines")
    (found,) = try_gpu(torch_that(error=error), T4)
    assert found.severity == "error" and "no kernel image" in found.message and "more" not in found.message


def test_a_gpu_that_others_fill_and_a_small_one_are_told():
    assert try_gpu(torch_that(free_gib=2), T4)[0].severity == "warning"
    (found,) = try_gpu(torch_that(free_gib=3.5), machine(gpu="GTX 1650", gpu_memory_gib=4.0))
    assert found.severity == "note" and "lora-nb plan FOLDER --card 4" in found.fix


def test_without_any_card_there_is_only_a_note():
    assert explain_none(torch_that(cuda=None), None).severity == "note"


def test_a_card_beside_a_pytorch_for_processors_is_explained():
    found = explain_none(torch_that(cuda=None), CARD)
    assert found.severity == "warning"
    assert "RTX 3060" in found.message and "PyTorch 2.13.0 is made without CUDA" in found.message
    assert "pytorch.org/get-started" in found.fix


def test_a_card_without_a_driver_is_explained():
    assert "no driver" in explain_none(torch_that(), Card("an NVIDIA card", None)).message


def test_a_driver_that_is_too_old_is_explained(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    reason, fix = explain_unused(CARD, torch_that(error=RuntimeError("The NVIDIA driver on your system is too old")))
    assert "470.82" in reason and "CUDA 13.0" in reason and "too old" in reason and "newer driver" in fix


def test_a_card_that_a_variable_hides_is_explained(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    reason, fix = explain_unused(CARD, torch_that())
    assert "CUDA_VISIBLE_DEVICES is '-1'" in reason and "Remove that variable" in fix


@pytest.fixture
def bare(monkeypatch, tmp_path):
    """A system without driver and devices; what nvidia-smi says can be set."""
    monkeypatch.setattr(cards, "DRIVER", tmp_path / "version")
    monkeypatch.setattr(cards, "DEVICES", tmp_path / "devices")
    monkeypatch.setattr(cards.shutil, "which", lambda name: None)
    return tmp_path


def test_a_card_is_found_by_its_tool_its_driver_or_its_place_in_the_machine(bare, monkeypatch):
    assert find_card() is None
    device = bare / "devices" / "0000:01:00.0"
    device.mkdir(parents=True)
    (device / "vendor").write_text("0x10de\n")
    assert find_card() is None  # no class can be read
    (device / "class").write_text("0x030000\n")
    assert find_card() == Card("an NVIDIA card", None)
    (bare / "version").write_text("NVRM version")
    assert find_card().driver == "of an unknown version"
    monkeypatch.setattr(cards.shutil, "which", lambda name: f"/usr/bin/{name}")
    said = subprocess.CompletedProcess([], 0, "GeForce RTX 3060, 470.82\nA second one, 470.82\n")
    monkeypatch.setattr(cards.subprocess, "run", lambda *_, **__: said)
    assert find_card() == CARD


def test_a_tool_that_hangs_is_left_alone(bare, monkeypatch):
    def hang(command, **_):
        raise subprocess.TimeoutExpired(command, 20)

    monkeypatch.setattr(cards.shutil, "which", lambda name: name)
    monkeypatch.setattr(cards.subprocess, "run", hang)
    assert find_card() is None


def test_the_precision_comes_with_its_reason():
    assert "fp16, as this GPU only emulates bf16" in look_at_precision(T4).message
    assert "bf16" in look_at_precision(machine(gpu="A100", has_bf16=True)).message
    assert "fp32" in look_at_precision(machine()).message


def test_little_memory_is_warned_of():
    assert look_at_memory(machine(memory_gib=2.0)).severity == "warning"
    assert look_at_memory(machine(memory_gib=12.0)).severity == "ok"


def test_without_pytorch_the_rest_is_still_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    (found,) = look_at_hardware()
    assert found.severity == "error" and "without torch" in found.message
