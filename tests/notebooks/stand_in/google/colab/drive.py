"""Google Drive: not there."""


def mount(mountpoint: str, force_remount: bool = False, timeout_ms: int = 120000, readonly: bool = False) -> None:
    raise ValueError("mount failed")


def flush_and_unmount(timeout_ms: int = 0) -> None:
    """Nothing is mounted."""
