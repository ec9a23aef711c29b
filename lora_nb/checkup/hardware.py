"""What can this machine's GPU and memory do, and do they really work?"""

from typing import Any

from lora_nb.checkup.cards import Card, explain_unused, find_card
from lora_nb.checkup.findings import Finding
from lora_nb.environment import Machine, find_machine
from lora_nb.errors import quote

SMALL_GPU_GIB = 6.0  # Stable Diffusion 1.x trains in about this much
SMALL_MEMORY_GIB = 3.0  # the demo needs about this much


def look_at_hardware() -> list[Finding]:
    """GPU, precision and memory."""
    try:
        import torch

        machine = find_machine()
    except ModuleNotFoundError as error:  # its own line says how to install it
        return [Finding("GPU", f"It cannot be looked at without {error.name}.", "Install that first.", "error")]
    except Exception as error:  # a library is missing or of another version
        fix = "Install it again: pip install --force-reinstall torch"
        return [Finding("PyTorch", f"It is installed but does not start: {quote(error)}.", fix, "error")]
    gpu = try_gpu(torch, machine) if machine.gpu else [explain_none(torch, find_card())]
    return [*gpu, look_at_precision(machine), look_at_memory(machine)]


def try_gpu(torch: Any, machine: Machine) -> list[Finding]:
    """Let the GPU calculate, and see how much of its memory others have taken."""
    where = "GPU"
    try:
        (torch.ones(2, device="cuda") + 1).sum().item()
        free = torch.cuda.mem_get_info()[0] / 2**30
    except Exception as error:  # torch has many ways to fail here
        said = quote(str(error).splitlines()[0] if str(error) else type(error).__name__)
        fix = "End what else uses it. If it is too new or too old for this PyTorch: pytorch.org/get-started."
        return [Finding(where, f"{machine.gpu} is there but does not calculate: {said}", fix, "error")]
    total = machine.gpu_memory_gib
    if total < SMALL_GPU_GIB:
        message = f"{machine.gpu} with {total:.1f} GiB; Stable Diffusion 1.x trains in about {SMALL_GPU_GIB:g}."
        return [Finding(where, message, f"See what fits: lora-nb plan FOLDER --card {total:.0f}", "note")]
    if free < total / 2:
        message = f"{machine.gpu}: only {free:.1f} of {total:.1f} GiB are free."
        return [Finding(where, message, "Shut down other notebooks and programs that use it.", "warning")]
    return [Finding(where, f"{machine.gpu}, {free:.1f} of {total:.1f} GiB are free.")]


def explain_none(torch: Any, card: Card | None) -> Finding:
    """Without a GPU for PyTorch: is there really none?"""
    if card is None:
        fix = "The workshop model trains in minutes; for larger models choose a GPU runtime, or be very patient."
        return Finding("GPU", "There is none that PyTorch can use.", fix, "note")
    reason, fix = explain_unused(card, torch)
    return Finding("GPU", f"There is {card.name}, but {reason}.", fix, "warning")


def look_at_precision(machine: Machine) -> Finding:
    """The precision to train with here."""
    reasons = {
        "fp32": "as there is no GPU",
        "fp16": "as this GPU only emulates bf16, slowly",
        "bf16": "which this GPU calculates with",
    }
    return Finding("precision", f"Train with {machine.precision}, {reasons[machine.precision]}.")


def look_at_memory(machine: Machine) -> Finding:
    """The memory of the machine itself."""
    message = f"{machine.memory_gib:.1f} GiB, {machine.cpu_cores} processor cores."
    if machine.memory_gib >= SMALL_MEMORY_GIB:
        return Finding("memory", message)
    fix = f"Close other programs; the demo needs about {SMALL_MEMORY_GIB:g} GiB."
    return Finding("memory", f"Only {message}", fix, "warning")
