"""What each picture looks like, in a few numbers: size, sharpness, two fingerprints. Measured once and remembered.

The fingerprints are perceptual hashes: pictures that look alike have nearly the same, whatever their size, format and
brightness. One says where it gets brighter from left to right, the other how its coarse pattern is made up of waves.
Sources: N. Krawetz, "Kind of like that" (dHash); C. Zauner, "Implementation and benchmarking of perceptual image hash
functions", 2010 (pHash); J. Pech-Pacheco et al., "Diatom autofocusing in brightfield microscopy", 2000 (sharpness).
"""

import json
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from lora_nb.dataset.decoding import look_into, read_size
from lora_nb.errors import DatasetError, Problem
from lora_nb.files import write_whole
from lora_nb.project import Project

MOST_KNOWN = 20_000  # looks that are remembered; every edit makes a new one
_TILES = 4  # a picture is cut into 4 x 4 for its sharpness: a blurred background is fine
_HASH, _WAVES = 8, 32  # bits of a fingerprint's side, and pixels of what the waves are counted in


@dataclass(frozen=True)
class Look:
    """What was measured of one picture."""

    width: int  # upright
    height: int
    moves: bool
    sharpness: float  # variance of the Laplacian of the sharpest quarter / variance of the picture, at training size
    gradients: int  # fingerprint, 64 bits
    waves: int  # the other one
    is_transparent: bool  # in part
    is_turned: bool  # only by a note in the file
    damage: str = ""  # why it cannot be read; the rest is then 0
    fix: str = ""


class Looks:
    """The looks of a project's pictures, remembered in `cache/looks.json` as long as the files stay the same."""

    def __init__(self, project: Project, resolution: int) -> None:
        self._file = project.cache / "looks.json"
        self._resolution = resolution
        self._known: dict[str, Look] = {}
        try:
            saved = json.loads(self._file.read_text(encoding="utf-8"))
            self._known = {key: Look(**look) for key, look in saved.items()}
        except (OSError, ValueError, TypeError):  # none yet, or of another version: measure again
            pass

    def get(self, path: Path) -> Look | None:
        """A picture's look, if it has been measured since its file was changed last."""
        return self._known.get(self._key(path))

    def measure(self, paths: Iterable[Path], seconds: float = float("inf")) -> int:
        """Look at the pictures that are not known yet, for about so long; returns how many are left."""
        end = time.monotonic() + seconds
        missing = [path for path in paths if self._key(path) not in self._known]
        step = 2 * (os.cpu_count() or 1)
        done = 0
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            while done < len(missing) and (done == 0 or time.monotonic() < end):
                some = missing[done : done + step]
                for path, look in zip(some, pool.map(self._look, some), strict=True):
                    self._known[self._key(path)] = look
                done += len(some)
        if done:
            self._save()
        return max(len(missing) - done, 0)

    def size(self, path: Path) -> tuple[int, int, bool]:
        """Width, height and whether it moves, for `scan_images(measure=looks.size)`: by the file's head if unknown."""
        look = self.get(path)
        if look is None:
            return read_size(path)
        if look.damage:
            raise DatasetError("A picture cannot be read.", [Problem(path.name, look.damage, look.fix, "warning")])
        return look.width, look.height, look.moves

    def _look(self, path: Path) -> Look:
        return look_at(path, self._resolution)

    def _key(self, path: Path) -> str:
        try:
            state = path.stat()
        except OSError:
            return f"{path} is gone"
        return f"{path.parent.name}/{path.name}|{state.st_mtime_ns}|{state.st_size}|{self._resolution}"

    def _save(self) -> None:
        newest = list(self._known.items())[-MOST_KNOWN:]
        known = {key: asdict(look) for key, look in newest}
        write_whole(self._file, json.dumps(known).encode())


def look_at(path: Path, resolution: int) -> Look:
    """Decode a picture once and measure all of it."""
    try:
        image, facts = look_into(path, resolution)
    except DatasetError as error:
        problem = error.problems[0]
        return Look(0, 0, False, 0, 0, 0, False, False, problem.message, problem.fix)
    grey = image.convert("L")
    sharpness = measure_sharpness(grey, resolution)
    hashes = hash_gradients(grey), hash_waves(grey)
    return Look(facts.width, facts.height, facts.moves, sharpness, *hashes, facts.is_transparent, facts.is_turned)


def measure_sharpness(grey: Image.Image, resolution: int) -> float:
    """How much fine detail there is, for its contrast, in the sharpest quarter of a picture at its training size.

    The variance of the Laplacian, divided by the picture's own variance; so it is the same for pale and for strong
    pictures. Infinite if there is nothing but one colour.
    """
    scale = min(1.0, resolution / (grey.width * grey.height) ** 0.5)
    if scale < 1:
        size = max(round(grey.width * scale), 1), max(round(grey.height * scale), 1)
        grey = grey.resize(size, Image.Resampling.LANCZOS)
    levels = np.asarray(grey, dtype=np.float32)  # (H, W)
    if min(levels.shape) < 2 * _TILES + 2 or levels.var() < 1:
        return float("inf")
    inner = levels[1:-1, 1:-1]
    edges = levels[:-2, 1:-1] + levels[2:, 1:-1] + levels[1:-1, :-2] + levels[1:-1, 2:] - 4 * inner
    height, width = (side // _TILES for side in edges.shape)
    tiles = edges[: height * _TILES, : width * _TILES].reshape(_TILES, height, _TILES, width)
    variances = np.sort(tiles.var(axis=(1, 3)).ravel())
    return float(variances[-len(variances) // 4 :].mean() / levels.var())


def hash_gradients(grey: Image.Image) -> int:
    """dHash: where does it get brighter from left to right? 64 bits."""
    levels = np.asarray(grey.resize((_HASH + 1, _HASH), Image.Resampling.BOX), dtype=np.int16)
    return _to_int(levels[:, 1:] > levels[:, :-1])


def hash_waves(grey: Image.Image) -> int:
    """pHash: which of the 64 coarsest waves (of the discrete cosine transform) are stronger than most? 64 bits."""
    levels = np.asarray(grey.resize((_WAVES, _WAVES), Image.Resampling.BOX), dtype=np.float64)
    place = np.arange(_WAVES)
    cosines = np.cos(np.pi * (2 * place[None] + 1) * place[:_HASH, None] / (2 * _WAVES))  # (8, 32)
    waves = (cosines @ levels @ cosines.T).ravel()
    return _to_int(waves > np.median(waves[1:]))  # the first is only the brightness


def find_alike(looks: Sequence[Look], most_bits: int) -> Iterator[list[int]]:
    """Groups of pictures whose two fingerprints together differ in so few of 128 bits, by their places."""
    if not looks:
        return
    hashes = np.array([[look.gradients, look.waves] for look in looks], dtype=np.uint64)  # (N, 2)
    group = list(range(len(looks)))
    for place in range(len(looks)):
        distances = np.bitwise_count(hashes[place] ^ hashes[place + 1 :]).sum(axis=1)
        for other in np.flatnonzero(distances <= most_bits):
            old, new = group[place + 1 + other], group[place]
            group = [new if each == old else each for each in group]
    for name in dict.fromkeys(group):
        members = [place for place, each in enumerate(group) if each == name]
        if len(members) > 1:
            yield members


def _to_int(bits: np.ndarray) -> int:
    return int.from_bytes(np.packbits(bits.ravel()).tobytes(), "big")
