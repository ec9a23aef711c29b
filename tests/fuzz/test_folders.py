"""Folders with any name, in any shape, with links in circles: every picture is trained on or spoken of."""

import os

import pytest

from lora_nb.config_file import make_config
from lora_nb.dataset.adding import add_pictures
from lora_nb.dataset.checks import check_dataset
from lora_nb.dataset.folders import EXTENSIONS
from lora_nb.dataset.images import scan_images
from lora_nb.dataset.overview import view_pictures
from lora_nb.dataset.steps import plan_steps
from lora_nb.errors import ProjectError
from lora_nb.project import make_project, open_project
from tests.dataset.pictures import save
from tests.fuzz.contract import attempt, check_problem, contents_of, run_cases

NAMES = (
    *(
        "3_cat",
        "10 mochi",
        "10-mochi",
        "abc_foo",
        "0_x",
        "-3_x",
        "1e9_x",
        "1.5_x",
        "007_x",
        "+3_x",
        "3__x",
        "3_ ",
        "3_",
    ),
    *(
        " 3_cat",
        "3_cat ",
        "٣_cat",
        "99999999999999999999_x",
        "9" * 200 + "_x",
        "20240101_cats",
        "3_猫 🐈",
        "3_\u202etac",
    ),
    *(
        "3_<script>",
        "3_a'b\"c",
        "3_%s",
        "3_" + "x" * 240,
        "1000_many",
        "_excluded",
        "masks",
        "regularisation",
        ".hidden",
    ),
    *("__MACOSX", "3_a\nb", "3_\udcff", "con", "3_x.png", "3_...", "3_..", "~", "$HOME", "*", "3_?", "é", "e\u0301"),
)
FILES = (
    "a.png",
    "b.JPG",
    "c.webp",
    ".d.png",
    "e.gif",
    "f.txt",
    "g\udcff.png",
    "h" * 240 + ".png",
    "i\n.png",
    "j.mask.png",
)
CONFIG = make_config({"data": {"resolution": 64, "bucket_step": 16, "min_bucket_size": 32, "max_bucket_size": 128}})


def test_every_picture_of_an_odd_tree_is_used_or_spoken_of(tmp_path):
    def case(chance, folder):
        root = folder / "images"
        root.mkdir()
        grow(chance, root, depth=0)
        dataset = attempt(lambda: scan_images(root), untouched=folder).result
        problems = [*dataset.problems, *attempt(lambda: check_dataset(dataset, CONFIG)).result]
        for problem in problems:
            check_problem(problem)
        used = {item.path for item in dataset.items}
        text = "\n".join(f"{problem.where} {problem.message}" for problem in problems)
        for path in pictures_in(root):
            assert path in used or is_spoken_of(path, root, text), path
        plan = attempt(lambda: plan_steps(dataset, CONFIG), names=root.name)
        return plan.word

    run_cases("folders", 250, case, tmp_path)


def test_an_odd_tree_is_taken_into_a_project_without_loss(tmp_path):
    def case(chance, folder):
        source = folder / "source"
        source.mkdir()
        grow(chance, source, depth=0)
        project = attempt(lambda: open_project(folder / "project")).result
        if chance.random() < 0.5:
            outcome = attempt(lambda: add_pictures(project, source), untouched=source)
            for problem in outcome.result.problems if outcome.result else ():
                check_problem(problem)
        else:
            outcome = attempt(lambda: make_project(folder / "other", source), untouched=source)
            project = outcome.result or project
        before = contents_of(project.images)
        attempt(lambda: view_pictures(project, CONFIG), untouched=project.images)
        assert contents_of(project.images) == before
        return outcome.word

    run_cases("taken in", 150, case, tmp_path)


NO_FOLDERS = (
    "a\0b",
    "x" * 5000,
    "~nobody_is_called_so/x",
    "/proc/nothing",
    "/dev/null",
    "",
    "\udcff" * 300,
    "a/" * 3000,
)


@pytest.mark.parametrize("name", NO_FOLDERS, ids=range(len(NO_FOLDERS)))
def test_what_cannot_be_a_folder_is_refused_in_words(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    for use in (open_project, scan_images, lambda path: make_project(tmp_path / "new", path or "nothing")):
        attempt(lambda use=use: use(name))


def test_a_folder_in_a_circle_of_links_is_copied_once(tmp_path):
    save(tmp_path / "photos" / "3_cat" / "a.png")
    for name in ("one", "two"):
        (tmp_path / "photos" / "3_cat" / name).symlink_to(tmp_path / "photos")
    os.mkfifo(tmp_path / "photos" / "pipe.png")
    project = make_project(tmp_path / "new", tmp_path / "photos")
    assert [path.name for path in project.images.rglob("*")] == ["3_cat", "a.png"]


def test_a_number_of_repeats_that_no_training_ends_is_refused(tmp_path):
    save(tmp_path / "20240101_cats" / "a.png")
    dataset = scan_images(tmp_path)
    assert not dataset.items and "Is it a date or a size?" in dataset.problems[0].fix


def test_a_path_that_cannot_be_one_is_an_error_of_ours(tmp_path):
    with pytest.raises(ProjectError, match="cannot be a folder"):
        open_project("a\0b")


def grow(chance, folder, depth):
    """Fill a folder with pictures, captions, links and folders of odd names."""
    for name in chance.sample(FILES, chance.randrange(4)):
        path = folder / name
        if path.suffix.lower() in EXTENSIONS and chance.random() < 0.9:
            kind = "JPEG" if path.suffix == ".JPG" else path.suffix[1:]
            save(path, size=(chance.randrange(30, 70), 48), format=kind)
        else:
            path.write_bytes(b"mochi")
    for name in chance.sample(NAMES, chance.randrange(1, 5) if depth < 3 else 0):
        path = folder / name
        if chance.random() < 0.2:
            path.symlink_to(chance.choice([".", "..", "nowhere", folder, "/dev/null", name]))
        elif name not in (".", "..") and not os.path.lexists(path):
            path.mkdir()
            grow(chance, path, depth + 1)


def pictures_in(root):
    """All that look like pictures and are not hidden, but for what is excluded and masks."""
    for place, folders, files in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith((".", "__MACOSX", "_excluded", "masks"))]
        for name in files:
            path = root.__class__(place) / name
            if path.suffix.lower() in EXTENSIONS and not name.startswith(".") and not name.endswith(".mask.png"):
                yield path


def is_spoken_of(path, root, text):
    """Whether a message names it, or a folder that it is in (long names are cut), or it lies beside folders in use."""
    names = [part.encode("utf-8", "backslashreplace").decode()[:57] for part in path.relative_to(root).parts]
    return any(name in text for name in names) or (path.parent == root and "Beside the <repeats>" in text)
