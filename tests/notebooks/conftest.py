"""Colab's notebook stack, made once for all tests here."""

from pathlib import Path

import pytest

from tests.notebooks.colab import make_environment, write_kernel


@pytest.fixture(scope="session")
def colab_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment with Colab's versions."""
    return make_environment(tmp_path_factory.mktemp("colab") / "environment")


@pytest.fixture
def colab_kernel(colab_python: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a kernel that runs there."""
    write_kernel(colab_python, tmp_path)
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    monkeypatch.delenv("PYTHONPATH", raising=False)
    monkeypatch.setenv("PYDEVD_DISABLE_FILE_VALIDATION", "1")
    return "colab"
