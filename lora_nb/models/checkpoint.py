"""A single .safetensors file: what is in it, told by its header alone, and its weights, read one by one."""

import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from lora_nb.errors import ModelError, quote
from lora_nb.files import check_file
from lora_nb.models.layouts import Layout, Place

HEADER_LIMIT = 100 << 20  # no header is longer; a longer one is damage
UNMAP_AFTER = 256 << 20  # bytes read through one mapping before it is given back
PICKLES = (".ckpt", ".pt", ".pth", ".bin")


@dataclass(frozen=True)
class Checkpoint:
    """The header of a .safetensors file: the shape of every weight, and what its maker wrote about it."""

    path: Path
    shapes: dict[str, tuple[int, ...]]
    metadata: dict[str, str] = field(default_factory=dict)

    def __contains__(self, key: str) -> bool:
        return key in self.shapes

    def length(self, key: str, axis: int) -> int:
        """How long a weight is along an axis; 0 if it is not there, or has no such axis."""
        shape = self.shapes.get(key, ())
        return shape[axis] if axis < len(shape) else 0

    def starts(self, prefix: str) -> bool:
        """Whether any weight's name starts like this."""
        return any(key.startswith(prefix) for key in self.shapes)


def open_checkpoint(path: Path) -> Checkpoint:
    """Read the header, and make sure that the file is whole. Its weights are not read.

    Raises ModelError for pickled files, for web pages saved under a model's name, and for files that were cut.
    """
    if path.suffix.lower() in PICKLES:
        raise ModelError(
            f"{path} is a pickled checkpoint. Pickle files ({', '.join(PICKLES)}) can run any program when they are "
            "opened, so they are not read here: use an edition of the model in .safetensors."
        )
    try:
        check_file(path)
    except OSError as error:
        raise ModelError(f"{path} cannot be opened: {error.strerror}. Give a .safetensors file.") from error
    with path.open("rb") as file:
        start = file.read(8)
        length = int.from_bytes(start, "little")
        if length > HEADER_LIMIT or len(start) < 8:
            raise ModelError(_explain_garbage(path, start))
        content = file.read(length)
    try:
        header: dict[str, Any] = json.loads(content)
        metadata = header.pop("__metadata__", {})
        shapes = {key: tuple(entry["shape"]) for key, entry in header.items()}
        end = max((int(entry["data_offsets"][1]) for entry in header.values()), default=0)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ModelError(_explain_garbage(path, start)) from error
    missing = 8 + length + end - path.stat().st_size
    if missing > 0:
        raise ModelError(f"{path} is damaged: {missing} bytes are missing at its end. Copy or download it again.")
    _check_header(path)
    return Checkpoint(path, shapes, metadata)


def _check_header(path: Path) -> None:
    """Have each entry of the header looked at: its kind of number, its size, and whether its place is its own."""
    try:
        with safe_open(path, framework="pt"):
            pass
    except SafetensorError as error:
        raise ModelError(
            f"{path} is damaged: its header does not fit its content ({quote(error)}). Download it again."
        ) from error


def fill_module(
    module: nn.Module, layout: Layout, checkpoint: Checkpoint, dtype: torch.dtype, finer: Collection[str] = ()
) -> None:
    """Give every weight of a module made on the meta device its value, directly in its final precision.

    finer: layers, by a part of their name, that are kept in float32 whatever dtype says. Weights that have the wanted
    precision in the file stay there: they are mapped, and read when they are first used. Raises ModelError naming all
    weights that the file lacks, or that have another size there.
    """
    places = {name: layout(name) for name in module.state_dict()}
    _check_places(module, places, checkpoint)
    for name, stored in _read_all(places, checkpoint, dtype):
        value = stored.to(torch.float32 if any(layer in name.split(".") for layer in finer) else dtype)
        parent, _, child = name.rpartition(".")
        home = module.get_submodule(parent)
        current = getattr(home, child)
        value = value.reshape(current.shape)  # a 1x1 convolution and a linear layer hold the same numbers
        setattr(home, child, nn.Parameter(value, requires_grad=False) if _is_parameter(home, child) else value)


def _read_all(places: dict[str, Place], checkpoint: Checkpoint, dtype: torch.dtype) -> Iterator[tuple[str, Tensor]]:
    """Weight after weight, as the file has it.

    A mapping whose weights get converted is closed soon, or the pages of the whole file would stay in memory.
    """
    waiting = list(places.items())
    while waiting:
        read = 0
        with safe_open(checkpoint.path, framework="pt") as file:
            while waiting and read < UNMAP_AFTER:
                name, place = waiting.pop(0)
                stored = _read(file, place, checkpoint.shapes[place.key])
                read += stored.nbytes if stored.dtype != dtype else 0
                yield name, stored


def _read(file: Any, place: Place, shape: tuple[int, ...]) -> Tensor:
    """One weight as diffusers wants it, in the file's own precision."""
    first, last, parts = place.share
    if parts > 1:
        step = shape[0] // parts
        value: Tensor = file.get_slice(place.key)[first * step : last * step]
    else:
        value = file.get_tensor(place.key)
    if place.transposed:
        value = value.T.contiguous()
    if place.halves_swapped:
        value = torch.cat(value.chunk(2)[::-1])
    return value


def _check_places(module: nn.Module, places: dict[str, Place], checkpoint: Checkpoint) -> None:
    sizes = {name: tensor.numel() for name, tensor in module.state_dict().items()}
    missing = [place.key for place in places.values() if place.key not in checkpoint]
    if missing:
        raise ModelError(
            f"{checkpoint.path} lacks {len(missing)} of the {len(places)} weights of its {type(module).__name__}: "
            f"{_name_some(missing)}. Download it again; or it is a model of an unusual shape: then put a folder named "
            f"{checkpoint.path.stem!r} beside it, with the JSON files of its diffusers edition."
        )
    wrong = [place.key for name, place in places.items() if _size(checkpoint.shapes[place.key], place) != sizes[name]]
    if wrong:
        raise ModelError(
            f"{checkpoint.path} is a model of an unusual shape: its {type(module).__name__} has other sizes than "
            f"usual in {_name_some(wrong)}. Put a folder named {checkpoint.path.stem!r} beside it, with the JSON "
            "files of its diffusers edition, such as unet/config.json."
        )


def _size(shape: tuple[int, ...], place: Place) -> int:
    first, last, parts = place.share
    size = 1
    for length in shape:
        size *= length
    return size * (last - first) // parts


def _is_parameter(home: nn.Module, child: str) -> bool:
    return child in home._parameters


def _name_some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _explain_garbage(path: Path, start: bytes) -> str:
    if not start.strip():
        return f"{path} is empty. Download it again."
    if start.lstrip()[:1] == b"<":
        return (
            f"{path} is a web page and not a model: a download was answered with a page that asks to log in, or says "
            "that the file is gone. Open its address in a browser, and download the model again."
        )
    if start[:2] == b"PK" or start[:1] == b"\x80":
        return f"{path} is a pickled checkpoint with a wrong name. Use an edition of the model in .safetensors."
    return f"{path} is not a .safetensors file, or it is damaged. Download it again."
