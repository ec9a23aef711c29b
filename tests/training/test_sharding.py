"""A base model that is cut up: each process keeps its share, and the answers are those of the whole one."""

import os
import subprocess
import sys

import pytest

from lora_nb.config_file import make_config
from lora_nb.errors import ConfigError
from lora_nb.training import runs
from lora_nb.training.acceleration import Team
from lora_nb.training.runs import train_project
from lora_nb.training.sharding import check_sharding

PROCESS = """
import sys
import torch
from torch.distributed.tensor import DTensor
from lora_nb.adapters.kinds import add_adapter
from lora_nb.config import AdapterConfig, ModelConfig
from lora_nb.models.base import load_model
from lora_nb.training.acceleration import Team
from lora_nb.training.sharding import shard_denoiser

torch.distributed.init_process_group("gloo")
team = Team(2, torch.distributed.get_rank(), torch.device("cpu"), shards=True)
latents, times = torch.ones(1, 16, 8, 8), torch.tensor([0.5])


def held(*parts):
    parameters = [each for part in parts for each in part.parameters() if not each.requires_grad]
    return sum((each.to_local() if isinstance(each, DTensor) else each).numel() for each in parameters)


def ask(model):
    answer = model.predict(latents, times, conditioning)
    answer.square().mean().backward()
    trained = [each for each in model.denoiser.parameters() if each.requires_grad]
    gradients = [each.grad for each in trained]
    for each in trained:
        each.grad = None
    return answer.detach(), gradients


for kind in ("lora", "dora", "loha", "lokr"):
    model = load_model(ModelConfig(family="flux", base=sys.argv[1]))
    conditioning = {name: each.detach() for name, each in model.encode_captions(["mochi"]).items()}
    add_adapter(model, AdapterConfig(kind=kind, rank=4), seed=1)
    blocks = [*model.denoiser.transformer_blocks, *model.denoiser.single_transformer_blocks]
    whole, whole_blocks, expected = held(model.denoiser), held(*blocks), ask(model)
    shard_denoiser(model, team)
    before = held(model.denoiser) / whole
    assert not any(isinstance(each, DTensor) for each in model.denoiser.parameters() if each.requires_grad)
    torch.testing.assert_close(ask(model), expected)
    shares = before, held(*blocks) / whole_blocks
    assert all(0.45 < share < 0.55 for share in shares), shares
    assert sum(each.abs().sum() for each in expected[1]) > 0
print("done")
torch.distributed.destroy_process_group()
"""


@pytest.mark.processes
def test_each_process_keeps_half_and_answers_as_the_whole(tiny_flux_folder, tmp_path):
    (tmp_path / "process.py").write_text(PROCESS)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    variables = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [*command, tmp_path / "process.py", tiny_flux_folder],
        env=variables,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert done.stdout.count("done") == 2


def test_what_cannot_be_cut_up_is_refused_with_the_way_out(project, config, monkeypatch):
    assert check_sharding(make_config({"model": {"family": "flux"}})) == []
    small = make_config({"model": {"family": "flux"}, "run": {"quantization": "nf4", "compile": True}})
    assert [problem.where for problem in check_sharding(small)] == ["run.quantization", "run.compile"]
    waiting = {"model": {"family": "flux"}, "run": {"offload": 0.5, "gradient_checkpointing": True}}
    assert [problem.where for problem in check_sharding(make_config(waiting))] == ["run.offload"]
    monkeypatch.setenv("FSDP_OFFLOAD_PARAMS", "true")
    assert [problem.where for problem in check_sharding(make_config({"model": {"family": "flux"}}))] == [
        "--fsdp_offload_params"
    ]
    monkeypatch.setattr(runs, "find_team", lambda device: Team(2, 0, shards=True))
    monkeypatch.setattr(Team, "agree", lambda self, value: value)  # there is no second process to ask
    with pytest.raises(ConfigError, match=r"Only Flux can be cut up(.|\n)*--multi_gpu"):
        train_project(project, config)
