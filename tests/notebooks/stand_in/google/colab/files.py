"""Files to and from the browser: nothing is ever chosen."""


def upload(target_dir: str = "") -> dict[str, bytes]:
    return {}


def download(filename: str) -> None:
    """Nobody takes it."""
