"""Where are the keys for models that ask for a login? In the environment, in a file of the hub, in Colab's secrets."""

import os
from dataclasses import dataclass, field
from pathlib import Path

COLAB = "in Colab's secret"


@dataclass(frozen=True)
class Token:
    """A key to another service. Its text is never shown."""

    text: str = field(repr=False)
    source: str  # where it was found, in words


def find_civitai_token() -> Token | None:
    """The key to Civitai."""
    return _from_environment("CIVITAI_TOKEN") or _from_colab("CIVITAI_TOKEN")


def find_hub_token() -> Token | None:
    """The key to the Hugging Face hub, in the places and the order in which its own package looks."""
    named = _from_environment("HF_TOKEN") or _from_environment("HUGGING_FACE_HUB_TOKEN")
    return named or _from_hub_file() or _from_colab("HF_TOKEN")


def tokens_for_children() -> dict[str, str]:
    """Environment variables with the keys that only this process can read: Colab shows its secrets to the notebook."""
    found = {"HF_TOKEN": find_hub_token(), "CIVITAI_TOKEN": find_civitai_token()}
    return {name: token.text for name, token in found.items() if token and token.source.startswith(COLAB)}


def _from_environment(name: str) -> Token | None:
    text = os.environ.get(name)
    return Token(text, f"in the environment variable {name}") if text else None


def _from_hub_file() -> Token | None:
    """What `hf auth login` has saved."""
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    path = Path(os.environ.get("HF_TOKEN_PATH") or Path(home) / "token").expanduser()
    try:
        text = path.read_text().strip()
    except (OSError, ValueError):
        return None
    return Token(text, "saved by `hf auth login`") if text else None


def _from_colab(name: str) -> Token | None:
    """A secret of a Colab notebook: only its own kernel can read it, and only if it was allowed to."""
    try:
        from google.colab import userdata

        text = userdata.get(name)
    except Exception:  # not Colab, no such secret, not allowed, or no notebook behind this process
        return None
    return Token(str(text), f"{COLAB} {name}") if text else None
