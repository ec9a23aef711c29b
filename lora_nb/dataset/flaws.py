"""Which single pictures would spoil a training, and what one click could do about each? All of it can be undone.

`checks.check_dataset` judges the set as a whole; this looks at the pixels, and names an edit for what it finds.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from lora_nb.config import TrainConfig
from lora_nb.dataset.buckets import Bucket, Fit, fit_items, fit_picture, lost_share, seen_box
from lora_nb.dataset.checks import LARGEST_LOSS, LARGEST_SCALE
from lora_nb.dataset.edits import EDITS
from lora_nb.dataset.folders import name_some
from lora_nb.dataset.images import Dataset, ImageItem, scan_images
from lora_nb.dataset.journal import Edit
from lora_nb.dataset.looks import Look, Looks, find_alike
from lora_nb.errors import DatasetError, Problem
from lora_nb.project import Project

BLURRED = 0.012  # sharpness below this looks blurred at training size; see looks.measure_sharpness
ALIKE = 18  # of 128 bits in which the fingerprints of two pictures of the same thing differ at most
LARGEST_LOSS_BY_FIX = 0.4  # of a picture; a fix that cuts off more is not offered


@dataclass(frozen=True)
class Fix:
    """An edit that one click does: `apply_fix(project, fix)`."""

    label: str
    edit: str  # its name in edits.EDITS
    arguments: dict[str, Any]


@dataclass(frozen=True)
class Finding:
    """What is wrong with one picture, or a few that belong together, and the ways out."""

    kind: str  # one of KINDS
    problem: Problem
    pictures: tuple[str, ...]  # by name
    fixes: tuple[Fix, ...]


@dataclass(frozen=True)
class Viewed:
    """What the checks look at."""

    dataset: Dataset
    config: TrainConfig
    looks: dict[ImageItem, Look]
    fits: dict[ImageItem, Fit] = field(default_factory=dict)


def find_flaws(project: Project, config: TrainConfig, looks: Looks | None = None) -> list[Finding]:
    """Look at every picture of a project. The first time takes a while; later, only new pictures are looked at.

    looks: what was measured before; pictures that are not in it are passed over. None measures all of them now.
    """
    if looks is None:
        looks = Looks(project, config.data.resolution)
        looks.measure(item.path for item in scan_images(project.images, looks.size).items)
    dataset = scan_images(project.images, looks.size)
    known = {item: look for item in dataset.items if (look := looks.get(item.path))}
    fits, _ = fit_items(dataset.items, config.data)
    viewed = Viewed(dataset, config, known, fits)
    return [*_find_unreadable(dataset), *(finding for find in KINDS.values() for finding in find(viewed))]


def apply_fix(project: Project, fix: Fix) -> Edit:
    """Do what a finding offers."""
    return EDITS[fix.edit](project, **fix.arguments)


def _find_unreadable(dataset: Dataset) -> Iterator[Finding]:
    """The scan has left them out already; here they can be moved away."""
    for problem in dataset.problems:
        base = dataset.root.absolute().parent if problem.where.startswith("regularisation/") else dataset.root
        if "It is left out." in problem.message and (base / problem.where).is_file():
            yield Finding("unreadable", problem, (problem.where,), (_exclude(problem.where),))


def _find_small(viewed: Viewed) -> Iterator[Finding]:
    for item, fit in viewed.fits.items():
        scale = fit.resized[0] / item.width
        if scale > LARGEST_SCALE:
            bucket = f"{fit.bucket.width} x {fit.bucket.height}"
            message = (
                f"{item.width} x {item.height} is enlarged {scale:.1f} times to its bucket, {bucket}, and gets soft."
            )
            yield _finding("small", item, message, "Take a larger original.", (_exclude(item.name),))


def _find_alike(viewed: Viewed) -> Iterator[Finding]:
    items = [item for item in viewed.looks if not item.is_regularisation]
    for places in find_alike([viewed.looks[item] for item in items], ALIKE):
        group = sorted((items[place] for place in places), key=lambda item: (-item.width * item.height, item.name))
        names = [item.name for item in group]
        message = f"It looks nearly like {name_some(names[1:])}, so what they show counts {len(names)} times."
        fix = "Keep one, the largest, and use repeats if it shall count more."
        label = f"Keep {group[0].path.name}, exclude {'the other' if len(names) == 2 else f'{len(names) - 1} others'}"
        excluding = Fix(label, "exclude", {"pictures": names[1:]})
        yield Finding("alike", Problem(names[0], message, fix, "warning"), tuple(names), (excluding,))


def _find_blurred(viewed: Viewed) -> Iterator[Finding]:
    for item, look in viewed.looks.items():
        if look.sharpness < BLURRED:
            message = f"No part of it is sharp at {viewed.config.data.resolution} pixels: a LoRA learns blur, too."
            yield _finding("blurred", item, message, "Take a sharper one.", (_exclude(item.name),))


def _find_turned(viewed: Viewed) -> Iterator[Finding]:
    for item, look in viewed.looks.items():
        if look.is_turned:
            message = "It stands upright only by a note in the file, which some programs overlook."
            fix = Fix("Save it upright", "upright", {"pictures": [item.name]})
            yield _finding("turned", item, message, "Save it the way round it is shown.", (fix,), "note")


def _find_transparent(viewed: Viewed) -> Iterator[Finding]:
    if viewed.config.data.loss_mask == "alpha":  # there it is wanted
        return
    for item, look in viewed.looks.items():
        if look.is_transparent:
            message = "It is transparent in part, and trained on white there."
            fixes = tuple(
                Fix(f"Fill it with {name}", "fill", {"pictures": [item.name], "color": name})
                for name in ("white", "gray")
            )
            advice = "Fill it with a colour that the other pictures do not share, or use it as data.loss_mask."
            yield _finding("transparent", item, message, advice, fixes, "note")


def _find_cropped(viewed: Viewed) -> Iterator[Finding]:
    for item, fit in viewed.fits.items():
        lost = lost_share(fit)
        if lost > LARGEST_LOSS:
            message = f"{lost:.0%} of it is cut off to fit its bucket, {fit.bucket.width} x {fit.bucket.height}."
            yield _finding("cropped", item, message, "Crop it around the subject.", tuple(_crops(item, fit)))


def _find_lonely(viewed: Viewed) -> Iterator[Finding]:
    """A bucket with one picture: its batches show nothing else, so they are small, or hold it several times."""
    data, size = viewed.config.data, viewed.config.run.batch_size
    if size == 1 or not data.enable_buckets or len(viewed.fits) < 2:
        return
    members: defaultdict[Bucket, list[ImageItem]] = defaultdict(list)
    for item, fit in viewed.fits.items():
        members[fit.bucket].append(item)
    shared = [bucket for bucket, items in members.items() if len(items) > 1] or list(members)
    for bucket, (item, *others) in members.items():
        if others:
            continue
        message = f"It is alone in its bucket, {bucket.width} x {bucket.height}, so a batch of {size} holds no other."
        fixes = [_crop_to(item, other, len(members[other]), viewed) for other in shared if other != bucket]
        best = sorted((fix for fix in fixes if fix), key=lambda pair: pair[0])[:1]
        yield _finding(
            "lonely", item, message, "Crop it to a shape that others have.", tuple(f for _, f in best), "note"
        )


# to add one: write the function, name it here. What each is called for people is in the page's text
KINDS: dict[str, Callable[[Viewed], Iterator[Finding]]] = {
    "alike": _find_alike,
    "blurred": _find_blurred,
    "small": _find_small,
    "cropped": _find_cropped,
    "lonely": _find_lonely,
    "transparent": _find_transparent,
    "turned": _find_turned,
}


def _crops(item: ImageItem, fit: Fit) -> Iterator[Fix]:
    """The bucket's own crop, and the same moved to both ends: heads are at the top."""
    left, top, right, bottom = (round(side) for side in seen_box(item.width, item.height, fit))
    width, height = right - left, bottom - top
    if height < item.height:
        places = {"top": (0, 0), "middle": (0, top), "bottom": (0, item.height - height)}
    else:
        places = {"left": (0, 0), "middle": (left, 0), "right": (item.width - width, 0)}
    for place, (x, y) in places.items():
        yield Fix(f"Keep the {place}", "crop", {"picture": item.name, "box": [x, y, x + width, y + height]})
    yield _exclude(item.name)


def _crop_to(item: ImageItem, bucket: Bucket, others: int, viewed: Viewed) -> tuple[float, Fix] | None:
    """The crop around the middle that brings a picture into a bucket, with the share that it costs."""
    scale = min(item.width / bucket.width, item.height / bucket.height)
    width, height = int(bucket.width * scale), int(bucket.height * scale)
    try:
        goes_there = fit_picture(width, height, viewed.config.data).bucket == bucket
    except DatasetError:
        return None
    lost = 1 - width * height / (item.width * item.height)
    if not goes_there or lost > LARGEST_LOSS_BY_FIX:
        return None
    left, top = (item.width - width) // 2, (item.height - height) // 2
    label = f"Crop it for {bucket.width} x {bucket.height}, where {others} are ({lost:.0%} less)"
    return lost, Fix(label, "crop", {"picture": item.name, "box": [left, top, left + width, top + height]})


def _exclude(name: str) -> Fix:
    return Fix("Exclude it", "exclude", {"pictures": [name]})


def _finding(
    kind: str, item: ImageItem, message: str, advice: str, fixes: tuple[Fix, ...], severity: Any = "warning"
) -> Finding:
    return Finding(kind, Problem(item.name, message, advice, severity), (item.name,), fixes)
