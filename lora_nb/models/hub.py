"""Models from the Hugging Face hub, by their name: only the files that are needed, only safetensors.

The hub's own client does the work: it keeps files in its cache, continues what was cut off, and reads HF_ENDPOINT,
HF_HOME and HF_TOKEN from the environment.
"""

import hashlib
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from lora_nb.errors import ModelError
from lora_nb.models.checkpoint import PICKLES
from lora_nb.models.transfer import check_disk

# parts of a model in diffusers format that are read here; safety checkers and converted copies are left
PARTS = (
    "unet",
    "transformer",
    "vae",
    "scheduler",
    "text_encoder",
    "text_encoder_2",
    "tokenizer",
    "tokenizer_2",
)
PLAIN = re.compile(r"/(diffusion_pytorch_model|model)(-\d+-of-\d+)?\.safetensors(\.index\.json)?$")
KINDS = (".safetensors", ".json", ".txt", ".model")  # weights, settings, vocabularies
HUB_NAME = re.compile(r"([\w-][\w.-]*/[\w.-]+?)(?:/([\w./ -]+\.safetensors))?")  # owner/name, or owner/name/file


@dataclass(frozen=True)
class HubFile:
    """One file of a repository."""

    name: str
    size: int
    sha256: str  # empty for small files


def is_hub_name(base: str) -> bool:
    """Whether a text looks like owner/name, or owner/name/file.safetensors."""
    found = HUB_NAME.fullmatch(base)
    return bool(found) and (bool(found and found[2]) or not base.endswith((".safetensors", *PICKLES)))


def fetch_from_hub(base: str, parts: Iterable[str] = PARTS, half: bool = False) -> Path:
    """Download a model, unless it is in the hub's cache, and return its folder, or its file if it is a single one.

    parts: which ones are needed of a model in diffusers format. half: take the 16-bit edition where there is one.
    """
    found = HUB_NAME.fullmatch(base)
    if not found:
        raise ModelError(f"{base!r} is not a name on the hub, such as 'owner/name'.")
    name, file = found[1], found[2]
    try:
        files = _list_files(name)
    except Exception as error:
        cached = _find_cached(name, file)
        if cached:
            return cached
        raise _explain(error, name) from error
    wanted = choose_files(files, tuple(parts), half, file, name)
    try:
        return _download(name, wanted)
    except ModelError:
        raise
    except Exception as error:  # the hub's client raises many kinds, which differ between its versions
        raise _explain(error, name) from error


def choose_files(
    files: list[HubFile], parts: tuple[str, ...], half: bool, file: str | None, name: str
) -> list[HubFile]:
    """Which files of a repository to fetch. Raises ModelError if there is no model that can be read."""
    if file:
        chosen = [each for each in files if each.name == file]
        if not chosen:
            raise ModelError(f"There is no file {file!r} in {name} on the hub.")
        return chosen
    if not any(each.name == "model_index.json" for each in files):
        return _choose_single(files, name)
    chosen = [each for each in files if each.name == "model_index.json"]
    for part in parts:
        inside = [each for each in files if each.name.startswith(f"{part}/") and each.name.endswith(KINDS)]
        chosen += [each for each in inside if not _is_weight(each)] + _choose_weights(inside, half)
    if not any(_is_weight(each) for each in chosen):
        raise ModelError(
            f"{name} on the hub has no .safetensors files. Pickled weights can run any program when they are opened, "
            "so they are not fetched: look for another edition of the model."
        )
    return chosen


def _choose_single(files: list[HubFile], name: str) -> list[HubFile]:
    alone = [each for each in files if each.name in ("config.json", "diffusion_pytorch_model.safetensors")]
    if len(alone) == 2:  # one network in diffusers format, such as a VAE
        return alone
    single = [each for each in files if each.name.endswith(".safetensors")]
    if len(single) == 1:
        return single
    names = ", ".join(each.name for each in single[:5])
    advice = f"Name the one you mean, such as {name}/{single[0].name}. There are: {names}." if single else ""
    raise ModelError(
        f"{name} on the hub is not in diffusers format (it has no model_index.json), and it has {len(single)} files in "
        f".safetensors format. {advice}"
    )


def _choose_weights(inside: list[HubFile], half: bool) -> list[HubFile]:
    """Of several editions in one folder, the plain one or the 16-bit one, with its index if it is in pieces."""
    weights = [each for each in inside if _is_weight(each)]
    plain = [each for each in weights if PLAIN.search(each.name)]
    fp16 = [each for each in weights if ".fp16" in each.name]
    return (fp16 or plain or weights) if half else (plain or fp16 or weights)


def _is_weight(file: HubFile) -> bool:
    return ".safetensors" in file.name


def _list_files(name: str) -> list[HubFile]:
    from huggingface_hub import HfApi

    info = HfApi(endpoint=_endpoint()).model_info(name, files_metadata=True)
    return [
        HubFile(each.rfilename, each.size or 0, each.lfs.sha256 if each.lfs else "") for each in info.siblings or []
    ]


def _download(name: str, files: list[HubFile]) -> Path:
    from huggingface_hub import constants, hf_hub_download, try_to_load_from_cache

    missing = [each for each in files if not isinstance(try_to_load_from_cache(name, each.name), str)]
    check_disk(Path(constants.HF_HUB_CACHE), sum(each.size for each in missing), name)
    path = Path()
    for each in files:
        path = Path(hf_hub_download(name, each.name, endpoint=_endpoint()))
        if each in missing and each.sha256:
            _check_hash(path, each, name)
    if len(files) == 1 and _is_weight(files[0]):
        return path
    return path.parents[files[-1].name.count("/")]


def _check_hash(path: Path, file: HubFile, name: str) -> None:
    with path.open("rb") as content:
        right = hashlib.file_digest(content, "sha256").hexdigest() == file.sha256
    if not right:
        path.resolve().unlink()
        path.unlink(missing_ok=True)
        raise ModelError(f"{file.name} of {name} arrived damaged: its SHA256 is wrong. It was deleted; try again.")


def _find_cached(name: str, file: str | None) -> Path | None:
    """What an earlier download left, for working without the internet."""
    from huggingface_hub import try_to_load_from_cache

    path = try_to_load_from_cache(name, file or "model_index.json")
    if not isinstance(path, str):
        return None
    return Path(path) if file else Path(path).parent


def _explain(error: Exception, name: str) -> ModelError:
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    if isinstance(error, GatedRepoError):
        return ModelError(
            f"{name} is gated: log in on huggingface.co/{name}, accept its licence, make a token that may read, and "
            "put it into the environment variable HF_TOKEN (on Colab: a secret of that name); or run `hf auth login`."
        )
    if isinstance(error, RepositoryNotFoundError):
        return ModelError(
            f"There is no {name!r} on the Hugging Face hub, or it is private: check the spelling; a private one needs "
            f"HF_TOKEN or `hf auth login`. If you meant a folder: there is none of that name in {Path.cwd()}."
        )
    status = getattr(getattr(error, "response", None), "status_code", None)
    said = f"error {status}" if status else _first_line(error)
    return ModelError(
        f"The model {name!r} could not be fetched from the Hugging Face hub ({said}). Check the internet connection "
        "and try again: what has arrived is kept and continued from."
    )


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def _endpoint() -> str | None:
    return os.environ.get("HF_ENDPOINT")
