"""The forecast of memory: what it is made of, and that its parts are what real models and optimizers take."""

import pytest
import torch

from lora_nb.adapters.files import file_bytes, save_lora
from lora_nb.adapters.kinds import add_adapter
from lora_nb.config import OptimizerConfig
from lora_nb.config.optimizer import OPTIMIZER_CLASSES
from lora_nb.config_file import change_settings, make_config
from lora_nb.forecast.blueprint import draw_blueprint
from lora_nb.forecast.memory import forecast_memory
from lora_nb.forecast.optimizer_state import PAGED, optimizer_state_bytes
from lora_nb.forecast.quantized import shrunk_bytes
from lora_nb.forecast.stages import BatchShape
from lora_nb.models.quantization import QUANTIZERS, weight_bytes
from lora_nb.training.optimizers import make_optimizer

SHAPE = BatchShape(64, 64, 2)


@pytest.fixture
def config(tiny_sd1_folder):
    settings = {"model": {"base": str(tiny_sd1_folder)}, "data": {"resolution": 64}, "adapter": {"rank": 4}}
    return make_config(settings | {"samples": {"width": 64, "height": 64, "prompts": ["a"], "every_n_epochs": 1}})


def forecast(config, shape=SHAPE, device="cuda", **changes):
    return forecast_memory(change_settings(config, changes), shape, device)


def test_every_setting_that_saves_memory_saves_some(config):
    plain = forecast(config)
    assert forecast(config, **{"run.gradient_checkpointing": True}).activations < plain.activations
    assert forecast(config, **{"run.precision": "fp16"}).weights < 0.6 * plain.weights
    assert forecast(config, **{"adapter.train_text_encoder": False}).weights < plain.weights
    assert forecast(config, BatchShape(64, 64, 4)).activations > 1.5 * plain.activations
    assert forecast(config, BatchShape(32, 64, 2)).activations < plain.activations
    assert forecast(config, **{"samples.every_n_epochs": 0}).pictures == 0 < plain.pictures
    averaged = forecast(config, **{"optimizer.ema_decay": 0.9})
    assert averaged.adapter == 2 * plain.adapter and averaged.gradients == plain.gradients


def test_the_parts_add_up_and_without_a_gpu_it_is_all_main_memory(config):
    parts = forecast(config, device="cpu")
    assert parts.training == sum(
        (parts.weights, parts.adapter, parts.gradients, parts.optimizer, parts.activations, parts.overhead)
    )
    assert parts.host == parts.peak == max(parts.training, parts.caching, parts.pictures)
    on_gpu = forecast(config)
    assert on_gpu.host > 2**30, "Python is there, too"


def test_encoded_captions_let_the_text_encoder_sleep_unless_there_are_too_many(config):
    calm = change_settings(config, {"adapter.train_text_encoder": False})
    few = forecast_memory(calm, SHAPE, "cuda", captions=10)
    many = forecast_memory(calm, SHAPE, "cuda", captions=10**9)
    assert many.weights > few.weights
    never = forecast_memory(change_settings(calm, {"data.cache_text": "never"}), SHAPE, "cuda", captions=10)
    assert never.weights == many.weights


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl", "flux"])
def test_models_that_are_not_here_are_forecast_from_the_configs_of_their_family(family):
    model = draw_blueprint(make_config({"model": {"family": family, "base": "someone/else"}}).model, "bf16")
    sizes = {"sd1": 1.60, "sd2": 1.61, "sdxl": 4.78, "flux": 22.17}  # GiB of the denoiser in 16 bits
    weights = sum(parameter.nbytes for parameter in model.denoiser.parameters())
    assert weights / 2**30 == pytest.approx(sizes[family], abs=0.01)
    assert {parameter.device.type for parameter in model.denoiser.parameters()} == {"meta"}


