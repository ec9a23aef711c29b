"""The dataset board: all pictures of a project in the notebook, to add to, look at, mend and sort out.

A thin skin over dataset/: adding, edits, journal, flaws, overview. What is on disk is the truth.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lora_nb.dataset import journal
from lora_nb.dataset.adding import Added, add_pictures
from lora_nb.dataset.checks import check_dataset
from lora_nb.dataset.edits import EDITS, find_picture
from lora_nb.dataset.flaws import find_flaws
from lora_nb.dataset.images import scan_images
from lora_nb.dataset.journal import Edit
from lora_nb.dataset.looks import Looks
from lora_nb.dataset.overview import PictureRow, view_crop, view_pictures
from lora_nb.dataset.thumbnails import thumbnail
from lora_nb.dataset.uploads import PIECE, cancel_upload, finish_upload, receive_piece
from lora_nb.environment import find_place
from lora_nb.errors import DatasetError, LoraNbError, ProjectError
from lora_nb.project import Project
from lora_nb.widgets.asking import AskedWidget, Reply

PATIENCE = 0.25  # seconds of looking at pictures at a time, so that what is asked meanwhile is answered soon
PREVIEW = 1280  # pixels
FIRST = 12  # thumbnails that come with the list


class Board(AskedWidget):
    """What `edit_dataset` shows. Every answer is one function of dataset/."""

    files = "board"

    def __init__(self, project: Project) -> None:
        super().__init__()
        self._project = project
        self._looks: tuple[int, Looks] | None = None
        self._paths: list[Path] = []  # that are being looked at

    def answer_begin(self) -> Reply:
        """The list, with the first thumbnails, so that something is seen at once."""
        listed = self._list()
        names, found = self.answer_thumbs([row[0] for row in listed["pictures"][:FIRST]])
        return listed | names, found

    def answer_list(self) -> Reply:
        """All pictures, folders and buckets, and what can be undone."""
        return self._list()

    def answer_thumbs(self, names: Sequence[str]) -> tuple[dict[str, Any], list[bytes]]:
        """Thumbnails, those that there are."""
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            made = list(pool.map(self._make_thumbnail, names))
        found = [(name, data) for name, data in zip(names, made, strict=True) if data]
        return {"names": [name for name, _ in found]}, [data for _, data in found]

    def answer_preview(self, name: str) -> Reply:
        """One picture, large, and what training sees of it; nothing of that if it fits no bucket."""
        path = find_picture(self._project, name)
        width, height, _ = self._get_looks().size(path)
        try:
            crop = self.answer_fit(width, height)
        except DatasetError:
            crop = None
        return {"crop": crop}, [thumbnail(path, self._cache, PREVIEW)]

    def answer_fit(self, width: int, height: int) -> Reply:
        """What training would make of a picture of this size."""
        return asdict(view_crop(width, height, self._project.load_config()))

    def answer_edit(self, edit: str, arguments: dict[str, Any]) -> Reply:
        return self._say(EDITS[edit](self._project, **arguments))

    def answer_undo(self) -> Reply:
        return self._say(journal.undo(self._project), "Undone: ")

    def answer_redo(self) -> Reply:
        return self._say(journal.redo(self._project), "Done again: ")

    def answer_receive(self, upload: str, name: str, offset: int, total: int, buffers: Sequence[bytes] = ()) -> Reply:
        """A piece of a file from the page."""
        return {"there": receive_piece(self._project, upload, name, offset, total, b"".join(buffers))}

    def answer_finish(self, upload: str, repeats: int | None, name: str) -> Reply:
        """All pieces are there: take them into the project."""
        return self._tell(finish_upload(self._project, upload, repeats, name))

    def answer_cancel(self, upload: str) -> Reply:
        cancel_upload(self._project, upload)
        return {}

    def answer_add(self, source: str, repeats: int | None, name: str) -> Reply:
        """Pictures from a path on the notebook's machine, or from an address."""
        return self._tell(add_pictures(self._project, source, repeats=repeats, name=name))

    def answer_check(self, fresh: bool) -> Reply:
        """Look at some more pictures; when all were looked at, say what is wrong with each, and with all together.

        fresh: the first question after a change; further ones go on from there.
        """
        config, looks = self._project.load_config(), self._get_looks()
        if fresh:
            dataset = scan_images(self._project.images, looks.size)
            self._paths = [item.path for item in dataset.items]
        left = looks.measure(self._paths, PATIENCE)
        if left:
            return {"left": left, "total": len(self._paths), "findings": [], "problems": []}
        findings = [asdict(each) for each in find_flaws(self._project, config, looks)]
        named = {each["problem"]["where"] for each in findings if each["kind"] == "unreadable"}
        dataset = scan_images(self._project.images, looks.size)
        problems = check_dataset(dataset, config, single_pictures=False)
        others = [asdict(each) for each in problems if each.where not in named]
        return {"left": 0, "total": len(self._paths), "findings": findings, "problems": others}

    @property
    def _cache(self) -> Path:
        return self._project.cache / "thumbnails"

    def _get_looks(self) -> Looks:
        """What is known of the pictures at the resolution that is set now."""
        resolution = self._project.load_config().data.resolution
        if self._looks is None or self._looks[0] != resolution:
            self._looks = resolution, Looks(self._project, resolution)
        return self._looks[1]

    def _list(self) -> dict[str, Any]:
        config = self._project.load_config()
        seen = view_pictures(self._project, config, self._get_looks())
        places = {(width, height): place for place, (width, height, _) in enumerate(seen.buckets)}
        return {
            "pictures": [_pack(row, places) for row in seen.pictures],
            "excluded": [_pack(row, places) for row in seen.excluded],
            "folders": [asdict(row) for row in seen.folders],
            "buckets": seen.buckets,
            "seen": seen.seen,
            "undo": seen.undo,
            "redo": seen.redo,
            "resolution": config.data.resolution,
            "batch": config.run.batch_size,
            "piece": PIECE,
            "colab": find_place() == "colab",
        }

    def _make_thumbnail(self, name: str) -> bytes:
        try:
            return thumbnail(find_picture(self._project, name), self._cache)
        except (LoraNbError, OSError):  # the page shows an empty place
            return b""

    def _say(self, edit: Edit, before: str = "") -> Reply:
        return {"said": before + edit.text, "list": self._list()}

    def _tell(self, added: Added) -> Reply:
        return {"said": str(added), "problems": [asdict(each) for each in added.problems], "list": self._list()}


