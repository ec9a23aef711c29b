"""What is needed and what was tested is read from the lists that are there for pip."""

import importlib.metadata
import tomllib
from pathlib import Path

from lora_nb.checkup import versions
from lora_nb.checkup.versions import NEWEST_PYTHON, OLDEST_PYTHON, numbers, oldest_versions, plain_name

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_every_needed_package_has_an_oldest_and_a_tested_version():
    oldest, tested = oldest_versions(), versions.tested_versions()
    assert len(oldest) >= 18
    for name, version in oldest.items():
        assert numbers(tested[plain_name(name)]) >= numbers(version), name


def test_a_checkout_that_was_never_installed_knows_what_it_needs(monkeypatch):
    def unknown(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "requires", unknown)
    assert oldest_versions()["torch"] == next(
        each.removeprefix("torch>=") for each in PROJECT["project"]["dependencies"] if each.startswith("torch>=")
    )


def test_an_installed_package_carries_the_list_of_tested_versions(monkeypatch, tmp_path):
    carried = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["extra-metadata"]
    assert carried == {"constraints.txt": "constraints.txt"} and (ROOT / "constraints.txt").is_file()
    metadata = tmp_path / "lora_nb-0.1.0.dist-info"
    (metadata / "extra_metadata").mkdir(parents=True)
    (metadata / "extra_metadata" / "constraints.txt").write_text("# tested\nhuggingface_hub==2.4.0\n")
    monkeypatch.setattr(versions, "PACKAGE", tmp_path / "lora_nb")  # beside which there is no list
    monkeypatch.setattr(importlib.metadata, "distribution", lambda name: importlib.metadata.PathDistribution(metadata))
    assert versions.tested_versions() == {"huggingface-hub": "2.4.0"}


def test_a_list_that_is_lost_is_no_error(monkeypatch, tmp_path):
    def unknown(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(versions, "PACKAGE", tmp_path / "lora_nb")
    monkeypatch.setattr(importlib.metadata, "distribution", unknown)
    assert versions.tested_versions() == {}


def test_the_tested_pythons_are_those_that_the_package_declares():
    labels = [each.rpartition(" :: ")[2] for each in PROJECT["project"]["classifiers"] if "Python :: 3" in each]
    declared = [tuple(map(int, label.split("."))) for label in labels]
    assert (min(declared), max(declared)) == (OLDEST_PYTHON, NEWEST_PYTHON)
    assert PROJECT["project"]["requires-python"] == ">=3.11"


def test_versions_compare_by_their_numbers():
    assert numbers("2.13.0+cpu") == numbers("2.13") < numbers("2.13.1.dev3") < numbers("10.0")
    assert numbers("nonsense") == ()
