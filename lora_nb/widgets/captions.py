"""The caption editor: pictures with their tags, edits of many captions, trigger words, and what to prune.

The page shows and asks; every rule is a function of lora_nb/dataset. What is on disk is the truth: a caption is saved
as soon as it is edited, and only if nobody else changed it meanwhile.
"""

import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lora_nb.dataset.caption_history import Step, open_history
from lora_nb.dataset.caption_saving import CaptionConflictError, find_revision, read_caption_text, save_caption
from lora_nb.dataset.decoding import read_size
from lora_nb.dataset.filtering import choose_pictures
from lora_nb.dataset.folders import find_pictures
from lora_nb.dataset.images import REGULARISATION_FOLDER, Dataset, ImageItem, refresh_captions, scan_images
from lora_nb.dataset.long_captions import find_cut
from lora_nb.dataset.pruning import advise_pruning
from lora_nb.dataset.tag_edits import EDITS, describe_edit
from lora_nb.dataset.tags import CaptionChange, caption_path, count_tags
from lora_nb.dataset.thumbnails import thumbnail
from lora_nb.dataset.trigger_words import report_triggers
from lora_nb.dataset.vocabulary import KnownTag, read_vocabulary, suggest_tags
from lora_nb.errors import DatasetError
from lora_nb.locks import alone_in
from lora_nb.project import Project
from lora_nb.widgets.asking import AskedWidget, Reply

SMALL, LARGE = 256, 960  # sides of the pictures in the list, as on the dataset board, and beside the caption
MOMENT = 0.3  # seconds that pictures are drawn before the first of them are sent
SHOWN = 5  # examples of what an edit would change


def edit_captions(project: Project) -> "CaptionEditor":
    """Show the caption editor for a project's pictures."""
    return CaptionEditor(project)


