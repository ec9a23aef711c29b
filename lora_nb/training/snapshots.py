"""What a learner is at this moment, as files, and a learner brought back to it: bit for bit."""

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save
from torch import Tensor
from torch.nn import Parameter

from lora_nb.adapters.layers import TRAINED, modules_of
from lora_nb.adapters.modules import ALPHA, tensors_of
from lora_nb.errors import TrainingError
from lora_nb.training.learner import Learner
from lora_nb.training.packing import pack, unpack

LORA, TENSORS, VALUES = "lora.safetensors", "state.safetensors", "state.json"


def snapshot(learner: Learner, facts: dict[str, Any]) -> Iterator[tuple[str, bytes]]:
    """The files that hold a learner: each one's name and content.

    lora.safetensors is a LoRA file like any other, with the matrices as they are being trained, in full precision;
    state.safetensors and state.json hold optimizer, schedule, loss scale, average, and the state of torch's and
    Python's own chance. facts: what else is to be remembered.
    """
    alphas = {f"{key}.{ALPHA}": torch.tensor(m.alpha) for key, m in modules_of(learner.model, TRAINED).items()}
    yield LORA, save({name: _copy(tensor) for name, tensor in _matrices(learner).items()} | alphas)
    tensors: dict[str, Tensor] = {}
    values = {name: pack(value, name, tensors) for name, value in _state_of(learner).items()}
    yield TENSORS, save(tensors)
    yield VALUES, json.dumps({**facts, "state": values}).encode()


def restore(learner: Learner, folder: Path) -> None:
    """Bring a fresh learner, made with the same settings, to where the snapshot in this folder was taken.

    With another learning rate, it goes on at the same place of its schedule; another optimizer starts afresh, because
    it does not understand what the first one remembers.
    """
    stored, matrices = load_file(folder / LORA), _matrices(learner)
    lost = [name for name, tensor in matrices.items() if name not in stored or stored[name].shape != tensor.shape]
    if lost:
        raise TrainingError(
            f"{folder} does not fit these settings: it has no {lost[0]} of this size. Put the run's config.json back "
            "as it was, or start a new run from these weights: lora-nb continue --from-weights"
        )
    with torch.no_grad():
        for name, tensor in matrices.items():
            tensor.copy_(stored[name])
    tensors, device = load_file(folder / TENSORS), learner.model.device
    facts = json.loads((folder / VALUES).read_text())
    state = {name: unpack(part, tensors, device) for name, part in facts["state"].items()}
    if facts["config"]["optimizer"]["kind"] != learner.config.optimizer.kind:
        state["optimizer"] = {}
        state["groups"] = [{name: group[name] for name in ("lr", "initial_lr")} for group in state["groups"]]
    _bring_back(learner, state)


def _matrices(learner: Learner) -> dict[str, Tensor]:
    """The trained matrices by their names in LoRA files: the very ones that learn, not copies."""
    modules = modules_of(learner.model, TRAINED)
    return {f"{key}.{name}": tensor for key, module in modules.items() for name, tensor in tensors_of(module).items()}


def _state_of(learner: Learner) -> dict[str, Any]:
    optimizer = learner.optimizer
    numbers: dict[Tensor, int] = {parameter: number for number, parameter in enumerate(learner.parameters)}
    return {
        "optimizer": {numbers[parameter]: dict(state) for parameter, state in optimizer.state.items()},
        "groups": [{key: v for key, v in group.items() if key != "params"} for group in optimizer.param_groups],
        "lr_scheduler": learner.lr_scheduler.state_dict(),
        "engine": learner.engine.state_dict(),
        "average": {"values": learner.average.values, "steps": learner.average.steps},
        "chance": {
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state_all() if learner.model.device.type == "cuda" else [],
            "python": random.getstate(),
        },
    }


def _bring_back(learner: Learner, state: dict[str, Any]) -> None:
    """The optimizer's state is put in place directly: torch's own load_state_dict would cast some of it."""
    optimizer = learner.optimizer
    for number, values in state["optimizer"].items():
        parameter = learner.parameters[number]
        optimizer.state[parameter] = _page(optimizer, parameter, values)
    for group, values in zip(optimizer.param_groups, state["groups"], strict=True):
        group.update(values)
    _bring_schedule_back(learner, state["lr_scheduler"])
    learner.engine.load_state_dict(state["engine"])
    learner.average.values, learner.average.steps = state["average"]["values"], state["average"]["steps"]
    torch.set_rng_state(state["chance"]["torch"])
    if len(state["chance"]["cuda"]) == torch.cuda.device_count() and learner.model.device.type == "cuda":
        torch.cuda.set_rng_state_all(state["chance"]["cuda"])
    random.setstate(state["chance"]["python"])


def _bring_schedule_back(learner: Learner, state: dict[str, Any]) -> None:
    """The schedule goes on where it was, with the rates of today's settings."""
    scheduler, optimizer = learner.lr_scheduler, learner.optimizer
    rates = list(scheduler.base_lrs)
    scheduler.load_state_dict(state)
    if scheduler.base_lrs == rates:
        return
    for group, now, before in zip(optimizer.param_groups, rates, scheduler.base_lrs, strict=True):
        group["lr"], group["initial_lr"] = group["lr"] * now / before if before else now, now
    scheduler.base_lrs = rates


def _page(optimizer: Any, parameter: Parameter, values: dict[str, Any]) -> dict[str, Any]:
    """bitsandbytes' paged optimizers keep the large tensors where they can move to main memory: there again."""
    is_paged = getattr(optimizer, "is_paged", False) and parameter.device.type == "cuda"
    for name in values.keys() & {"state1", "state2"} if is_paged else ():
        values[name] = optimizer.get_state_buffer(parameter, dtype=values[name].dtype).copy_(values[name])
    return values


def _copy(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu", copy=True).contiguous()
