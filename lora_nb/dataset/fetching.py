"""A picture or a .zip of pictures from an address on the internet."""

import os
import re
import shutil
from pathlib import Path
from urllib.parse import unquote, urlparse

from lora_nb.dataset.archives import LARGEST_TOTAL, SPARE
from lora_nb.errors import DatasetError, Problem

TIMEOUT = 30.0  # seconds without a byte
_ENDINGS = {  # by the file's first bytes, for addresses that do not say
    b"PK\3\4": ".zip",
    b"\x89PNG": ".png",
    b"\xff\xd8\xff": ".jpg",
    b"BM": ".bmp",
}


def is_address(source: str) -> bool:
    return source.lower().startswith(("http://", "https://"))


def fetch_file(address: str, folder: Path) -> Path:
    """Fetch an address into a folder, and return the file. Raises DatasetError, with the reason in words."""
    import requests

    folder.mkdir(parents=True, exist_ok=True)
    room = min(LARGEST_TOTAL, shutil.disk_usage(folder).free - SPARE)
    part = folder / "fetched.part"
    try:
        with requests.get(address, stream=True, timeout=TIMEOUT) as answer:
            if answer.status_code != 200:
                raise _refuse(address, f"The server answers {answer.status_code} ({answer.reason}).")
            if "text/html" in answer.headers.get("Content-Type", ""):
                raise _refuse(address, "This is a web page, not a file.")
            size = 0
            with part.open("wb") as file:
                for chunk in answer.iter_content(1 << 20):
                    size += len(chunk)
                    if size > room:
                        raise _refuse(address, f"It is larger than the {room / 2**30:.1f} GiB that there is room for.")
                    file.write(chunk)
            name = _name(address, answer.headers.get("Content-Disposition", ""))
    except requests.RequestException as error:
        part.unlink(missing_ok=True)
        raise _refuse(address, f"It could not be fetched ({type(error).__name__}).") from error
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    with part.open("rb") as file:
        head = file.read(16)
    ending = next((ending for mark, ending in _ENDINGS.items() if head.startswith(mark)), "")
    ending = ".webp" if head[:4] == b"RIFF" and head[8:12] == b"WEBP" else ending
    path = folder / name
    if ending and path.suffix.lower() not in (ending, ".jpeg"):
        path = path.with_suffix(ending)
    os.replace(part, path)
    return path


def _name(address: str, disposition: str) -> str:
    """What the server or the address calls the file, without anything that leads elsewhere."""
    found = re.search(r'filename="?([^";]+)', disposition)
    name = found[1] if found else unquote(urlparse(address).path)
    name = re.sub(r"[\x00-\x1f<>:\"|?*]", "", name.replace("\\", "/").rsplit("/", 1)[-1]).strip(". ")
    return name[-100:] or "picture"


def _refuse(address: str, message: str) -> DatasetError:
    fix = "Give the address of the .zip or the picture itself, as your browser downloads it."
    return DatasetError("Nothing was fetched.", [Problem(address, message, fix)])