class CaptionEditor(AskedWidget):
    """Answers the questions of static/captions.js."""

    files = "captions"

    def __init__(self, project: Project) -> None:
        super().__init__()
        self._project = project
        self._history = open_history(project)
        self._dataset = Dataset(project.images, (), ())
        self._stamps: dict[str, tuple[int, int]] = {}  # caption files as the page knows them
        self._vocabulary: tuple[KnownTag, ...] | None = None
        self._counter: Any = None

    def answer_open(self) -> Reply:
        """Everything that the page shows at first, but the pictures themselves."""
        self._dataset = scan_images(self._project.images, read_size)
        items = sorted(self._dataset.items, key=lambda item: item.is_regularisation)
        self._stamps = {}
        self._counter = None  # the settings may name another model by now
        data = self._project.load_config().data
        pictures = [
            {
                "name": item.name,
                "file": self._file(item),
                "folder": item.path.parent.name if item.class_name else "",
                "width": item.width,
                "height": item.height,
                "general": item.is_regularisation,
            }
            for item in items
        ]
        return {
            "pictures": pictures,
            "captions": self._read(items),
            "triggers": list(data.trigger_words),
            "history": self._say_history(),
        }

    def answer_thumbs(self, names: list[str], size: int = SMALL) -> Reply:
        """Small pictures, in the order of their names; empty bytes for one that cannot be read.

        Large files take long: what is not ready after a moment is left out, and the page asks again.
        """
        items = {item.name: item for item in self._dataset.items}
        drawn: list[bytes] = []
        started = time.monotonic()
        while len(drawn) < len(names) and (not drawn or time.monotonic() - started < MOMENT):
            drawn.append(self._draw(items.get(names[len(drawn)]), min(size, LARGE)))
        return None, drawn

    def answer_save(self, file: str, text: str, revision: str) -> Reply:
        """Save one caption, unless it was changed elsewhere: then say what it is there."""
        item = self._find(file)
        try:
            new = save_caption(item.path, text, revision)
        except CaptionConflictError as error:
            return {"conflict": {"text": error.text, "revision": error.revision}}
        self._note(item)
        return {"revision": new}

    def answer_bulk(self, edit: str, options: dict[str, Any], names: list[str] | None, dry_run: bool = True) -> Reply:
        """Change many captions, or say what that would change. names: of the pictures; None means all."""
        dataset = refresh_captions((self._dataset if names is None else choose_pictures(self._dataset, names)).own())
        if edit in ("add", "sort"):
            options = {"kept": len(self._project.load_config().data.trigger_words), **options}
        if dry_run:
            changes = EDITS[edit](dataset, **options, dry_run=True)
            return {
                "count": len(changes),
                "of": len(dataset.items),
                "examples": [_show(each) for each in changes[:SHOWN]],
            }
        label = describe_edit(edit, options)
        with alone_in(self._history.root):  # so that all of it is made, whatever other notebooks edit
            changes = EDITS[edit](dataset, **options, dry_run=True)
            self._history.apply(label, changes)
        return {"count": len(changes), "label": label, **self._say_changed(changes)}

    def answer_undo(self) -> Reply:
        return self._say_step(self._history.undo())

    def answer_redo(self) -> Reply:
        return self._say_step(self._history.redo())

    def answer_suggest(self, typed: str) -> Reply:
        """Tags that the tagger knows; the page knows the dataset's own."""
        if self._vocabulary is None:
            self._vocabulary = read_vocabulary(_find_tag_list())
        counts = Counter(count_tags(item.caption for item in self._dataset.own().items))
        found = suggest_tags(typed, counts, self._vocabulary, most=200)
        return [{"tag": each.tag, "kind": each.category} for each in found if not each.pictures][:10]

    def answer_tokens(self, files: list[str]) -> Reply:
        """How many tokens captions have, and where they are cut."""
        if self._counter is None:
            from lora_nb.models.token_counts import load_token_counter

            self._counter = load_token_counter(self._project.load_config())
        count, most = self._counter.count, self._counter.most
        result = {}
        for file in files:
            try:
                texts = read_caption_text(self._find(file).path)[0].splitlines()
            except DatasetError:
                continue
            longest = max(texts, key=count, default="")  # each line is a caption of its own
            number = count(longest)
            result[file] = [number, find_cut(longest, count, most) if number > most else ""]
        return {"counts": result, "most": most, "note": self._counter.note}

    def answer_triggers(self) -> Reply:
        """Whether all captions of each folder begin alike."""
        data = self._project.load_config().data
        reports = report_triggers(refresh_captions(self._dataset), data)
        return {
            "words": list(data.trigger_words),
            "kept": data.keep_tokens,
            "folders": [{**asdict(each), "text": each.describe()} for each in reports],
        }

    def answer_adopt(self, words: list[str]) -> Reply:
        """Save trigger words in the settings, and keep as many tags in front."""
        changes = {"data.trigger_words": words, "data.keep_tokens": len(words)}
        self._project.change_settings(changes)
        return {"triggers": words}

    def answer_advice(self) -> Reply:
        """Which tags describe the subject itself, the most constant first, with reasons."""
        words = self._project.load_config().data.trigger_words
        captions = [item.caption for item in refresh_captions(self._dataset.own()).items]
        return [asdict(each) for each in advise_pruning(captions, words)]

    def answer_news(self) -> Reply:
        """Captions that another program, another page or a cell changed since the page heard of them."""
        if self._list_names() != {item.path for item in self._dataset.items}:
            return {"pictures": True}
        changed = [item for item in self._dataset.items if self._stamp(item) != self._stamps.get(self._file(item))]
        return {"captions": self._read(changed), "history": self._say_history()} if changed else {}

    def _list_names(self) -> set[Path]:
        general = self._project.root / REGULARISATION_FOLDER
        rooms = {self._dataset.root: self._dataset.root, general: self._project.root}  # and what names start from
        try:
            found = {
                path: path.relative_to(start).as_posix()
                for room, start in rooms.items()
                if room.is_dir()
                for folder in find_pictures(room)[0]
                for path in folder.pictures
            }
        except OSError:
            return set()
        broken = {problem.where for problem in self._dataset.problems}
        known = {item.path for item in self._dataset.items}
        return {path for path, name in found.items() if path in known or name not in broken}

    def _read(self, items: Iterable[ImageItem]) -> dict[str, Any]:
        """Captions by file, and what the page needs to save them."""
        found: dict[str, Any] = {}
        for item in items:
            self._note(item)
            try:
                text, revision = read_caption_text(item.path)
                found[self._file(item)] = {"text": text, "revision": revision}
            except DatasetError as error:
                revision = find_revision(item.path)
                found[self._file(item)] = {"text": "", "revision": revision, "problem": str(error.problems[0])}
        return found

    def _say_changed(self, changes: Iterable[CaptionChange]) -> dict[str, Any]:
        paths = {change.path for change in changes}
        items = [item for item in self._dataset.items if caption_path(item.path) in paths]
        return {"captions": self._read(items), "history": self._say_history()}

    def _say_step(self, step: Step) -> Reply:
        left = [path.relative_to(self._dataset.root).as_posix() for path in step.left]
        return {"label": step.label, "count": len(step.changed), "left": left, **self._say_changed(step.changed)}

    def _say_history(self) -> dict[str, str]:
        return {"undo": self._history.next_undo(), "redo": self._history.next_redo()}

    def _draw(self, item: ImageItem | None, size: int) -> bytes:
        try:
            return thumbnail(item.path, self._project.cache / "thumbnails", size) if item else b""
        except DatasetError:
            return b""

    def _find(self, file: str) -> ImageItem:
        """The picture of a caption file; only files beside pictures can be named."""
        for item in self._dataset.items:
            if self._file(item) == file:
                return item
        fix = "Open the editor again: the picture was renamed or moved away."
        raise DatasetError(f"{file} belongs to no picture. {fix}", [])

    def _file(self, item: ImageItem) -> str:
        return caption_path(item.path).relative_to(item.root or self._dataset.root).as_posix()

    def _note(self, item: ImageItem) -> None:
        self._stamps[self._file(item)] = self._stamp(item)

    def _stamp(self, item: ImageItem) -> tuple[int, int]:
        try:
            facts = caption_path(item.path).stat()
        except OSError:
            return 0, 0
        return facts.st_mtime_ns, facts.st_size


def _show(change: CaptionChange) -> dict[str, str]:
    return {"name": change.path.name, "before": change.before, "after": change.after}


def _find_tag_list() -> Path:
    """The vocabulary for suggestions: a downloaded WD tagger's, or that of the small one that ships."""
    from lora_nb.captioners.captions import BASES
    from lora_nb.captioners.sources import find_downloaded
    from lora_nb.workshop import TAGGER_FOLDER

    return find_downloaded(BASES["wd"], "selected_tags.csv") or TAGGER_FOLDER / "selected_tags.csv"
