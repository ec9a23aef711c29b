"""The commands: the whole road on any folder, quick help, errors in words."""

import json
import subprocess
import sys
import time

import pytest
from PIL import Image
from typer.testing import CliRunner

from lora_nb.__main__ import app
from lora_nb.errors import ConfigError, ProjectError


def run(*arguments, code=0):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result.output


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, size in enumerate([(120, 80), (80, 120), (100, 100), (90, 90)]):
        Image.new("RGB", size, (60 * number, 90, 200)).save(folder / f"{number}.jpg")
    return folder


def test_help_answers_in_half_a_second():
    best = float("inf")
    for _ in range(3):
        started = time.perf_counter()
        subprocess.run([sys.executable, "-m", "lora_nb", "--help"], capture_output=True, check=True)
        best = min(best, time.perf_counter() - started)
    assert best < 0.5


def test_the_whole_road_by_command(tmp_path, photos, tiny_sd1_folder):
    project = tmp_path / "cats"
    assert "Next: lora-nb check" in run("new", project, "--images", photos, "--model", tiny_sd1_folder)
    config = json.loads((project / "config.json").read_text())
    config["data"] |= {"resolution": 64, "bucket_step": 16, "min_bucket_size": 32, "max_bucket_size": 128}
    config["samples"] |= {"width": 64, "height": 64, "steps": 2}
    (project / "config.json").write_text(json.dumps(config))

    checked = run("check", project)
    assert "4 pictures" in checked and "Nothing stands in the way" in checked
    plan = json.loads(run("plan", project, "--json", "--steps", "60"))
    assert plan["pictures"] == 4 and plan["repeats_for_target"] > 1
    assert plan["memory"]["peak"] > 0 and plan["cut_captions"] == [] and len(plan["captions"]) == 4
    shown = run("plan", project)
    assert f"= {plan['steps']} steps" in shown and "are read" not in shown
    assert "Memory (computed):" in shown and "each LoRA file" in shown and "0.jpg: cats" in shown
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lora_nb.forecast.fitting.LADDER", ())
        assert "no change of settings makes it fit" in run("plan", project, "--card", "0.001")
    picture = next((project / "images").rglob("*.[pj]*g"))
    picture.with_suffix(".txt").write_text("x, " * 90 + "y")
    assert "only 75 are read. It is cut at 'x'" in run("plan", project)
    (cut,) = json.loads(run("plan", project, "--json"))["cut_captions"]
    assert cut["where"] == picture.name
    picture.with_suffix(".txt").unlink()

    assert "LoRAs in" in run("train", project, "--epochs", "2", "--set", "adapter.rank=4", "--set", "adapter.alpha=2")
    assert "Plot: " in run("grid", project, "--weights", "0.5,1", "--prompt", "cats")
    assert (project / "grids" / "run1.png").exists()

    summary = json.loads(run("inspect", project / "runs" / "run1" / "loras" / "cats.safetensors", "--json"))
    assert summary["metadata"]["ss_network_dim"] == "4"
    assert "lora_unet" in run("inspect", project / "runs" / "run1" / "loras" / "cats.safetensors")


def test_check_fails_when_training_is_impossible(tmp_path):
    (tmp_path / "empty" / "images").mkdir(parents=True)
    assert "✗" in run("check", tmp_path / "empty", code=1)


def test_wrong_settings_and_folders_are_errors_in_words(tmp_path, photos):
    with pytest.raises(ProjectError, match="is not a project"):
        run("plan", tmp_path / "nowhere")
    run("new", tmp_path / "cats", "--images", photos)
    with pytest.raises(ConfigError, match=r"run\.epochs"):
        run("train", tmp_path / "cats", "--set", "run.epoch=3")
    assert "is not NAME=VALUE" in run("train", tmp_path / "cats", "--set", "epochs", code=2)


def test_errors_reach_the_user_without_a_traceback(tmp_path):
    result = subprocess.run(
        [sys.executable, "-m", "lora_nb", "plan", str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert result.returncode == 1
    assert result.stderr.startswith("lora-nb: ") and "Traceback" not in result.stderr


def test_an_unexpected_error_is_explained_above_its_traceback():
    script = (
        "import sys, errno, os, lora_nb.project, lora_nb.__main__ as command\n"
        "def full(folder): raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), folder)\n"
        "lora_nb.project.find_project = full\n"
        "sys.argv = ['lora-nb', 'runs', 'cats']\n"
        "command.main()"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert result.returncode == 1
    explained, _, traceback = result.stderr.partition("Traceback (most recent call last)")
    assert explained.startswith("lora-nb: The disk is full.") and "What to do: Make room" in explained
    assert "OSError: [Errno 28]" in traceback
    unknown = script.replace("OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), folder)", "ValueError('strange')")
    result = subprocess.run([sys.executable, "-c", unknown], capture_output=True, text=True, check=False)
    assert "has no explanation for" in result.stderr and "ValueError: strange" in result.stderr


def test_the_doctor_looks_at_this_machine(tmp_path):
    output = run("doctor", tmp_path)
    assert "precision" in output and "torch" in output