def _pack(row: PictureRow, buckets: dict[tuple[int, int], int]) -> list[Any]:
    """A picture in few bytes, since there may be thousands; board.js unpacks it."""
    marks = (row.has_caption, "c"), (row.is_edited, "e"), (row.is_excluded, "x")
    place = buckets[row.crop.bucket] if row.crop else -1
    flags = "".join(letter for holds, letter in marks if holds)
    return [row.name, row.width, row.height, row.version, row.repeats, flags, place]


def edit_dataset(project: Project) -> Board:
    """Show a project's pictures to add, crop, turn, exclude and check. All is saved at once and can be undone."""
    return Board(project)


def upload_on_colab(project: Project, *, repeats: int | None = None, name: str = "") -> Added:
    """Add pictures or a .zip with Colab's own upload button, for when the board's drop zone does not work there."""
    try:
        from google.colab import files
    except ImportError as error:
        raise ProjectError("This works on Colab only. Elsewhere, use add_pictures(project, 'a/path').") from error
    folder = project.cache / "incoming" / "colab"
    folder.mkdir(parents=True, exist_ok=True)
    before = Path.cwd()
    try:
        os.chdir(folder)  # where files.upload puts them, in all of its versions
        files.upload()
    finally:
        os.chdir(before)
    return finish_upload(project, "colab", repeats, name)
