"""Tags for pictures from a WD v3 tagger: a model that knows thousands of booru tags.

Works with every folder that holds model.onnx and selected_tags.csv in that format, and with every tagger of that kind
on the Hugging Face hub, such as SmilingWolf/wd-vit-tagger-v3. Runs through onnxruntime, on the CPU if there is nothing
faster.
"""

from collections.abc import Collection
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lora_nb.captioners.sources import find_captioner
from lora_nb.dataset.decoding import to_rgb
from lora_nb.dataset.tags import join_tags
from lora_nb.dataset.vocabulary import CHARACTER, GENERAL, RATING, read_vocabulary, spell_tag
from lora_nb.errors import MissingPackageError, ModelError

WD_TAGGER = "SmilingWolf/wd-swinv2-tagger-v3"  # the tutorial's choice for anime and drawings
FILES = ("model.onnx", "selected_tags.csv")
LOWEST_CHARACTER_CUT = 0.15  # as in the reference: a character is not named on less

_PROVIDERS = ("CUDAExecutionProvider", "ROCMExecutionProvider", "DmlExecutionProvider", "CPUExecutionProvider")


class WdTagger:
    """A loaded tagger. `predict` gives every tag's probability, `caption` a line of the likely ones."""

    def __init__(self, base: str | Path = WD_TAGGER) -> None:
        """Load the model from a folder or the hub. Raises ModelError if there is no WD tagger."""
        folder = find_captioner(str(base), FILES)
        self._tags = read_vocabulary(_find(folder, "selected_tags.csv"))
        self._session = _open_session(_find(folder, "model.onnx"))
        self._input = self._session.get_inputs()[0]
        shape = self._input.shape
        if len(shape) != 4 or shape[3] != 3 or not isinstance(shape[1], int) or shape[1] != shape[2]:
            raise ModelError(f"{folder}: model.onnx takes {shape}, not (N, side, side, 3) as WD taggers do.")
        self._size = shape[1]

    @property
    def tags(self) -> tuple[str, ...]:
        """The names of all tags that `predict` gives, in the model's order."""
        return tuple(tag.name for tag in self._tags if tag.category != RATING)

    def predict(self, pictures: list[Image.Image], batch_size: int = 8) -> list[dict[str, float]]:
        """How likely each general and character tag is on each picture, 0 to 1."""
        if self._input.shape[0] == 1:
            batch_size = 1  # exported for one picture at a time
        results = []
        for start in range(0, len(pictures), batch_size):
            inputs = np.stack([prepare(picture, self._size) for picture in pictures[start : start + batch_size]])
            probabilities = self._session.run(None, {self._input.name: inputs})[0]  # (N, S, S, 3) => (N, tags)
            results += [self._name(row) for row in probabilities]
        return results

    def describe_device(self) -> str:
        """Where the model runs, for the user to read."""
        return f"WD tagger on {self._session.get_providers()[0].removesuffix('ExecutionProvider')}"

    def caption(
        self,
        picture: Image.Image,
        threshold: float | None = 0.35,
        character_threshold: float | None = 0.85,
        unwanted: Collection[str] = (),
    ) -> str:
        """The tags that are at least as likely as the thresholds, the surest first, without the unwanted ones.

        A threshold of None is chosen for the picture: in the largest gap between two neighbouring probabilities
        (maximum cut, Largeron et al. 2012).
        """
        probabilities = self.predict([picture])[0]
        left_out = {spell_tag(tag.strip()) for tag in unwanted}
        sure: dict[str, float] = {}
        for category, limit in ((GENERAL, threshold), (CHARACTER, character_threshold)):
            values = {tag.name: probabilities[tag.name] for tag in self._tags if tag.category == category}
            if limit is None:
                limit = find_cut(list(values.values()), LOWEST_CHARACTER_CUT if category == CHARACTER else 0.0)
            sure |= {name: value for name, value in values.items() if value >= limit and name not in left_out}
        return join_tags(sorted(sure, key=lambda name: -sure[name]))

    def _name(self, row: NDArray[np.float32]) -> dict[str, float]:
        if len(row) != len(self._tags):
            raise ModelError(
                f"The tagger gives {len(row)} values, but selected_tags.csv names {len(self._tags)} tags. "
                "The two files belong to different models: download both again."
            )
        return {tag.name: float(value) for tag, value in zip(self._tags, row, strict=True) if tag.category != RATING}


def find_cut(probabilities: list[float], lowest: float = 0.0) -> float:
    """The threshold in the middle of the largest gap between neighbouring probabilities, at least `lowest`."""
    ordered = sorted(probabilities, reverse=True)
    gaps = [high - low for high, low in pairwise(ordered)]
    if not gaps:
        return lowest
    place = gaps.index(max(gaps))
    return max(lowest, (ordered[place] + ordered[place + 1]) / 2)


def prepare(picture: Image.Image, size: int) -> NDArray[np.float32]:
    """A picture as the tagger was trained to see it: (size, size, 3), blue-green-red, 0 to 255.

    As in SmilingWolf's Space wd-tagger, app.py: on white, padded to a square with white, bicubic.
    """
    picture = to_rgb(picture)
    side = max(picture.size)
    square = Image.new("RGB", (side, side), "white")
    square.paste(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
    if side != size:
        square = square.resize((size, size), Image.Resampling.BICUBIC)
    return np.ascontiguousarray(np.asarray(square, dtype=np.float32)[:, :, ::-1])


def _find(folder: Path, name: str) -> Path:
    path = Path(folder) / name
    if not path.is_file():
        raise ModelError(f"{folder} holds no {name}. Give the folder of a WD v3 tagger, with both of its files.")
    return path


def _open_session(path: Path) -> Any:
    try:
        import onnxruntime
    except ImportError:
        raise MissingPackageError("The WD tagger", "onnxruntime") from None
    available = onnxruntime.get_available_providers()
    providers = [provider for provider in _PROVIDERS if provider in available]
    try:
        return onnxruntime.InferenceSession(path, providers=providers)
    except Exception as error:  # onnxruntime has its own exceptions, which cannot be named before it is imported
        raise ModelError(f"{path} cannot be loaded by onnxruntime: {error}") from error
