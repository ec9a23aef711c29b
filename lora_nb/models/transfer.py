"""One large file over the internet: with a bar, continued after a cut, checked, and never half there."""

import hashlib
import os
import re
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lora_nb.errors import ModelError

CHUNK = 64 << 10  # bytes; what a cut connection has begun to send of one is lost
TRIES = 6  # in a row without a single new byte
PATIENCE = 2.0  # seconds before the second try; each further one waits twice as long
LONGEST_WAIT = 60.0
TIMEOUT = 30.0  # seconds without a byte


class Busy(Exception):
    """The server asks to come back later."""


@dataclass(frozen=True)
class RemoteFile:
    """What is known of a file before it is fetched."""

    url: str
    name: str  # what the user calls it, for messages
    sha256: str = ""  # empty if the server does not say
    size: int | None = None  # bytes, if known exactly
    headers: dict[str, str] = field(default_factory=dict, repr=False)  # may hold a token: kept out of all messages
    refusal_advice: str = ""  # what to do when the server answers "not allowed"


def download_file(remote: RemoteFile, path: Path) -> Path:
    """Fetch a file to `path`, or continue where an earlier try was cut off. It appears there whole or not at all.

    Raises ModelError, in words, for a full disk, a refusal, a web page instead of a file, and a wrong size or hash.
    """
    if path.is_file():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    resumed = part.exists()
    _fetch(remote, part)
    if not _is_intact(remote, part):
        part.unlink()
        if resumed:  # what lay there was of another file: begin anew, once
            return download_file(remote, path)
        raise ModelError(
            f"{remote.name} arrived damaged: its SHA256 is not {remote.sha256}, which its page says. It was deleted. "
            "Try again; if it happens again, the file on the server is not the one that was published."
        )
    os.replace(part, path)
    return path


def check_disk(folder: Path, needed: int, name: str) -> None:
    """Raise ModelError unless so many bytes fit."""
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise ModelError(
            f"{name} needs {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free in {folder}. Make room there, or "
            "choose another place: HF_HOME for models from the hub, LORA_NB_MODELS for those from Civitai."
        )


def explain_status(status: int, remote: RemoteFile) -> str:
    """What an HTTP answer that is no success means for the user."""
    host = re.sub(r"^https?://([^/]+).*", r"\1", remote.url)
    reasons = {
        401: f"{host} wants to know who asks (401). {remote.refusal_advice}",
        403: f"{host} refuses it (403). {remote.refusal_advice}",
        404: f"{host} does not have it (404): it was deleted, or the number or name is wrong.",
        429: f"{host} has been asked too often (429). Wait some minutes and try again.",
    }
    usual = f"{host} answered with error {status}: it has a problem of its own. Try again later."
    return f"{remote.name} could not be fetched: {reasons.get(status, usual)}"


def _fetch(remote: RemoteFile, part: Path) -> None:
    """Ask again and again until the part holds all bytes; give up after some tries without a new one."""
    import requests

    failures, trouble = 0, ""
    while failures < TRIES:
        if failures:
            time.sleep(min(LONGEST_WAIT, PATIENCE * 2 ** (failures - 1)))
        before = _size(part)
        try:
            if _continue(remote, part):
                return
            trouble = "the connection was cut"
        except Busy as busy:
            trouble = str(busy)
        except requests.RequestException as error:
            trouble = f"the connection was cut ({type(error).__name__})"
        failures = 0 if _size(part) > before else failures + 1
    raise ModelError(
        f"{remote.name} could not be fetched: {trouble}, {TRIES} times in a row. {_size(part) / 1e6:.0f} MB are kept "
        "and will be continued from. Check the internet connection and try again."
    )


def _continue(remote: RemoteFile, part: Path) -> bool:
    """One request for what is missing. Returns whether everything is there now."""
    import requests

    have = _size(part)
    headers = remote.headers | ({"Range": f"bytes={have}-"} if have else {})
    with requests.get(remote.url, headers=headers, stream=True, timeout=TIMEOUT) as answer:
        if answer.status_code == 416:  # nothing is left to send, or the file has become shorter
            total = _total(answer, 0)
            if total == have:
                return True
            part.unlink(missing_ok=True)
            return False
        if answer.status_code in (429, 500, 502, 503, 504):
            _wait(answer)
            raise Busy(f"the server was busy (error {answer.status_code})")
        if answer.status_code >= 400:
            raise ModelError(explain_status(answer.status_code, remote))
        if "text/html" in answer.headers.get("Content-Type", ""):
            raise ModelError(
                f"{remote.name} could not be fetched: instead of a model came a web page, as for visitors who have "
                f"not logged in. {remote.refusal_advice}"
            )
        if answer.status_code != 206:
            have = 0  # the server does not continue files: from the beginning
        total = _total(answer, have)
        check_disk(part.parent, (total or 0) - have, remote.name)
        _save(answer, part, have, total, remote.name)
    if remote.size is not None and total not in (None, remote.size):
        part.unlink()
        raise ModelError(
            f"{remote.name} has {total} bytes on the server, but its page says {remote.size}: it is not the file that "
            "was published. It was deleted."
        )
    return total is None or _size(part) == total


def _save(answer: Any, part: Path, have: int, total: int | None, name: str) -> None:
    from tqdm.auto import tqdm

    with (
        part.open("ab" if have else "wb") as file,
        tqdm(desc=name, initial=have, total=total, unit="B", unit_scale=True, mininterval=1.0) as bar,
    ):
        for chunk in answer.iter_content(CHUNK):
            file.write(chunk)
            bar.update(len(chunk))


def _wait(answer: Any) -> None:
    """Wait as long as the server asks, within reason."""
    seconds = answer.headers.get("Retry-After", "")
    time.sleep(min(LONGEST_WAIT, float(seconds)) if seconds.isdigit() else 0)


def _total(answer: Any, have: int) -> int | None:
    """The size of the whole file, as the answer says: "bytes 5-9/10", or what it sends and what is there."""
    found = re.search(r"/(\d+)$", answer.headers.get("Content-Range", ""))
    if found:
        return int(found[1])
    length = answer.headers.get("Content-Length", "")
    return have + int(length) if length.isdigit() else None


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _is_intact(remote: RemoteFile, part: Path) -> bool:
    if not remote.sha256:
        return True
    with part.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest().lower() == remote.sha256.lower()
