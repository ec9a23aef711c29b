"""Is there a graphics card that PyTorch does not see, and why does it not?"""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

from lora_nb.errors import quote

DRIVER = Path("/proc/driver/nvidia/version")
DEVICES = Path("/sys/bus/pci/devices")
NVIDIA, DISPLAY = "0x10de", "0x03"  # in the files vendor and class of a device
ADVICE = "choose your system on pytorch.org/get-started, and run the pip line that it shows"


class Card(NamedTuple):
    """A graphics card, by what the system says and not PyTorch."""

    name: str
    driver: str | None  # the driver's version, None without one


def find_card() -> Card | None:
    """An NVIDIA card of this machine, with or without a driver."""
    if shutil.which("nvidia-smi"):
        question = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
        try:
            said = subprocess.run(question, capture_output=True, text=True, timeout=20, check=False)
        except (OSError, subprocess.TimeoutExpired):
            said = None
        if said is not None and said.returncode == 0 and said.stdout.strip():
            name, _, driver = said.stdout.splitlines()[0].partition(", ")
            return Card(name.strip(), driver.strip() or "of an unknown version")
    if DRIVER.exists():
        return Card("an NVIDIA card", "of an unknown version")
    return Card("an NVIDIA card", None) if any(map(_is_nvidia, DEVICES.glob("*"))) else None


def explain_unused(card: Card, torch: Any) -> tuple[str, str]:
    """Why PyTorch cannot use a card that is there, and the way out."""
    if card.driver is None:
        return "it has no driver", "Install NVIDIA's driver, and start again (a container: with --gpus all)."
    if torch.version.cuda is None:
        return f"PyTorch {torch.__version__} is made without CUDA", f"To use it, {ADVICE}."
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    if hidden is not None and hidden.strip() in ("", "-1"):
        return f"CUDA_VISIBLE_DEVICES is {hidden!r}, which hides it", "Remove that variable, and start again."
    try:
        torch.cuda.init()
        said = "it says no more"
    except Exception as error:  # torch and its driver have many ways to fail here
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
    reason = f"PyTorch {torch.__version__} for CUDA {torch.version.cuda} and driver {card.driver} do not get on"
    fix = f"Install a newer driver; or a PyTorch for an older CUDA: {ADVICE}."
    return f"{reason} ({quote(said)})", fix


def _is_nvidia(device: Path) -> bool:
    try:
        return (device / "vendor").read_text().strip() == NVIDIA and (device / "class").read_text().startswith(DISPLAY)
    except OSError:
        return False
