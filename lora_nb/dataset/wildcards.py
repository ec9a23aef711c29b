"""Choices in captions: {red|blue} becomes one of them each time a picture is seen.

Choices may hold choices: {red|dark {green|brown}}. A brace that is meant as such is written \\{ or \\}.
"""

import random

ESCAPED = {"\\{": "\0", "\\}": "\1"}  # stand-ins that no caption holds while the real braces are looked for


def expand_wildcards(text: str, rng: random.Random) -> str:
    """Choose one of every {a|b|c}, the innermost first. Braces without a partner stay as they are."""
    for written, stand_in in ESCAPED.items():
        text = text.replace(written, stand_in)
    while (closing := text.find("}", text.find("{"))) > (opening := text.rfind("{", 0, max(closing, 0))) >= 0:
        chosen = rng.choice(text[opening + 1 : closing].split("|")).strip()
        text = text[:opening] + chosen + text[closing + 1 :]
    for written, stand_in in ESCAPED.items():
        text = text.replace(stand_in, written[1:])
    return text


def find_brace_mistake(text: str) -> str:
    """What is wrong with a caption's braces; "" if nothing is."""
    for written in ESCAPED:
        text = text.replace(written, "")
    depth = 0
    for place, letter in enumerate(text):
        depth += (letter == "{") - (letter == "}")
        if depth < 0:
            return f"a closing brace without an opening one before it, near {text[max(place - 15, 0) : place + 15]!r}"
    return "an opening brace is never closed" if depth else ""
