"""Colab's notebook stack in an environment of its own: its old widgets and kernel, and this environment's torch."""

import json
import os
import site
import subprocess
import venv
from pathlib import Path

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
COLAB = ("ipywidgets==7.7.1", "ipython==7.34.0", "ipykernel==6.17.1", "traitlets==5.7.1", "anywidget==0.9.21")
NEEDED_BY_THEM = ("setuptools<81", "ipython-genutils", "backcall", "decorator", "pickleshare", "nest-asyncio")


def make_environment(folder: Path) -> Path:
    """Make it and return its Python. What Colab pins comes first on its path, everything else from this environment."""
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    options = ["--quiet", "--disable-pip-version-check", "--no-deps"]
    subprocess.run([python, "-m", "pip", "install", *options, *COLAB, *NEEDED_BY_THEM], check=True)
    own = Path(run_python(python, "import site; print(site.getsitepackages()[0])").strip())
    ours = [path for path in site.getsitepackages() if Path(path).is_dir()]
    (own / "shared.pth").write_text("\n".join([*ours, str(HERE / "stand_in"), str(REPOSITORY)]) + "\n")
    write_old_torchao(own)
    return python


def write_old_torchao(folder: Path) -> None:
    """Colab's torchao is too old for peft. Importing it fails here, to show that nobody does."""
    (folder / "torchao").mkdir()
    (folder / "torchao" / "__init__.py").write_text("raise ImportError('nobody should import this')\n")
    record = folder / "torchao-0.10.0.dist-info"
    record.mkdir()
    (record / "METADATA").write_text("Metadata-Version: 2.1\nName: torchao\nVersion: 0.10.0\n")


def write_kernel(python: Path, folder: Path) -> None:
    """A kernel named "colab" below `folder`, which is to stand in JUPYTER_PATH."""
    place = folder / "kernels" / "colab"
    place.mkdir(parents=True)
    command = [str(python), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    environment = {"COLAB_RELEASE_TAG": "release-colab-stand-in", "PYTHONNOUSERSITE": "1"}
    kernel = {"argv": command, "display_name": "Colab", "language": "python", "env": environment}
    (place / "kernel.json").write_text(json.dumps(kernel))


def run_python(python: Path, script: str) -> str:
    """What a script prints there; its errors end the test."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment["COLAB_RELEASE_TAG"] = "release-colab-stand-in"
    done = subprocess.run([python, "-c", script], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout
