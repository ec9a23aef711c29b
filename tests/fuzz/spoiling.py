"""How chance spoils what was whole: bytes, text, JSON."""

import os
import random
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any


def damage(chance: random.Random, content: bytes) -> bytes:
    """Cut, flip, insert, blank, repeat or append: what disks, downloads and editors do to files."""
    if not content:
        return chance.randbytes(chance.randrange(1, 20))
    at, length = chance.randrange(len(content)), chance.randrange(1, 1 + max(1, len(content) // 8))
    flipped = bytearray(content)
    flipped[at] ^= 1 << chance.randrange(8)
    return chance.choice(
        [
            content[:at],
            content[at:],
            bytes(flipped),
            content[:at] + chance.randbytes(length) + content[at:],
            content[:at] + bytes(length) + content[at + length :],
            content[:at] + content[at + length :],
            content[: at + length] + content[at:],
            content + chance.randbytes(length),
        ]
    )


def cut_or_flip(chance: random.Random, content: bytes) -> bytes:
    """What a failing disk does to a file: its end is lost, or one bit is another."""
    at = chance.randrange(len(content))
    if chance.random() < 0.5:
        return content[:at]
    flipped = bytearray(content)
    flipped[at] ^= 1 << chance.randrange(8)
    return bytes(flipped)


def odd_text(chance: random.Random) -> str:
    """What people, and people who want to do harm, write into a field."""
    letters = "aé猫🐈\u202e\u200b\u0301‏שלום, ()[]{}|:<>&\"'\\/%$`\t\n"
    texts = [
        "",
        " ",
        "mochi, smile, red background",
        "<script>alert('x')</script>",
        "<img src=x onerror=alert(1)>",
        "\u202egnp.olleh",
        "((((red:1.2",
        "{a|b|{c}",
        ":(",
        ",,,,",
        "|||",
        "a|||b|||c|||d",
        "../../etc/passwd",
        "$(rm -rf /)",
        "%s%n",
        "NaN",
        "-1",
        "1e999",
        "null",
        "true",
        "mochi, " * 300,
        "x" * 5000,
        "".join(chance.choice(letters) for _ in range(chance.randrange(80))),
    ]
    return chance.choice(texts)


def odd_value(chance: random.Random, depth: int = 0) -> Any:
    """Any value that JSON may hold, at its strangest."""
    plain: list[Callable[[], Any]] = [
        lambda: None,
        lambda: chance.choice([True, False]),
        lambda: chance.choice([0, -1, 1, 7, 2**31, 2**63, -(2**63) - 1, 10**30, 10**400]),
        lambda: chance.choice([0.0, -0.0, 1e-320, 0.5, 1e308, float("inf"), float("-inf"), float("nan")]),
        lambda: odd_text(chance),
        lambda: "\ud800 half a character",
    ]
    nested: list[Callable[[], Any]] = [
        lambda: [odd_value(chance, depth + 1) for _ in range(chance.randrange(4))],
        lambda: {odd_text(chance)[:60]: odd_value(chance, depth + 1) for _ in range(chance.randrange(4))},
    ]
    return chance.choice(plain + (nested if depth < 4 else []))()


def odd_json(chance: random.Random, usual: bytes) -> bytes:
    """A file that is called .json."""
    deep = chance.choice([100, 900, 5000, 100_000])
    return chance.choice(
        [
            lambda: damage(chance, usual),
            lambda: damage(chance, damage(chance, usual)),
            lambda: b"",
            lambda: b"[" * deep + b"]" * deep,
            lambda: b'{"a":' * deep + b"1" + b"}" * deep,
            lambda: b"9" * deep,
            lambda: b'{"run": {"epochs": ' + b"9" * deep + b"}}",
            lambda: usual.decode().encode("utf-16"),
            lambda: b"\xef\xbb\xbf" + usual,
            lambda: usual.replace(b"e", "é".encode("latin-1"), 1),
            lambda: b"\x00" * chance.randrange(1, 400),
            lambda: chance.randbytes(chance.randrange(1, 400)),
            lambda: b"PK\3\4" + usual,
            lambda: b"<!doctype html><title>Sign in</title>",
            lambda: b'{"run": {"epochs": 3}, "run": {"epochs": 4}}',
            lambda: b'{"run": {"epochs": 3, "epochs": 4}}',
            lambda: b"null",
            lambda: b"NaN",
            lambda: b'"' + b"x" * 200_000 + b'"',
        ]
    )()


def no_file(chance: random.Random, path: Path) -> str:
    """Put something at a path that has a file's name but is none. Returns what it is."""
    kinds: dict[str, Callable[[], Any]] = {
        "folder": path.mkdir,
        "pipe": lambda: os.mkfifo(path),
        "link to nothing": lambda: path.symlink_to("nowhere"),
        "link to itself": lambda: path.symlink_to(path.name),
        "endless device": lambda: path.symlink_to("/dev/zero"),
        "empty device": lambda: path.symlink_to("/dev/null"),
        "socket": lambda: _bind(path),
    }
    kind = chance.choice(sorted(kinds))
    kinds[kind]()
    return kind


def _bind(path: Path) -> None:
    """A socket's path may be short only, so its folder is entered."""
    here = os.open(".", os.O_RDONLY)
    try:
        os.chdir(path.parent)
        with socket.socket(socket.AF_UNIX) as end:
            end.bind(path.name)
    finally:
        os.fchdir(here)
        os.close(here)
