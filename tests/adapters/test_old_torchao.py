"""Colab ships a torchao that peft refuses to work beside. In a fresh process, as on Colab."""

import os
import subprocess
import sys
from pathlib import Path

SCRIPT = """
from lora_nb.adapters.kinds import add_adapter
from lora_nb.config import AdapterConfig, ModelConfig
from lora_nb.models.base import load_model
model = load_model(ModelConfig(base={base!r}))
{trap}
print(sum(len(part) for part in add_adapter(model, AdapterConfig(), seed=0).values()))
"""
PEFT_REFUSES = """
import peft.import_utils
try:
    peft.import_utils.is_torchao_available()
except ImportError as error:
    print("peft:", error)
"""


def test_a_lora_is_put_on_beside_an_old_torchao(tiny_sd1_folder: Path, tmp_path: Path):
    package = tmp_path / "torchao"
    package.mkdir()
    (package / "__init__.py").write_text("raise ImportError('nobody should import this')\n")
    record = tmp_path / "torchao-0.10.0.dist-info"
    record.mkdir()
    (record / "METADATA").write_text("Metadata-Version: 2.1\nName: torchao\nVersion: 0.10.0\n")
    script = SCRIPT.format(base=str(tiny_sd1_folder), trap=PEFT_REFUSES)
    path = os.pathsep.join([str(tmp_path), str(Path(__file__).parents[2])])
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=os.environ | {"PYTHONPATH": path}
    )
    lines = done.stdout.splitlines()
    assert any(line.startswith("peft: Found an incompatible version of torchao") for line in lines), done.stderr
    assert int(lines[-1]) > 10
