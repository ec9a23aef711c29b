"""Secrets: there are none."""


class SecretNotFoundError(Exception):
    pass


class NotebookAccessError(Exception):
    pass


class TimeoutException(Exception):
    pass


def get(key: str) -> str:
    raise SecretNotFoundError(f"Secret {key} does not exist.")
