"""Words with weights, as the web UIs write them: (word) counts 1.1 times, [word] 1/1.1 times, (word:1.3) 1.3 times.

Brackets may stand in brackets, and their weights are multiplied. A bracket that is meant as such is written \\( or \\[.
"""

import re

STRONGER, WEAKER = 1.1, 1 / 1.1
PART = re.compile(r"\\[()\[\]\\]|[(\[]|:\s*([+-]?(?:\d+\.?\d*|\.\d+))\s*\)|[)\]]|[^\\()\[\]:]+|[\\:]")


def parse_weights(caption: str) -> list[tuple[str, float]]:
    """Cut a caption into pieces, each with its weight. A bracket that is never closed counts to the end."""
    pieces: list[tuple[str, float]] = []
    opened: list[tuple[str, int]] = []  # brackets, and the number of pieces before each
    for match in PART.finditer(caption):
        part = match[0]
        closes = {"]": "[", ")": "("}.get(part[-1])
        if part in ("(", "["):
            opened.append((part, len(pieces)))
        elif len(part) > 1 and part[0] == "\\":
            pieces.append((part[1], 1.0))
        elif closes and opened and opened[-1][0] == closes:
            weight = float(match[1]) if match[1] else STRONGER if closes == "(" else WEAKER
            _multiply(pieces, opened.pop()[1], weight)
        else:
            pieces.append((part, 1.0))
    for bracket, start in opened:
        _multiply(pieces, start, STRONGER if bracket == "(" else WEAKER)
    return _join_equal(pieces)


def strip_weights(caption: str) -> str:
    """The words without brackets and weights."""
    return "".join(text for text, _ in parse_weights(caption))


def _multiply(pieces: list[tuple[str, float]], start: int, weight: float) -> None:
    pieces[start:] = [(text, before * weight) for text, before in pieces[start:]]


def _join_equal(pieces: list[tuple[str, float]]) -> list[tuple[str, float]]:
    """Neighbours of one weight become one piece, so that a word is not cut where nothing changes."""
    joined: list[tuple[str, float]] = []
    for text, weight in pieces:
        if joined and joined[-1][1] == weight:
            joined[-1] = (joined[-1][0] + text, weight)
        else:
            joined.append((text, weight))
    return joined
