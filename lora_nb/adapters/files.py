"""The .safetensors file of a LoRA, laid out as kohya does, which every program reads."""

import hashlib
import io
import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from lora_nb.adapters.layers import TRAINED, modules_of
from lora_nb.adapters.modules import ALPHA, FileModule, kind_of, tensors_of
from lora_nb.adapters.reading import guess_family, parse_modules
from lora_nb.errors import LoraFileError, quote
from lora_nb.files import check_file, write_whole
from lora_nb.models.base import PRECISIONS, DiffusionModel

COMMENT = "made with lora_nb"  # how ss_training_comment begins in files of this package


@dataclass(frozen=True, eq=False)
class LoraFile:
    """A LoRA file, read into memory."""

    path: Path
    metadata: dict[str, str]
    modules: dict[str, FileModule]  # by the layer's name in the file, such as lora_unet_mid_block_..._to_q
    stamp: tuple[int, int]  # size and time of writing: tells whether the file has been replaced since


def save_lora(model: DiffusionModel, path: Path, *, precision: str, metadata: dict[str, str]) -> None:
    """Write the adapter that is being trained: the whole file or nothing.

    Every matrix and alpha is stored in `precision` ("fp32", "fp16" or "bf16"). The two hashes by which web UIs and
    Civitai recognise a LoRA are added to the metadata.
    """
    tensors: dict[str, Tensor] = {}
    for key, module in modules_of(model, TRAINED).items():
        tensors |= {f"{key}.{name}": values for name, values in tensors_of(module).items()}
        tensors[f"{key}.{ALPHA}"] = torch.tensor(module.alpha)
    if not tensors:
        raise LoraFileError(f"{path} was not written: the model has no adapter. Call add_adapter first.")
    dtype = PRECISIONS[precision]
    tensors = {key: tensor.detach().to("cpu", dtype).contiguous() for key, tensor in tensors.items()}
    write_whole(path, save(tensors, metadata | make_hashes(tensors, metadata)))


def file_bytes(model: DiffusionModel, precision: str) -> int:
    """How large the file of the adapter that is being trained will be, but for a few thousand bytes of metadata."""
    end, header = 0, 0
    for key, module in modules_of(model, TRAINED).items():
        for name, tensor in {**tensors_of(module), ALPHA: torch.empty(())}.items():
            start, end = end, end + tensor.numel() * PRECISIONS[precision].itemsize
            entry = {"dtype": "F16", "shape": [*tensor.shape], "data_offsets": [start, end]}
            header += len(json.dumps({f"{key}.{name}": entry}, separators=(",", ":"))) - 1  # a comma for two braces
    return end + header


def size_in_words(model: DiffusionModel) -> dict[str, str]:
    """Rank and alpha of what is being trained, 3x3 convolutions aside; "Dynamic" if they differ, as kohya writes it."""
    modules = [module for module in modules_of(model, TRAINED).values() if kind_of(module) != "locon"]
    sizes = {"rank": {str(module.rank) for module in modules}, "alpha": {str(float(m.alpha)) for m in modules}}
    return {name: values.pop() if len(values) == 1 else "Dynamic" for name, values in sizes.items()}


def make_hashes(tensors: dict[str, Tensor], metadata: dict[str, str]) -> dict[str, str]:
    """The hashes that kohya writes: of the tensors alone, and of 64 KiB that start at 1 MiB (often past the end).

    Both are of the file as it would be with its ss_* metadata only, so that titles can be edited later.
    """
    content = save(tensors, {key: value for key, value in metadata.items() if key.startswith("ss_")})
    start = 8 + int.from_bytes(content[:8], "little")  # after the length of the header, and the header
    return {
        "sshs_model_hash": hashlib.sha256(content[start:]).hexdigest(),
        "sshs_legacy_hash": hashlib.sha256(content[0x100000:0x110000]).hexdigest()[:8],
    }


def read_lora(path: Path) -> LoraFile:
    """Read a LoRA in kohya's layout, from any program. A missing alpha means alpha = rank, as everywhere.

    Raises LoraFileError, which names what was found, for a file that is damaged or is not such a LoRA.
    """
    stamp = stamp_of(path)
    try:
        check_file(path)
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (it is not a dict)
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise LoraFileError(
            f"{path} is damaged, cut off or not in safetensors format ({quote(error)}). Copy or download it again; "
            "pickled LoRAs (.pt, .ckpt) are not read, because they can run any program."
        ) from error
    _check_hash(path, metadata)
    return LoraFile(path, metadata, parse_modules(path, tensors), stamp)


def _check_hash(path: Path, metadata: dict[str, str]) -> None:
    """Notice a changed bit in a file of this package. Other programs' files may have an older state's hash."""
    if not metadata.get("ss_training_comment", "").startswith(COMMENT) or "sshs_model_hash" not in metadata:
        return
    with path.open("rb") as file:
        file.seek(int.from_bytes(file.read(8), "little"), io.SEEK_CUR)  # over the header
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != metadata["sshs_model_hash"]:
        raise LoraFileError(
            f"{path} is damaged: its numbers are not those that were saved. Copy it again, or take the LoRA of "
            "another epoch. If another program has changed them on purpose, it must renew sshs_model_hash, too."
        )


def stamp_of(path: Path) -> tuple[int, int]:
    """Size in bytes and time of writing of a LoRA file: another one means that it was written anew."""
    try:
        stat = path.stat()
    except (OSError, ValueError) as error:
        raise LoraFileError(f"There is no LoRA file {path} ({error}). Check its name and folder.") from None
    return stat.st_size, stat.st_mtime_ns


def lora_summary(file: LoraFile) -> dict[str, Any]:
    """What `lora-nb inspect` shows: parts, ranks, strength, precision, and where the file comes from."""
    ranks = Counter(module.rank for module in file.modules.values())
    alphas = Counter(module.alpha for module in file.modules.values())
    kinds = Counter(kind_of(module) for module in file.modules.values())
    dtypes = {tensor.dtype for module in file.modules.values() for tensor in tensors_of(module).values()}
    tags = file.metadata.get("modelspec.trigger_phrase", "")
    return {
        "file": file.path.name,
        "size_mb": round(file.stamp[0] / 1e6, 2),
        "family": guess_family(file.modules),
        "trigger_words": [word.strip() for word in tags.split(",") if word.strip()],
        "kinds": dict(kinds),
        "modules": len(file.modules),
        "modules_by_part": dict(Counter(_part(name) for name in file.modules)),
        "ranks": {str(rank): count for rank, count in sorted(ranks.items())},
        "alphas": {f"{alpha:g}": count for alpha, count in sorted(alphas.items())},
        "precision": ", ".join(sorted(str(dtype).removeprefix("torch.") for dtype in dtypes)),
        "metadata": dict(sorted(file.metadata.items())),
    }


def _part(name: str) -> str:
    """lora_te_text_model_encoder_layers_0_mlp_fc1 => lora_te"""
    return "_".join(name.split("_")[:2])
