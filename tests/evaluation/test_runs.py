import torch

from lora_nb.config_file import make_config
from lora_nb.evaluation.runs import load_to_draw


def settings(folder, **run):
    return make_config({"model": {"base": str(folder)}, "run": run})


def test_a_quantized_run_is_drawn_on_the_quantized_model(tiny_sd1_folder):
    model = load_to_draw(settings(tiny_sd1_folder, precision="bf16", quantization="nf4"))
    assert "Linear4bit" in {type(module).__name__ for module in model.denoiser.modules()}
    assert model.dtype == torch.bfloat16


def test_a_precision_that_this_machine_lacks_does_not_stop_the_drawing(tiny_sd1_folder):
    if torch.cuda.is_available():
        return
    assert load_to_draw(settings(tiny_sd1_folder, precision="fp16")).dtype == torch.float32
