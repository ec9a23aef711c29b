"""The networks of a model: each read from disk when it is first needed, and out of memory when it is not.

A network that is not in memory is still there as a shape: a module whose weights are on PyTorch's "meta" device, where
tensors have a size but no numbers. Reading it fills that same module, so whoever holds it sees it wake up.
"""

import ctypes
import gc
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from safetensors import SafetensorError
from torch import nn

from lora_nb.errors import ModelError, quote
from lora_nb.models.checkpoint import Checkpoint, fill_module
from lora_nb.models.layouts import Layout

CPU = torch.device("cpu")


class NetworkSource(Protocol):
    """Where networks are read from: see ModelSource in sources.py."""

    def config(self, part: str) -> dict[str, Any]: ...
    def load(self, part: str, network: Any, dtype: torch.dtype) -> Any: ...


@dataclass(frozen=True)
class Unread:
    """A network that has not been read yet: its shape, and how to read it."""

    shape: Any  # nn.Module without weights
    read: Callable[[], Any]


def read_later(
    source: NetworkSource,
    part: str,
    network: Any,
    dtype: torch.dtype,
    finish: Callable[[Any], Any] = lambda module: None,
) -> Unread:
    """A network of a model that is read when it is first asked for.

    network: its class. finish: what is done to it in place once it is read, such as joining layers.
    """

    def read() -> Any:
        module = source.load(part, network, dtype)
        finish(module)
        return module

    shape = make_shape(network, source.config(part)).to(dtype)
    finish(shape)
    return Unread(shape, read)


class Networks:
    """The networks of one model by role ("denoiser", "vae", a text encoder's prefix), of which any may be asleep."""

    def __init__(self, base: str, networks: Mapping[str, Any]) -> None:
        self._base = base
        self._readers = {name: each.read for name, each in networks.items() if isinstance(each, Unread)}
        self._modules = {name: getattr(each, "shape", each) for name, each in networks.items()}
        self._unread = set(self._readers)
        self._asleep: set[str] = set()
        self._reworks: dict[str, list[Callable[[Any], None]]] = {}
        self._own_layers: dict[str, dict[str, nn.Module]] = {}  # those that a rework has replaced, by their path
        self._homes: dict[str, tuple[torch.device | str | None, torch.dtype | None]] = {}
        for module in self._modules.values():
            module.requires_grad_(False).eval()
        homes = {parameter.device for module in self._modules.values() for parameter in module.parameters()}
        self.device = next((device for device in homes if device.type != "meta" or not self._unread), CPU)

    def __getitem__(self, name: str) -> Any:
        """The network, read from disk if need be."""
        if name in self._unread or name in self._asleep:
            self._wake(name)
        return self._modules[name]

    def replace(self, name: str, module: nn.Module) -> None:
        """Put another module in a network's place, such as a compiled one. It does not sleep any more."""
        self._modules[name] = module
        for places in (self._unread, self._asleep):
            places.discard(name)
        self._readers.pop(name, None)

    def rework(self, name: str, change: Callable[[Any], None]) -> None:
        """Have layers of a network replaced, such as by ones in fewer bits: now, or whenever it is read.

        A second change is made to what the first one left.
        """
        self._reworks.setdefault(name, []).append(change)
        if name not in self._unread and name not in self._asleep:
            own = dict(self._modules[name].named_modules())
            change(self._modules[name])
            self._own_layers[name] = _differing(own, self._modules[name]) | self._own_layers.get(name, {})

    def at_hand(self, name: str) -> Any:
        """The network; only its shape if it was put to sleep, so that looking at its layers does not wake it."""
        return self._modules[name] if name in self._asleep else self[name]

    def shape(self, name: str) -> Any:
        """The network without waking it: enough for its config and its layers' names."""
        return self._modules[name]

    def sleep(self, *names: str) -> None:
        """Drop the weights of these networks until they are asked for again.

        One that cannot be read again, or was changed (by an adapter that is being trained), stays as it is.
        """
        for name in names:
            module = self._modules[name]
            own_layers = self._own_layers.get(name, {})
            if name in self._readers and name not in self._asleep and not _is_changed(module, own_layers):
                self._unread.discard(name)
                _put_layers(module, self._own_layers.pop(name, {}))
                self._asleep.add(name)
                _drop_weights(module)
        _give_back_memory()

    def sleeping(self) -> frozenset[str]:
        """The networks that were put to sleep and have not been asked for since."""
        return frozenset(self._asleep)

    def awake(self) -> frozenset[str]:
        """The networks whose weights are in memory."""
        return frozenset(self._modules.keys() - self._unread - self._asleep)

    def move(self, name: str, device: torch.device | str | None, dtype: torch.dtype | None) -> None:
        """Move and cast a network's weights; now, or when it is read. Weights being trained keep their precision."""
        before = self._homes.get(name, (None, None))
        self._homes[name] = (device or before[0], dtype or before[1])
        if name in self._unread or name in self._asleep:
            self._modules[name].to(dtype)
        else:
            _move(self._modules[name], device, dtype)

    def _wake(self, name: str) -> None:
        with quiet_libraries(), explain_damage(self._base):
            module, filled = self._modules[name], self._readers[name]()
            if name in self._reworks:
                for change in self._reworks[name]:
                    change(filled)
                self._own_layers[name] = _differing(dict(module.named_modules()), filled)
                _put_layers(module, {path: filled.get_submodule(path) for path in self._own_layers[name]})
            _take_weights(module, filled)
        self._unread.discard(name)
        self._asleep.discard(name)
        _move(self._modules[name], *self._homes.get(name, (None, None)))


