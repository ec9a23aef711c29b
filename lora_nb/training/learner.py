"""The LoRA on its model, and what moves it: all that changes while it trains."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from torch.nn import Parameter
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from lora_nb.adapters.groups import parameter_groups
from lora_nb.adapters.kinds import add_adapter
from lora_nb.adapters.norms import scale_weight_norms
from lora_nb.config import TrainConfig
from lora_nb.models.base import DiffusionModel
from lora_nb.training.acceleration import Engine, Team
from lora_nb.training.averages import WeightAverage, final_weights
from lora_nb.training.optimizers import current_rates, make_optimizer
from lora_nb.training.schedules import make_lr_scheduler
from lora_nb.training.sharding import shard_denoiser


@dataclass
class Learner:
    """What learns, and how."""

    model: DiffusionModel
    config: TrainConfig
    engine: Engine  # takes care of precision, and of the other processes
    parameters: list[Parameter]  # the small matrices
    optimizer: Optimizer
    lr_scheduler: LRScheduler
    average: WeightAverage

    def step(self) -> tuple[float, dict[str, float]]:
        """Move the small matrices by the gradients that were added up.

        Returns the gradient's length, 0 if the step was left out, and the learning rates by the group's name.
        """
        grad_norm, taken = self.engine.step(self.optimizer, self.parameters, self.config.optimizer.max_grad_norm)
        scale_weight_norms(self.model, self.config.adapter.scale_weight_norms)
        rates = current_rates(self.optimizer)
        if taken:  # in fp16 a step is left out when its gradients overflow
            self.lr_scheduler.step()
            self.average.update()
        self.optimizer.zero_grad()
        return grad_norm if taken else 0.0, rates

    @contextmanager
    def final_weights(self) -> Iterator[None]:
        """Within this, the LoRA is as it should be judged and saved: as it was trained, or its average."""
        with final_weights(self.optimizer, self.average):
            yield


def make_learner(model: DiffusionModel, config: TrainConfig, team: Team, steps: int) -> Learner:
    """Put a fresh LoRA on a model, which is frozen, and make what moves it in so many steps."""
    engine = Engine(config.run.precision, model.device, team)
    add_adapter(model, config.adapter, seed=config.run.seed)  # freezes the model, adds the small matrices
    shard_denoiser(model, team)  # only with --use_fsdp: each process keeps a share of the frozen model
    groups = parameter_groups(model, config.adapter, config.optimizer)
    parameters = [parameter for group in groups for parameter in group["params"]]
    optimizer = make_optimizer(groups, config.optimizer)
    lr_scheduler = make_lr_scheduler(optimizer, config.optimizer, steps)
    average = WeightAverage(parameters, config.optimizer.ema_decay)
    return Learner(model, config, engine, parameters, optimizer, lr_scheduler, average)