@pytest.mark.parametrize("kind", OPTIMIZER_CLASSES)
def test_what_an_optimizer_remembers_is_what_the_real_one_keeps(kind):
    shapes = [(8, 640), (640, 8), (8, 640), (16, 32), (128, 128), (3, 4, 3, 3)]
    config = OptimizerConfig(kind=PAGED.get(kind, kind))
    parameters = [torch.nn.Parameter(torch.ones(shape)) for shape in shapes]
    for parameter in parameters:
        parameter.grad = torch.ones_like(parameter)
    optimizer = make_optimizer([{"params": parameters, "lr": 1e-3, "name": "all"}], config)
    optimizer.step()
    blocks = {}
    for state in optimizer.state.values():
        for value in state.values():
            if isinstance(value, torch.Tensor):
                blocks[value.untyped_storage().data_ptr()] = value.untyped_storage().nbytes()
    on_meta = [torch.empty(shape, device="meta") for shape in shapes]
    assert optimizer_state_bytes(on_meta, OptimizerConfig(kind=kind)) == sum(blocks.values())


def test_adamw_in_8_bits_remembers_a_quarter():
    matrices = [torch.empty(64, 1024, device="meta")] * 10
    whole, eighth = (optimizer_state_bytes(matrices, OptimizerConfig(kind=kind)) for kind in ("adamw", "adamw8bit"))
    assert eighth == pytest.approx(whole / 4, rel=0.05)


@pytest.mark.parametrize("kind", ["int8", "nf4"])
def test_a_layer_in_fewer_bits_is_as_small_as_said(kind):
    layer = torch.nn.Linear(512, 1024, bias=False, dtype=torch.bfloat16)
    small = QUANTIZERS[kind](layer, torch.device("cpu"), torch.bfloat16)
    assert shrunk_bytes(layer, kind) == pytest.approx(weight_bytes(small), rel=0.02)


def test_a_base_model_in_fewer_bits_takes_less(tiny_flux_folder):
    model = {"family": "flux", "base": str(tiny_flux_folder)}
    config = make_config({"model": model, "run": {"precision": "bf16"}, "samples": {"every_n_epochs": 0}})
    weights = [forecast(config, **{"run.quantization": bits}).weights for bits in ("none", "int8", "nf4")]
    assert weights == sorted(weights, reverse=True) and weights[0] > weights[1] > weights[2]


def test_blocks_that_wait_in_main_memory_take_none_of_the_gpus(tiny_flux_folder):
    model = {"family": "flux", "base": str(tiny_flux_folder)}
    run = {"precision": "bf16", "gradient_checkpointing": True}
    config = make_config({"model": model, "run": run, "samples": {"every_n_epochs": 0}})
    weights = [forecast(config, **{"run.offload": share}).weights for share in (0.0, 0.5, 1.0)]
    assert weights[0] > weights[1] > weights[2]


@pytest.mark.parametrize("kind", ["lora", "locon", "loha", "lokr", "dora"])
def test_the_file_is_as_large_as_said(config, tiny_sd1, tmp_path, kind):
    adapter = change_settings(config, {"adapter.kind": kind}).adapter
    add_adapter(tiny_sd1, adapter, seed=0)
    save_lora(tiny_sd1, tmp_path / "a.safetensors", precision="fp16", metadata={})
    real = (tmp_path / "a.safetensors").stat().st_size
    assert file_bytes(tiny_sd1, "fp16") == pytest.approx(real, abs=400)


@pytest.mark.parametrize("kind", ["lora", "locon", "loha", "lokr", "dora"])
def test_every_kind_of_adapter_can_be_forecast(config, kind):
    found = forecast(config, **{"adapter.kind": kind})
    assert found.adapter > 0 and found.lora_file > 0


@pytest.mark.parametrize("family", ["sd2", "sdxl", "flux"])
def test_every_family_can_be_forecast(family, request):
    folder = request.getfixturevalue(f"tiny_{family}_folder")
    model = {"family": family, "base": str(folder)}
    samples = {"width": 64, "height": 64, "prompts": ["a"], "guidance_scale": 1.0 if family == "flux" else 7.0}
    run = {"precision": "bf16", "gradient_checkpointing": True}
    found = forecast(make_config({"model": model, "run": run, "samples": samples}))
    assert found.activations > 0 and found.pictures > 0 and found.caching > 0
