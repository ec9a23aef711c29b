"""Models from Civitai, by their address or number: which file it is, and fetching it.

The address of the service can be changed with CIVITAI_ENDPOINT, the folder for models with LORA_NB_MODELS. Models that
ask for a login need a key: it is read from CIVITAI_TOKEN, or on Colab from a secret of that name; it is sent to Civitai
alone, and never written anywhere.
"""

import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlparse

from lora_nb.errors import ModelError
from lora_nb.models.transfer import TIMEOUT, RemoteFile, check_disk, download_file, explain_status
from lora_nb.tokens import find_civitai_token

ENDPOINT = "https://civitai.com"
LOGIN_ADVICE = (
    "Log in on civitai.com, see whether the model can be downloaded there, make an API key on your account's page, and "
    "put it into the environment variable CIVITAI_TOKEN (on Colab: a secret of that name)."
)
FORMS = (
    "https://civitai.com/models/ID, https://civitai.com/models/ID?modelVersionId=VERSION, "
    "https://civitai.com/api/download/models/VERSION, or civitai:VERSION"
)


def is_civitai(base: str) -> bool:
    """Whether a text means a model on Civitai."""
    return base.startswith("civitai:") or (urlparse(base).hostname or "").removeprefix("www.") == "civitai.com"


def fetch_from_civitai(base: str) -> Path:
    """Download a checkpoint, unless it is there already, and return its file."""
    model, version = read_address(base)
    known = _find_known(version)
    if known:
        return known
    if version is None:
        versions = _ask(f"models/{model}", base).get("modelVersions") or []
        if not versions:
            raise ModelError(f"{base} has no version that could be downloaded.")
        version = int(versions[0]["id"])  # the newest stands first
    known = _find_known(version)
    if known:
        return known
    facts = _ask(f"model-versions/{version}", base)
    remote, name = _choose_file(facts, base)
    size = remote.size or 0
    check_disk(models_folder(), size, remote.name)
    return download_file(remote, models_folder() / str(version) / name)


def read_address(base: str) -> tuple[int | None, int | None]:
    """The numbers of the model and of its version that an address names. Raises ModelError if it names neither."""
    short = re.fullmatch(r"civitai:\s*(\d+)", base)
    if short:
        return None, int(short[1])
    address = urlparse(base)
    asked = parse_qs(address.query).get("modelVersionId", [""])[0]
    download = re.match(r"/api/download/models/(\d+)", address.path)
    page = re.match(r"/models/(\d+)", address.path)
    version = int(download[1]) if download else int(asked) if asked.isdigit() else None
    if version is None and not page:
        raise ModelError(f"{base!r} is not the address of a model on Civitai. Give one like {FORMS}.")
    return int(page[1]) if page else None, version


def models_folder() -> Path:
    """Where models from Civitai are kept: a folder a version."""
    return Path(os.environ.get("LORA_NB_MODELS") or Path.home() / ".cache" / "lora_nb" / "models") / "civitai"


def _find_known(version: int | None) -> Path | None:
    folder = models_folder() / str(version)
    return next(iter(sorted(folder.glob("*.safetensors"))), None) if folder.is_dir() else None


def _ask(what: str, base: str) -> dict[str, Any]:
    """One question to Civitai's public interface."""
    import requests

    url = f"{_endpoint()}/api/v1/{what}"
    try:
        answer = requests.get(url, headers=_headers(), timeout=TIMEOUT)
    except requests.RequestException as error:
        raise ModelError(
            f"Civitai could not be reached for {base} ({type(error).__name__}). Check the internet connection."
        ) from error
    if answer.status_code >= 400:
        raise ModelError(explain_status(answer.status_code, RemoteFile(url, base, refusal_advice=LOGIN_ADVICE)))
    try:
        facts = answer.json()
    except ValueError:
        facts = None
    if not isinstance(facts, dict):
        raise ModelError(f"Civitai answered with a web page when it was asked for {base}. {LOGIN_ADVICE}")
    return facts


def _choose_file(facts: dict[str, Any], base: str) -> tuple[RemoteFile, str]:
    """Which of a version's files is the checkpoint, and what to call it here."""
    kind = (facts.get("model") or {}).get("type", "Checkpoint")
    if kind != "Checkpoint":
        raise ModelError(f"{base} is of the kind {kind!r}, not a checkpoint. Give a base model.")
    files = [file for file in facts.get("files") or [] if file.get("type") in ("Model", "Pruned Model")]
    safe = [file for file in files if str(file.get("name", "")).endswith(".safetensors")]
    if not safe:
        found = ", ".join(str(file.get("name")) for file in files) or "none"
        raise ModelError(
            f"{base} has no .safetensors file (its files: {found}). Pickled checkpoints can run any program when they "
            "are opened, so they are not fetched: choose another version of the model."
        )
    file = max(safe, key=lambda each: bool(each.get("primary")))
    remote = RemoteFile(
        url=f"{_endpoint()}/api/download/models/{facts['id']}" if not file.get("downloadUrl") else _own(file),
        name=str(file["name"]),
        sha256=str((file.get("hashes") or {}).get("SHA256") or ""),
        size=round(float(file["sizeKB"]) * 1024) if file.get("sizeKB") else None,
        headers=_headers(),
        refusal_advice=LOGIN_ADVICE,
    )
    return remote, re.sub(r"[^\w.+() -]", "_", Path(remote.name).name).lstrip(".")


def _own(file: dict[str, Any]) -> str:
    """The address of a file, at the service that was asked: the key is sent nowhere else."""
    address = urlparse(str(file["downloadUrl"]))
    return f"{_endpoint()}{address.path}" + (f"?{address.query}" if address.query else "")


def _endpoint() -> str:
    return os.environ.get("CIVITAI_ENDPOINT", ENDPOINT).rstrip("/")


def _headers() -> dict[str, str]:
    token = find_civitai_token()
    return {"Authorization": f"Bearer {token.text}"} if token else {}
