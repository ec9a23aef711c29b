"""The table of causes: every entry explains its real messages, and keeps silent about anything else."""

import errno
import json
import os
import struct
from pathlib import Path

import pytest

from lora_nb.config import list_settings
from lora_nb.errors import ModelError
from lora_nb.explaining.causes import explain, explain_failure, explain_log, explain_text, load_causes

CAUSES = load_causes()
UNRELATED = [
    "ValueError: not enough values to unpack (expected 2, got 1)",
    "KeyError: 'memory'",
    "AttributeError: module 'torch' has no attribute 'foo'",
    "AttributeError: 'NoneType' object has no attribute 'cuda'",
    "TypeError: train() got an unexpected keyword argument 'rank'",
    "RuntimeError: The size of tensor a (3) must match the size of tensor b (4) at non-singleton dimension 0",
    "IndexError: list index out of range",
    "FileNotFoundError: [Errno 2] No such file or directory: '/home/me/too many open projects/triton/x.png'",
    "FileExistsError: [Errno 17] File exists: '/home/me/xformers/bitsandbytes'",
    "RuntimeError: expected a learning rate limit above 0",
    "ZeroDivisionError: division by zero",
    "AssertionError: ",
    "NameError: name 'model' is not defined",
    "RuntimeError: maximum recursion depth exceeded",
    "ImportError: cannot import name 'trian' from 'lora_nb.training.loop' (/x/loop.py)",
    "ModuleNotFoundError: No module named 'lora_nb.nothing'",
    "FutureWarning: `torch.cuda.amp.GradScaler(args...)` is deprecated.",
    "ValueError: loss must have the same length as the batch",
]


def cause_of(error: BaseException) -> str | None:
    found = explain(error)
    return found.cause if found else None


def raised(action) -> BaseException:
    with pytest.raises(Exception) as caught:
        action()
    return caught.value


def test_there_are_at_least_25_causes_each_with_a_name_of_its_own():
    names = [cause.explanation.cause for cause in CAUSES]
    assert len(names) >= 25 and len(set(names)) == len(names)


@pytest.mark.parametrize("cause", CAUSES, ids=lambda cause: cause.explanation.cause)
def test_every_cause_explains_its_examples_and_none_is_taken_by_another(cause):
    assert cause.examples
    for message in cause.examples:
        found = explain_text(message)
        assert found is not None, message
        assert found.cause == cause.explanation.cause, message
        assert "{" not in found.happened + found.fix


def test_every_setting_that_is_named_exists():
    known = {name for name, _ in list_settings()}
    assert [each for cause in CAUSES for each in cause.explanation.settings if each not in known] == []


@pytest.mark.parametrize("message", UNRELATED)
def test_nothing_else_is_explained(message):
    assert explain_text(message) is None


@pytest.mark.parametrize(
    ("number", "cause"),
    [
        (errno.ENOSPC, "disk-full"),
        (errno.EROFS, "read-only"),
        (errno.EACCES, "permission"),
        (errno.EMFILE, "too-many-files"),
        (errno.ENAMETOOLONG, "path-too-long"),
        (errno.ENOTCONN, "drive-lost"),
        (errno.EDQUOT, "quota"),
        (errno.ENOMEM, "main-memory"),
        (errno.EIO, "disk-damaged"),
    ],
)
def test_what_the_system_says_is_understood(number, cause):
    assert cause_of(OSError(number, os.strerror(number), "/home/me/x")) == cause


def test_real_errors_of_python_and_numpy():
    import numpy

    assert cause_of(raised(lambda: [0] * 10**15)) == "main-memory"
    assert cause_of(raised(lambda: numpy.zeros((10**9, 10**6)))) == "main-memory"
    assert cause_of(raised(lambda: __import__("no_such_package"))) == "package-missing"
    assert "no_such_package" in str(explain(raised(lambda: __import__("no_such_package"))))
    assert cause_of(raised(lambda: Path("/content/drive/MyDrive/nothing/x").read_bytes())) == "drive-not-mounted"
    assert cause_of(raised(lambda: b"\xff\xfe".decode("utf-8"))) == "text-encoding"