class Part:
    """A model's attribute that is one of its networks: `vae: Any = Part("vae")`. Asking for it reads it."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, model: Any, owner: type) -> Any:
        return self if model is None else model.networks[self._name]

    def __set__(self, model: Any, module: nn.Module) -> None:
        model.networks.replace(self._name, module)


class TextEncoders(Mapping[str, Any]):
    """A model's text encoders by their prefix in LoRA files. Asking for one reads it; asking for names does not."""

    def __init__(self, networks: Networks, prefixes: tuple[str, ...]) -> None:
        self._networks, self._prefixes = networks, prefixes

    def __getitem__(self, prefix: str) -> Any:
        if prefix not in self._prefixes:
            raise KeyError(prefix)
        return self._networks[prefix]

    def __contains__(self, prefix: object) -> bool:
        return prefix in self._prefixes

    def __iter__(self) -> Iterator[str]:
        return iter(self._prefixes)

    def __len__(self) -> int:
        return len(self._prefixes)


def make_shape(network: Any, config: dict[str, Any]) -> Any:
    """A network of diffusers or transformers, of the given class, without weights."""
    from accelerate import init_empty_weights

    with init_empty_weights(include_buffers=False):
        if hasattr(network, "config_class") and network.config_class is not None:  # of transformers
            return network(network.config_class.from_dict(dict(config)))
        return network.from_config(config)


def load_network(
    network: Any, config: dict[str, Any], checkpoint: Checkpoint, layout: Layout, dtype: torch.dtype
) -> Any:
    """A network of the given class, with the weights of a checkpoint, in its final precision and held only once."""
    module = make_shape(network, config)
    finer = getattr(module, "_keep_in_fp32_modules", None) or ()  # T5 overflows in fp16 without it
    fill_module(module, layout, checkpoint, dtype, finer if dtype == torch.float16 else ())
    if hasattr(module, "tie_weights"):
        module.tie_weights()
    return module.eval()


@contextmanager
def explain_damage(base: str) -> Iterator[None]:
    """Turn what the libraries raise over a damaged model into a ModelError that says what to do."""
    try:
        yield
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, SafetensorError) as error:
        raise ModelError(
            f"{base} could not be read: {quote(error)}. Some file of it is damaged or does not fit the others: copy or "
            "download the model again."
        ) from error


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Keep what diffusers and transformers say while they are imported and read files out of the notebook."""
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    libraries = (diffusers_logging, transformers_logging)
    before = [(log, log.get_verbosity(), log.is_progress_bar_enabled()) for log in libraries]
    for log in libraries:
        log.set_verbosity_error()
        log.disable_progress_bar()
    try:
        yield
    finally:
        for log, verbosity, had_progress_bar in before:
            log.set_verbosity(verbosity)
            if had_progress_bar:
                log.enable_progress_bar()


def _take_weights(shape: nn.Module, filled: nn.Module) -> None:
    """Move the weights of one module into another of the same shape. What is shared between layers stays shared."""
    parameters = dict(filled.named_parameters(remove_duplicate=False))
    made: dict[int, nn.Parameter] = {}
    for name, old in list(shape.named_parameters(remove_duplicate=False)):
        value = parameters[name]
        if value is old:  # of a layer that was taken over as a whole
            continue
        new = made.setdefault(id(value), nn.Parameter(value.data, requires_grad=False))
        _set(shape, name, new)
        del old


def _differing(layers: dict[str, nn.Module], module: nn.Module) -> dict[str, nn.Module]:
    """Those of the layers, by path, in whose place the module has layers of another class."""
    return {path: layers[path] for path, layer in module.named_modules() if type(layer) is not type(layers[path])}


def _put_layers(module: nn.Module, layers: dict[str, nn.Module]) -> None:
    for path, layer in layers.items():
        home, _, child = path.rpartition(".")
        setattr(module.get_submodule(home), child, layer)


def _drop_weights(module: nn.Module) -> None:
    made: dict[int, nn.Parameter] = {}
    for name, value in list(module.named_parameters(remove_duplicate=False)):
        empty = made.setdefault(id(value), nn.Parameter(value.data.to("meta"), requires_grad=False))
        _set(module, name, empty)


def _give_back_memory() -> None:
    """Let the system have what was freed: on Linux, C's allocator would keep a good part of it for later."""
    gc.collect()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's; other C libraries have none
        if trim is not None:
            trim(0)


def _set(module: nn.Module, name: str, parameter: nn.Parameter) -> None:
    home, _, child = name.rpartition(".")
    module.get_submodule(home)._parameters[child] = parameter


def _is_changed(module: nn.Module, own_layers: Mapping[str, nn.Module]) -> bool:
    """Whether something in a network is being trained, a LoRA lies on it, or its file held it in fewer bits.

    own_layers: by path, those for which others stand in, that will be made again.
    """
    if any(hasattr(layer, "base_layer") for layer in module.modules()):
        return True
    stand_ins = {id(each) for path in own_layers for each in module.get_submodule(path).parameters()}
    parameters = [each for each in module.parameters() if id(each) not in stand_ins]
    return any(each.requires_grad or type(each) is not nn.Parameter for each in parameters)


def _move(module: nn.Module, device: torch.device | str | None, dtype: torch.dtype | None) -> None:
    if device is not None:
        module.to(device=device)
    for parameter in module.parameters() if dtype is not None else ():
        if not parameter.requires_grad and parameter.is_floating_point():
            parameter.data = parameter.data.to(dtype)
