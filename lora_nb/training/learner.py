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
    is_whole: bool = True  # False while a step is being taken: an error then leaves it between two steps

    def step(self) -> tuple[float, dict[str, float]]:
        """Move the small matrices by the gradients that were added up.

        Returns the gradient's length and the learning rates by the group's name. A step whose length is infinite or no
        number is left out; in fp16 that is ordinary, and its length is given as 0.
        """
        self.is_whole = False
        grad_norm, taken = self.engine.step(self.optimizer, self.parameters, self.config.optimizer.max_grad_norm)
        scale_weight_norms(self.model, self.config.adapter.scale_weight_norms)
        rates = current_rates(self.optimizer)
        if taken:  # in fp16 a step is left out when its gradients overflow
            self.lr_scheduler.step()
            self.average.update()
        self.optimizer.zero_grad()
        self.is_whole = True
        return 0.0 if self.engine.overflows and not taken else grad_norm, rates

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
