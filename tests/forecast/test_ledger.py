"""The account of memory: what is counted, and that shapes alone give the same account as real numbers."""

import re
from pathlib import Path

import pytest
import torch
from torch.nn.functional import linear, scaled_dot_product_attention

from lora_nb.adapters.kinds import add_adapter
from lora_nb.config_file import make_config
from lora_nb.forecast.allocators import Heap, taken_on_cpu
from lora_nb.forecast.blueprint import draw_blueprint
from lora_nb.forecast.half_precision import HALF, WHOLE, HalfPrecision
from lora_nb.forecast.kernels import FusedAttention
from lora_nb.forecast.ledger import Ledger, size_of, tensors_in
from lora_nb.forecast.stages import BatchShape, backward, make_batches_like, on_device
from lora_nb.models.base import load_model
from lora_nb.training.acceleration import Engine, Team
from lora_nb.training.conditioning import CaptionEncoder
from lora_nb.training.loop import training_loss
from lora_nb.training.speed import speed_up


def test_blocks_count_while_a_tensor_lies_on_them_and_views_cost_nothing():
    with Ledger(device="cpu") as ledger:
        first = torch.zeros(1000)
        view = first[10:20]
        second = first + 1
        del first
        assert ledger.now == 8000
        del view
        assert ledger.now == 4000
        del second
    assert (ledger.now, ledger.peak) == (0, 8000)


def test_what_the_backward_pass_needs_is_kept_until_then():
    weight = torch.ones(100, 100, requires_grad=True)
    with Ledger(device="cpu") as ledger:
        ledger.hold([weight])
        loss = linear(torch.ones(50, 100), weight).relu().sum()
        assert ledger.now >= ledger.held + 4 * (50 * 100 + 50 * 100)  # the input, and what came out of relu
        loss.backward()
        del loss
    assert ledger.now == 2 * ledger.held, "the weight, and its gradient"


def test_attention_writes_no_table_of_all_pairs_on_the_meta_device():
    tokens = torch.empty(1, 2, 1000, 8, device="meta", requires_grad=True)
    with Ledger() as ledger, FusedAttention():
        scaled_dot_product_attention(tokens, tokens, tokens).sum().backward()
    table = 4 * 2 * 1000 * 1000
    assert 0 < ledger.peak < table / 4


@pytest.mark.parametrize(
    ("family", "precision", "checkpointing"),
    [("sd1", "fp32", False), ("sd1", "bf16", True), ("sdxl", "fp32", True), ("flux", "bf16", False)],
)
def test_a_step_without_numbers_takes_what_a_real_one_takes(family, precision, checkpointing, request):
    """The real one runs on a CPU, in PyTorch's own half precision and with its own attention."""
    folder = request.getfixturevalue(f"tiny_{family}_folder")
    run = {"precision": precision, "gradient_checkpointing": checkpointing, "batch_size": 4}
    settings = {"model": {"family": family, "base": str(folder)}, "data": {"resolution": 64}, "run": run}
    config = make_config(settings | {"adapter": {"rank": 4}})
    real = _peak(load_model(config.model, precision), config, "cpu")
    shapes = _peak(draw_blueprint(config.model, precision), config, "meta")
    assert shapes == pytest.approx(real, rel=0.05)


def _peak(model, config, device):
    add_adapter(model, config.adapter, seed=0)
    encode_captions = CaptionEncoder(model, config)
    (batch,) = make_batches_like(model, BatchShape(64, 64, 4), config)
    speed_up(model, config)
    ledger = Ledger(device=device)
    for part in (model.denoiser, *model.text_encoders.values(), *model.frozen_text_encoders.values()):
        ledger.hold(tensors_in(part))
    engine = Engine(config.run.precision, torch.device("cpu"), Team())
    if device == "meta":
        with on_device("cpu", config.run.precision), ledger:
            loss, _ = training_loss(model, batch, config, encode_captions)
            backward(loss)
    else:
        with ledger:
            with engine.autocast():
                loss, _ = training_loss(model, batch, config, encode_captions)
            loss.backward()
    assert ledger.now > ledger.held
    return ledger.peak - ledger.held


def test_the_lists_of_half_precision_are_pytorchs_own():
    header = (Path(torch.__file__).parent / "include/ATen/autocast_mode.h").read_text()
    macros = re.findall(r"#define AT_FORALL_(\w+)\(_\)((?:.*\\\n)*.*)", header)
    lists = {name: set(re.findall(r"_\((?:ADD_NS\()?(\w+)", text)) for name, text in macros}
    spelled = {"__matmul__": "matmul", "__rmatmul__": "matmul", "__pow__": "pow", "__rpow__": "pow", "square": "pow"}
    spelled |= {"vector_norm": "linalg_vector_norm", "interpolate": "upsample_nearest2d"}
    spelled |= {"__rdiv__": "reciprocal", "__rtruediv__": "reciprocal"}
    assert {spelled.get(name, name) for name in HALF} <= lists["LOWER_PRECISION_FP"]
    whole = lists["FP32"] | lists["FP32_SET_OPT_DTYPE"] | lists["DIFFERENT_REDISPATCH_SIGNATURE"]
    assert {spelled.get(name, name) for name in WHOLE["cuda"]} <= whole


def test_gpus_keep_norms_in_32_bits_and_products_in_16():
    values = torch.empty(4, 8, device="meta", dtype=torch.bfloat16)
    with HalfPrecision(torch.bfloat16, "cuda"):
        normed = torch.nn.functional.layer_norm(values, (8,))
        assert normed.dtype == torch.float32
        assert linear(normed, torch.empty(3, 8, device="meta")).dtype == torch.bfloat16
    with HalfPrecision(torch.bfloat16, "cpu"):
        assert torch.nn.functional.layer_norm(values, (8,)).dtype == torch.bfloat16


def test_large_blocks_go_back_to_the_system_and_small_ones_leave_holes():
    heap = Heap()
    large = heap.allocate(100 * 2**20)
    assert large == -1 and heap.taken >= 100 * 2**20
    heap.free(large, 100 * 2**20)
    assert heap.taken == 0
    blocks = [(heap.allocate(10**5), 10**5) for _ in range(100)]
    taken = heap.taken
    for block in blocks[:-1]:
        heap.free(*block)
    assert heap.taken == taken, "the last one keeps the heap's end where it is"
    assert len({heap.allocate(10**4) for _ in range(500)}) == 500
    assert heap.taken == taken, "smaller ones fit into the holes"


def test_a_program_takes_at_least_what_its_tensors_need():
    sizes = [3000 * (1 + number * 7919 % 50) for number in range(300)]
    events = []
    for number, size in enumerate(sizes):
        events.append((number, size))
        if number >= 20:
            events.append((number - 20, -sizes[number - 20]))
    alive = max(sum(sizes[max(0, end - 21) : end]) for end in range(1, 301))
    assert alive <= taken_on_cpu(events) < 4 * alive


def test_a_block_that_two_tensors_share_is_counted_once():
    tensor = torch.zeros(10)
    assert size_of([tensor, tensor[2:], torch.zeros(5)]) == 60
