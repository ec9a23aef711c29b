"""Which base model and VAE was it? The names and hashes by which web UIs recognise a checkpoint file."""

import hashlib
from functools import cache
from pathlib import Path


@cache
def hash_checkpoint(base: Path) -> tuple[str, str]:
    """The web UIs' old and new hash of a single checkpoint file; once a process, for it may hold gigabytes."""
    if not base.is_file():
        return "IsADirectory", "IsADirectory"  # kohya hashes single files only
    with base.open("rb") as file:
        full = hashlib.file_digest(file, "sha256").hexdigest()
        file.seek(0x100000)
        return hashlib.sha256(file.read(0x10000)).hexdigest()[:8], full


def name_checkpoint(place: str) -> str:
    """What others may know of where a model lies: a hub name whole, of a path only the last part."""
    path = Path(place).expanduser()
    return path.name if path.exists() else place


def vae_metadata(vae: str) -> dict[str, str]:
    """What kohya writes of a VAE that is not the model's own: its name, and the hashes of what is on this machine."""
    if not vae:
        return {}
    path = Path(vae).expanduser()
    if not path.exists():
        return {"ss_vae_name": vae}
    short, full = hash_checkpoint(path)
    return {"ss_vae_name": name_checkpoint(vae), "ss_vae_hash": short, "ss_new_vae_hash": full}