def test_real_errors_of_torch():
    import torch

    module = torch.nn.Linear(2, 2)
    assert cause_of(raised(lambda: torch.empty(10**15))) == "main-memory"
    assert cause_of(raised(lambda: torch.ones(77, 2048) @ torch.ones(768, 320))) == "wrong-architecture"
    assert cause_of(raised(lambda: module(torch.ones(1, 2, dtype=torch.float16)))) == "mixed-numbers"
    other = {"weight": torch.ones(3, 2), "bias": torch.ones(3)}
    assert cause_of(raised(lambda: module.load_state_dict(other))) == "wrong-architecture"
    assert cause_of(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")) == "gpu-memory"
    if not torch.cuda.is_available():
        assert cause_of(raised(lambda: torch.ones(1).to("cuda"))) == "cuda-missing"


def test_real_errors_of_safetensors(tmp_path):
    from safetensors import safe_open

    def read(content: bytes):
        path = tmp_path / "model.safetensors"
        path.write_bytes(content)
        with safe_open(path, "numpy") as file:
            file.keys()

    header = json.dumps({"a": {"dtype": "F32", "shape": [10], "data_offsets": [0, 40]}}).encode()
    whole = struct.pack("<Q", len(header)) + header + b"\0" * 40
    read(whole)
    for size in (0, 4, 20, len(whole) - 20):
        assert cause_of(raised(lambda size=size: read(whole[:size]))) == "model-file-truncated"
    assert cause_of(raised(lambda: read(b"<!DOCTYPE html><html>" + b" " * 500))) == "not-a-model-file"


def test_real_errors_of_the_libraries(tmp_path):
    import peft
    import requests
    import torch
    from diffusers import UNet2DConditionModel
    from PIL import Image

    (tmp_path / "x.png").write_bytes(b"no picture")
    assert cause_of(raised(lambda: Image.open(tmp_path / "x.png"))) == "picture-unreadable"
    assert cause_of(raised(lambda: UNet2DConditionModel.from_pretrained(tmp_path))) == "model-incomplete"
    layers = peft.LoraConfig(target_modules=["nothing"])
    assert (
        cause_of(raised(lambda: peft.get_peft_model(torch.nn.Sequential(torch.nn.Linear(2, 2)), layers)))
        == "layers-not-found"
    )
    assert cause_of(raised(lambda: requests.get("http://127.0.0.1:9/x", timeout=3))) == "no-internet"


def test_the_hub_says_what_the_table_knows(tmp_path, monkeypatch):
    from huggingface_hub import hf_hub_download

    error = raised(lambda: hf_hub_download("owner/name", "x.json", cache_dir=tmp_path, local_files_only=True))
    assert cause_of(error) == "hub-offline"


def test_our_own_errors_speak_for_themselves():
    assert explain(ModelError("The GPU: CUDA out of memory. Lower run.batch_size.")) is None
    assert explain_failure("ModelError", "CUDA out of memory", "RuntimeError: CUDA out of memory") is None


def test_the_error_behind_an_error_is_explained():
    try:
        try:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            raise ValueError("it was not saved") from error
    except ValueError as error:
        assert cause_of(error) == "disk-full"


def test_an_error_that_only_came_before_explains_nothing():
    try:
        try:
            raise ModuleNotFoundError("No module named 'xformers'")
        except ImportError:
            raise ValueError("something else") from None
    except ValueError as error:
        assert explain(error) is None
    text = (
        "ModuleNotFoundError: No module named 'xformers'\n\nDuring handling of the above exception, another exception "
    )
    assert explain_failure("ValueError", "something else", f"{text}occurred:\n\nValueError: something else") is None


def test_a_traceback_is_read_without_its_lines_of_code():
    text = """Traceback (most recent call last):
  File "x.py", line 3, in <module>
    raise ValueError("CUDA out of memory")
"""
    assert explain_log(text + "ValueError: nothing") is None
    found = explain_log(text + "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 MiB.")
    assert found is not None and found.cause == "gpu-memory"


def test_an_explanation_says_what_happened_what_to_do_and_which_settings():
    happened, fix, settings = explain_text("OutOfMemoryError: CUDA out of memory").lines()
    assert "full" in happened and fix.startswith("What to do: ") and "run.micro_batch_size" in settings
