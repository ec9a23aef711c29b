"""One network of a model, read from a file in its final precision without ever being held twice."""

from typing import Any

import torch

from lora_nb.models.checkpoint import Checkpoint, fill_module
from lora_nb.models.layouts import Layout


def load_network(
    network: Any, config: dict[str, Any], checkpoint: Checkpoint, layout: Layout, dtype: torch.dtype
) -> Any:
    """Make a network of diffusers or transformers from its config, with the weights of a checkpoint.

    network: its class, such as UNet2DConditionModel or CLIPTextModel. It is made without weights first.
    """
    from accelerate import init_empty_weights

    with init_empty_weights(include_buffers=False):
        if hasattr(network, "config_class"):  # of transformers
            module = network(network.config_class.from_dict(config))
        else:
            module = network.from_config(config)
    finer = getattr(module, "_keep_in_fp32_modules", None) or ()  # T5 overflows in fp16 without it
    fill_module(module, layout, checkpoint, dtype, finer if dtype == torch.float16 else ())
    if hasattr(module, "tie_weights"):
        module.tie_weights()
    return module.eval()
