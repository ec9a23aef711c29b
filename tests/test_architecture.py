"""The shape of the project, kept by tests: who may import whom, how light an import is, what a notebook looks like."""

import ast
import json
import resource
import subprocess
import sys
import typing
from pathlib import Path

import pytest

import lora_nb
from lora_nb import config

PACKAGE = Path(lora_nb.__file__).parent
NOTEBOOKS = sorted((PACKAGE.parent / "notebooks").glob("*.ipynb"))

# A room may import the rooms to its left, and itself. Rooms in one pair of brackets stand side by side.
ORDER = [
    {"errors", "files"},
    {"config", "explaining", "locks"},
    {"config_file"},
    {"environment", "project", "tokens"},
    {"presets", "kohya", "checkup"},
    {"dataset"},
    {"captioners", "models"},
    {"adapters"},
    {"sampling"},
    {"training"},
    {"evaluation", "forecast"},
    {"widgets"},
    {"terminal"},
    {"caption_commands", "doctor_command", "plan_command", "run_commands"},
    {"__main__"},
]
RANK = {room: rank for rank, rooms in enumerate(ORDER) for room in rooms}
WORKSHOP_FILES = {"MODEL_FOLDER", "TAGGER_FOLDER"}  # all that other rooms may take from the workshop
NO_TORCH = ("errors", "files", "explaining", "config", "config_file", "project", "kohya", "dataset")


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports_of(path: Path) -> list[tuple[str, tuple[str, ...]]]:
    """Every imported module with the names taken from it."""
    found: list[tuple[str, tuple[str, ...]]] = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [(alias.name, ()) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.append((node.module or "", tuple(alias.name for alias in node.names)))
    return found


def own_imports() -> list[tuple[Path, str, tuple[str, ...]]]:
    """Every import of one room by another: (file, room, names)."""
    found = []
    for path in PACKAGE.rglob("*.py"):
        for module, names in imports_of(path):
            parts = module.split(".")
            if parts[0] != "lora_nb" or path == PACKAGE / "__init__.py":
                continue
            rooms = [parts[1]] if len(parts) > 1 else [name for name in names if name in {*RANK, "workshop"}]
            found += [(path, room, names) for room in rooms if room != room_of(path)]
    return found


def test_imports_point_one_way():
    wrong = [
        f"{path.relative_to(PACKAGE)} imports {room}"
        for path, room, _ in own_imports()
        if room_of(path) != "workshop" and room != "workshop" and RANK[room] >= RANK[room_of(path)]
    ]
    assert wrong == []


def test_no_room_needs_the_workshop_but_to_find_its_files():
    wrong = [
        f"{path.relative_to(PACKAGE)} imports {names} from the workshop"
        for path, room, names in own_imports()
        if room == "workshop" and room_of(path) != "__main__" and not set(names) <= WORKSHOP_FILES
    ]
    assert wrong == []


def test_the_workshop_does_without_widgets():
    assert not [path for path, room, _ in own_imports() if room_of(path) == "workshop" and room == "widgets"]


def test_only_widgets_import_ipywidgets():
    wrong = [
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        if room_of(path) != "widgets"
        and any(module.split(".")[0] in {"ipywidgets", "anywidget"} for module, _ in imports_of(path))
    ]
    assert wrong == []


def test_settings_and_pictures_need_no_torch():
    wrong = [
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        if room_of(path) in NO_TORCH
        and any(module.split(".")[0] in {"torch", "diffusers", "transformers"} for module, _ in imports_of(path))
    ]
    assert wrong == []


def test_importing_the_package_is_light():
    code = "import lora_nb, sys; print([m for m in ('torch', 'ipywidgets', 'numpy') if m in sys.modules])"
    best = float("inf")
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        # processor time, of the best of three: a busy machine must not fail this
        best = min(best, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert output.strip() == "[]"
    assert best < 0.3


def test_every_public_name_is_there():
    for name in lora_nb.__all__:
        assert getattr(lora_nb, name) is not None


def literal(section: type[config.Section], name: str) -> set[str]:
    return set(typing.get_args(section.model_fields[name].annotation))


def test_every_choice_has_its_function():
    from lora_nb.adapters.kinds import ADAPTERS
    from lora_nb.dataset.masks import MASKS
    from lora_nb.models.base import MODELS
    from lora_nb.models.sdxl import CROPS
    from lora_nb.models.timesteps import TIMESTEP_SAMPLINGS
    from lora_nb.sampling import SAMPLERS
    from lora_nb.training.losses import FLOW_WEIGHTS, HUBER_SCHEDULES, LOSS_WEIGHTS, LOSSES
    from lora_nb.training.optimizers import OPTIMIZERS
    from lora_nb.training.schedules import LR_SCHEDULERS

    assert literal(config.ModelConfig, "family") == set(MODELS)
    assert literal(config.ModelConfig, "crop_conditioning") == set(CROPS)
    assert literal(config.NoiseConfig, "timestep_sampling") == set(TIMESTEP_SAMPLINGS)
    assert literal(config.AdapterConfig, "kind") == set(ADAPTERS)
    assert literal(config.OptimizerConfig, "kind") == set(OPTIMIZERS)
    assert literal(config.OptimizerConfig, "lr_scheduler") == set(LR_SCHEDULERS)
    assert literal(config.LossConfig, "kind") == set(LOSSES)
    assert literal(config.LossConfig, "huber_schedule") == set(HUBER_SCHEDULES)
    assert literal(config.LossConfig, "weighting") == set(LOSS_WEIGHTS)
    assert literal(config.DataConfig, "loss_mask") == set(MASKS)
    assert literal(config.LossConfig, "flow_weighting") == set(FLOW_WEIGHTS)
    assert literal(config.PictureConfig, "sampler") == set(SAMPLERS)


def test_every_setting_explains_itself():
    for name, field in config.list_settings():
        assert field.title and field.description and len(field.description) > 5, name


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_notebook_is_clean_and_thin(path):
    cells = json.loads(path.read_text())["cells"]
    code = [("".join(cell["source"]), cell) for cell in cells if cell["cell_type"] == "code"]
    assert not [cell for _, cell in code if cell["outputs"] or cell["execution_count"]], "stored output"
    assert not [source for source, _ in code if len(source.splitlines()) > 8], "a cell over 8 lines"
    assert not [source for source, _ in code if "def " in source], "a cell defines a function"


def test_files_and_functions_stay_small():
    for path in PACKAGE.rglob("*.py"):
        lines = path.read_text().splitlines()
        limit = 450 if room_of(path) == "config" else 320  # these declare every setting with its help
        assert len(lines) <= limit, f"{path} has {len(lines)} lines: does it hold two ideas?"
        for node in ast.walk(ast.parse("\n".join(lines))):
            if isinstance(node, ast.FunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                assert length <= 75, f"{path}: {node.name} has {length} lines"


def test_the_readme_names_every_file():
    tree = (PACKAGE.parent / "README.md").read_text().split("```")
    named = {line.split()[0] for block in tree for line in block.splitlines() if line.startswith("  ") and line.split()}
    missing = [path for path in PACKAGE.rglob("*.py") if path.name not in named and path.name != "__init__.py"]
    assert missing == []
