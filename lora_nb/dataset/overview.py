"""All pictures of a project at a glance: their folders, their buckets, what each bucket shows of them."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lora_nb.config import TrainConfig
from lora_nb.dataset.buckets import Bucket, Fit, fit_items, fit_picture, lost_share, seen_box
from lora_nb.dataset.edits import name_of
from lora_nb.dataset.folders import EXCLUDED_FOLDER, EXTENSIONS, MASK_ENDING, MASK_FOLDER
from lora_nb.dataset.images import REGULARISATION_FOLDER, Dataset, ImageItem, scan_images
from lora_nb.dataset.journal import History, read_history, relative
from lora_nb.dataset.looks import Looks
from lora_nb.errors import DatasetError
from lora_nb.project import Project


@dataclass(frozen=True)
class Crop:
    """How a picture will be seen in training."""

    bucket: tuple[int, int]  # width, height
    box: tuple[float, float, float, float]  # left, top, width, height, as shares of the picture
    lost: float  # the share that is cut off
    scale: float  # how far it is enlarged (above 1) or reduced


@dataclass(frozen=True)
class PictureRow:
    """One picture, as a list of them shows it."""

    name: str
    width: int  # 0 if it cannot be read
    height: int
    version: str  # another one when its file has changed
    repeats: int = 0
    has_caption: bool = False
    is_edited: bool = False
    is_excluded: bool = False
    is_regularisation: bool = False
    crop: Crop | None = None  # None for what is not trained on, or fits no bucket


@dataclass(frozen=True)
class FolderRow:
    """One folder of pictures; its name is "" for pictures that lie in `images` directly."""

    name: str
    repeats: int
    pictures: int


@dataclass(frozen=True)
class Overview:
    """What a project's pictures are, all together."""

    pictures: tuple[PictureRow, ...]
    excluded: tuple[PictureRow, ...]
    folders: tuple[FolderRow, ...]
    buckets: tuple[tuple[int, int, int], ...]  # width, height, pictures: at the main resolution
    seen: int  # pictures in an epoch, with repeats
    undo: str  # what would be undone; "" if nothing
    redo: str


def view_pictures(project: Project, config: TrainConfig, looks: Looks | None = None) -> Overview:
    """List a project's pictures quickly: from the files' heads, unless they were looked at before."""
    looks = looks or Looks(project, config.data.resolution)
    dataset = scan_images(project.images, looks.size)
    fits, _ = fit_items(dataset.items, config.data)
    history = read_history(project)
    counts = Counter(fit.bucket for fit in fits.values())
    return Overview(
        pictures=tuple(_make_row(project, item, fits.get(item), history) for item in dataset.items),
        excluded=tuple(_make_excluded_row(project, path, looks) for path in _list_excluded(project)),
        folders=tuple(_make_folders(project, dataset)),
        buckets=tuple((*bucket, counts[bucket]) for bucket in sorted(counts, key=_shape)),
        seen=sum(item.repeats for item in dataset.items),
        undo=history.done[-1].text if history.done else "",
        redo=history.undone[-1].text if history.undone else "",
    )


def view_crop(width: int, height: int, config: TrainConfig) -> Crop:
    """How a picture of this size will be seen in training. Raises DatasetError if it fits no bucket."""
    return _make_crop(width, height, fit_picture(width, height, config.data))


def _make_crop(width: int, height: int, fit: Fit) -> Crop:
    left, top, right, bottom = seen_box(width, height, fit)
    box = (left / width, top / height, (right - left) / width, (bottom - top) / height)
    return Crop((fit.bucket.width, fit.bucket.height), box, lost_share(fit), fit.resized[0] / width)


def _make_row(project: Project, item: ImageItem, fit: Fit | None, history: History) -> PictureRow:
    version = history.versions.get(relative(project, item.path))
    return PictureRow(
        name=item.name,
        width=item.width,
        height=item.height,
        version=_version(item.path),
        repeats=item.repeats,
        has_caption=item.has_caption,
        is_edited=bool(version and version.steps),
        is_regularisation=item.is_regularisation,
        crop=_make_crop(item.width, item.height, fit) if fit else None,
    )


def _make_excluded_row(project: Project, path: Path, looks: Looks) -> PictureRow:
    try:
        width, height, _ = looks.size(path)
    except DatasetError:
        width = height = 0
    return PictureRow(name_of(project, path), width, height, _version(path), is_excluded=True)


def _list_excluded(project: Project) -> Iterator[Path]:
    for room in (project.images, project.root / REGULARISATION_FOLDER):
        for path in sorted((room / EXCLUDED_FOLDER).rglob("*")):
            is_mask = path.name.endswith(MASK_ENDING) or path.parent.name == MASK_FOLDER
            if path.suffix.lower() in EXTENSIONS and not is_mask and not path.name.startswith(".") and path.is_file():
                yield path


def _make_folders(project: Project, dataset: Dataset) -> Iterator[FolderRow]:
    counts = Counter((item.path.parent, item.repeats) for item in dataset.items)
    for (folder, repeats), pictures in sorted(counts.items()):
        name = "" if folder == project.images else name_of(project, folder)
        yield FolderRow(name, repeats, pictures)


def _shape(bucket: Bucket) -> tuple[float, int]:
    """Tall ones first, wide ones last."""
    return bucket.width / bucket.height, bucket.width


def _version(path: Path) -> str:
    try:
        state = path.stat()
    except OSError:
        return "gone"
    return f"{state.st_mtime_ns:x}-{state.st_size:x}"
