"""What is on generated pictures? The workshop's tagger answers, so a LoRA can be judged in numbers."""

from __future__ import annotations

from PIL import Image

from lora_nb.workshop import TAGGER_FOLDER
from lora_nb.workshop.world import BACKGROUNDS, EXPRESSIONS, POSES, SUBJECT_TAGS

PRESENT = 0.5  # the tagger is calibrated by its training: above one half it thinks yes
JUDGED = frozenset({*BACKGROUNDS, *EXPRESSIONS, *POSES})  # what prompts ask for and the subject does not decide


def subject_rate(pictures: list[Image.Image]) -> float:
    """The share of pictures with all of the subject's defining features."""
    found = _predict(pictures)
    return sum(all(tags[name] >= PRESENT for name in SUBJECT_TAGS) for tags in found) / max(1, len(found))


def prompt_adherence(pictures: list[Image.Image], prompts: list[str], judged: frozenset[str] = JUDGED) -> float:
    """The share of what was asked (by default backgrounds, expressions and poses) that the pictures show."""
    answers = [
        tags[word] >= PRESENT
        for tags, prompt in zip(_predict(pictures), prompts, strict=True)
        for word in (part.strip() for part in prompt.split(","))
        if word in judged
    ]
    return sum(answers) / max(1, len(answers))


def _predict(pictures: list[Image.Image]) -> list[dict[str, float]]:
    from lora_nb.captioners.wd import WdTagger

    return WdTagger(TAGGER_FOLDER).predict(pictures)
