"""A base model that is too large for one GPU: cut up, so that each of several processes keeps a share of it.

Started with `accelerate launch --use_fsdp -m lora_nb train PROJECT`. Each block of the frozen denoiser is split over
the processes; while a block computes, they lend each other their shares of it (PyTorch's fully_shard, or FSDP2; Zhao et
al. 2023, arXiv:2304.11277). Two GPUs then hold half of Flux each. The small matrices stay whole in every process: they
are trained and saved as without it.
"""

import os
import warnings
from itertools import chain

from torch import nn

from lora_nb.config import TrainConfig
from lora_nb.errors import Problem
from lora_nb.models.base import DiffusionModel
from lora_nb.training.acceleration import Team

OPTIONS = {  # of accelerate launch, which would be ignored => what to do instead
    "FSDP_OFFLOAD_PARAMS": "Launch without --fsdp_offload_params.",
    "FSDP_ACTIVATION_CHECKPOINTING": "Set run.gradient_checkpointing, and launch without it.",
}


def check_sharding(config: TrainConfig) -> list[Problem]:
    """Report what does not go together with a base model that is cut up."""
    run, problems = config.run, []
    if config.model.family != "flux":
        fix = "Launch with --multi_gpu: a U-Net fits on every GPU whole."
        problems.append(Problem("model.family", "Only Flux can be cut up (--use_fsdp).", fix))
    if run.quantization != "none":
        fix = "Set it to 'none', or launch with --multi_gpu: in fewer bits, the model fits on every GPU whole."
        problems.append(Problem("run.quantization", "A model in fewer bits cannot be cut up (--use_fsdp).", fix))
    if run.offload:
        fix = "Set it to 0: each GPU has its share only, and borrows the rest from the others."
        problems.append(Problem("run.offload", "Blocks that are cut up (--use_fsdp) do not wait in main memory.", fix))
    if run.compile:
        problems.append(Problem("run.compile", "A model that is cut up (--use_fsdp) is not compiled.", "Turn it off."))
    for name, fix in OPTIONS.items():
        if os.environ.get(name, "false").lower() == "true":
            problems.append(Problem(f"--{name.lower()}", "This option would do nothing here.", fix))
    return problems


def load_beside_gpu(model: DiffusionModel) -> None:
    """Have the denoiser read into the computer's memory: whole, it might not fit on the GPU."""
    model.networks.move("denoiser", "cpu", None)


def shard_denoiser(model: DiffusionModel, team: Team) -> None:
    """Cut the frozen denoiser up, block by block, and bring each share to its GPU; call it once the LoRA is on.

    From now on all processes must ask the denoiser equally often, at the same time: each answer takes all of them.
    """
    if not team.shards:
        return
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    denoiser = model.denoiser
    whole = {parameter for parameter in denoiser.parameters() if parameter.requires_grad}
    for parameter in whole:
        parameter.data = parameter.data.to(model.device)
    # Flux's single blocks return two views of one tensor. Nobody changes them in place, so there is nothing to warn of
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view tensor")
    mesh = init_device_mesh(model.device.type, (team.size,))
    stacks = [child for child in denoiser.children() if isinstance(child, nn.ModuleList)]
    for part in [*chain.from_iterable(stacks), denoiser]:  # what is outside the blocks goes with the denoiser itself
        fully_shard(part, mesh=mesh, ignored_params=whole)
