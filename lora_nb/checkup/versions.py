"""Which versions does lora_nb need, and which was it tested with?

What it needs stands in pyproject.toml, what it was tested with in constraints.txt. An installed package carries both in
its metadata; in a checkout they lie beside it.
"""

import importlib.metadata
import re
import tomllib
from pathlib import Path

PACKAGE = Path(__file__).parents[1]
OLDEST_PYTHON, NEWEST_PYTHON = (3, 11), (3, 13)  # that it was tested with


def oldest_versions() -> dict[str, str]:
    """The packages that lora_nb needs, each with the oldest version that works."""
    try:
        needed = importlib.metadata.requires("lora-nb") or []
    except importlib.metadata.PackageNotFoundError:  # a checkout that was never installed
        needed = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text())["project"]["dependencies"]
    found = (re.match(r"([\w.-]+)>=([\d.]+)", each) for each in needed if "extra ==" not in each)
    return {match[1]: match[2] for match in found if match}


def tested_versions() -> dict[str, str]:
    """The versions that were tested together, by the plain names of their packages; empty if the list is lost."""
    beside = PACKAGE.parent / "constraints.txt"
    text = beside.read_text() if beside.is_file() else _read_carried_list()
    lines = (line.partition("==") for line in text.splitlines())
    return {plain_name(name): version.strip() for name, equals, version in lines if equals}


def numbers(version: str) -> tuple[int, ...]:
    """What two versions are compared by: 2.13.0+cpu is (2, 13). Development versions count as what they start with."""
    start = re.match(r"\d+(\.\d+)*", version)
    found = [int(part) for part in start[0].split(".")] if start else []
    while found and found[-1] == 0:
        found.pop()  # 2.13 and 2.13.0 are the same
    return tuple(found)


def plain_name(package: str) -> str:
    """A package's name as every spelling of it means: huggingface_hub and HuggingFace-Hub are one."""
    return re.sub(r"[-_.]+", "-", package.strip()).lower()


def _read_carried_list() -> str:
    try:
        return importlib.metadata.distribution("lora-nb").read_text("extra_metadata/constraints.txt") or ""
    except importlib.metadata.PackageNotFoundError:
        return ""
