"""The caption editor in a real browser: a person's edits reach the disk, none is lost, none is mixed up."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from lora_nb.config_file import change_settings
from lora_nb.project import Project, open_project
from lora_nb.widgets.captions import CaptionEditor
from tests.browser.fake_jupyter import open_widget, serious_problems
from tests.dataset.pictures import save

CAPTIONS = {
    "001": "mochi, antenna, smile, forest",
    "002": "mochi, antenna, sitting, beach",
    "003": "mochi, antenna, smile, room",
    "004": "antenna, mochi, angry",
    "005": None,
}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = open_project(tmp_path / "my_lora")
    for name, caption in CAPTIONS.items():
        save(project.images / "3_mochi" / f"{name}.png", caption)
    project.save_config(change_settings(project.load_config(), {"data.trigger_words": ["mochi"]}))
    return project


@pytest.fixture
def opened(browser: Any, project: Project) -> Iterator[Any]:
    with open_widget(browser, CaptionEditor(project)) as (page, kernel):
        page.locator(".cap-row").first.wait_for()
        yield page, kernel, project


def text_of(project: Project, name: str) -> str | None:
    path = project.images / "3_mochi" / f"{name}.txt"
    return path.read_text(encoding="utf-8") if path.exists() else None


def wait_saved(page: Any) -> None:
    page.get_by_text("All captions are saved.").wait_for()


def wait_text(page: Any, project: Project, name: str, text: str | None) -> None:
    for _ in range(600):  # half a minute: a busy machine must not fail this
        if text_of(project, name) == text:
            return
        page.wait_for_timeout(50)
    assert text_of(project, name) == text


def chips(page: Any) -> list[str]:
    return page.locator(".cap-tag").all_inner_texts()


def test_tags_are_added_moved_renamed_and_removed_by_keyboard(opened: Any):
    page, _, project = opened
    add = page.get_by_label("Add a tag")
    add.fill("sunset, red hat")
    add.press("Enter")
    assert chips(page) == ["mochi", "antenna", "smile", "forest", "sunset", "red hat"]
    add.press("Backspace")
    page.keyboard.press("Shift+ArrowLeft")
    page.keyboard.press("Delete")
    assert chips(page)[-2:] == ["forest", "sunset"]
    page.keyboard.press("F2")
    page.keyboard.type("evening")
    page.keyboard.press("Enter")
    wait_text(page, project, "001", "mochi, antenna, smile, forest, evening")
    page.keyboard.press("Control+z")
    page.keyboard.press("Control+z")
    wait_text(page, project, "001", "mochi, antenna, smile, forest, red hat, sunset")
    assert (project.images / "3_mochi" / "001.txt.bak").read_text() == CAPTIONS["001"]


def test_the_class_in_general_has_captions_of_its_own(browser: Any, project: Project):
    picture = project.root / "regularisation" / "1_creature" / "r.png"
    save(picture, "creature, sea")
    with open_widget(browser, CaptionEditor(project)) as (page, _):
        page.get_by_text("5 pictures", exact=True).wait_for()
        counts = page.get_by_role("list", name="Tags and how many pictures have them")
        counts.get_by_text("antenna").wait_for()
        assert counts.get_by_text("creature").count() == 0
        page.get_by_label("Which pictures").select_option("Class in general")
        page.get_by_text("1 picture", exact=True).wait_for()
        assert chips(page) == ["creature", "sea"]
        assert counts.get_by_text("creature").count() == 1 and counts.get_by_text("antenna").count() == 0
        page.get_by_label("Of", exact=True).select_option("shown")
        page.get_by_text("edit them one by one").wait_for()
        page.get_by_label("Add a tag").fill("evening")
        page.get_by_label("Add a tag").press("Enter")
        wait_saved(page)
        assert picture.with_suffix(".txt").read_text() == "creature, sea, evening"
        page.get_by_label("Which pictures").select_option("All pictures")
        page.get_by_text("5 pictures", exact=True).wait_for()


def test_trigger_words_are_pinned(opened: Any):
    page, _, _ = opened
    page.locator(".cap-tag").first.focus()
    page.keyboard.press("Delete")
    page.get_by_text("mochi is a trigger word").wait_for()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Shift+ArrowLeft")
    assert chips(page)[:2] == ["mochi", "antenna"]


def test_tags_are_dragged(opened: Any):
    page, _, project = opened
    page.locator(".cap-chip").nth(3).drag_to(page.locator(".cap-chip").nth(1))
    assert chips(page) == ["mochi", "forest", "antenna", "smile"]
    page.locator(".cap-chip").nth(1).drag_to(page.locator(".cap-chip").nth(0))
    wait_text(page, project, "001", "mochi, forest, antenna, smile")


def test_pictures_that_take_long_come_one_by_one(browser: Any, project: Project, monkeypatch: Any):
    from lora_nb.widgets import captions

    monkeypatch.setattr(captions, "MOMENT", 0)
    with open_widget(browser, CaptionEditor(project)) as (page, _):
        page.wait_for_function("document.querySelectorAll('.cap-frame img:not([hidden])').length === 5")
        assert page.evaluate("document.querySelector('.cap-picture').naturalWidth") == 64


def test_suggestions_come_from_the_dataset_and_then_from_the_tagger(opened: Any):
    page, _, _ = opened
    add = page.get_by_label("Add a tag")
    add.press_sequentially("be")
    page.get_by_role("option", name="beach 1").wait_for()
    add.press("ArrowDown")
    add.press("Enter")
    assert chips(page)[-1] == "beach"
    add.press_sequentially("red bo")
    page.get_by_role("option", name="red body general").wait_for()
    add.press("Escape")
    assert add.input_value() == ""


def test_two_fast_edits_of_two_pictures_never_mix(opened: Any):
    page, _, project = opened
    add = page.get_by_label("Add a tag")
    for word in ("one", "two", "three"):
        add.fill(word)
        add.press("Enter")
        add.press("Control+ArrowDown")
    wait_saved(page)
    assert text_of(project, "001") == "mochi, antenna, smile, forest, one"
    assert text_of(project, "002") == "mochi, antenna, sitting, beach, two"
    assert text_of(project, "003") == "mochi, antenna, smile, room, three"


def test_an_edit_made_while_the_kernel_is_busy_is_kept(opened: Any):
    page, kernel, project = opened
    page.wait_for_timeout(900)  # until the first questions are answered
    kernel.busy = True
    add = page.get_by_label("Add a tag")
    for word in ("early", "late"):
        add.fill(word)
        add.press("Enter")
        page.wait_for_timeout(450)
    page.get_by_text("The notebook is busy").wait_for()
    assert text_of(project, "001") == CAPTIONS["001"]
    kernel.resume()
    wait_text(page, project, "001", "mochi, antenna, smile, forest, early, late")


def test_a_caption_that_changed_elsewhere_is_not_overwritten_without_asking(opened: Any):
    page, _, project = opened
    (project.images / "3_mochi" / "001.txt").write_text("theirs")
    add = page.get_by_label("Add a tag")
    add.fill("mine")
    add.press("Enter")
    page.get_by_text("On disk it now says: theirs").wait_for()
    assert text_of(project, "001") == "theirs"
    page.get_by_role("button", name="Keep what is here").click()
    wait_text(page, project, "001", "mochi, antenna, smile, forest, mine")
    assert page.get_by_text("On disk it now says").is_hidden()


def test_what_others_write_appears_by_itself(opened: Any):
    page, _, project = opened
    (project.images / "3_mochi" / "001.txt").write_text("mochi, written by a cell")
    page.get_by_role("button", name="written by a cell", exact=True).wait_for(timeout=9000)


def test_a_tag_is_pruned_from_all_captions_and_undone(opened: Any):
    page, _, project = opened
    page.get_by_role("tab", name="Prune assistant").click()
    page.get_by_text("Learned into mochi: antenna").wait_for()
    free = page.locator(".cap-preview p").nth(1).inner_text()
    assert "smile" in free and "antenna" not in free and "mochi" not in free
    page.get_by_text("4 of 5 captions would change.").wait_for()
    page.get_by_role("button", name="Prune them").click()
    page.get_by_text("Remove antenna: 4 captions changed.").wait_for()
    assert text_of(project, "001") == "mochi, smile, forest" and chips(page) == ["mochi", "smile", "forest"]
    page.get_by_role("button", name="Undo: Remove antenna").click()
    page.get_by_text("Undone: Remove antenna, 4 captions.").wait_for()
    assert [text_of(project, name) for name in CAPTIONS] == list(CAPTIONS.values())
    page.get_by_role("button", name="Redo: Remove antenna").click()
    page.get_by_text("Done again: Remove antenna").wait_for()
    assert text_of(project, "004") == "mochi, angry"


def test_tags_filter_and_an_edit_reaches_only_what_is_shown(opened: Any):
    page, _, project = opened
    page.locator(".cap-count[data-tag=smile]").click()
    page.get_by_text("2 of 5 pictures").wait_for()
    page.locator(".cap-count[data-tag=room]").click(modifiers=["Shift"])
    page.get_by_text("1 of 5 pictures").wait_for()
    assert page.locator(".cap-row").count() == 1
    page.get_by_label("Of", exact=True).select_option("shown")
    page.get_by_label("Tags", exact=True).fill("happy")
    page.get_by_text("1 of 1 captions would change.").wait_for()
    page.get_by_role("button", name="Apply").click()
    page.get_by_text("Add happy: 1 captions changed.").wait_for()
    assert text_of(project, "001") == "mochi, antenna, smile, forest, happy"
    assert text_of(project, "003") == CAPTIONS["003"]
    page.get_by_role("button", name="No longer with smile").click()
    page.get_by_label("Which pictures").select_option("bare")
    page.get_by_text("1 of 5 pictures").wait_for()


def test_chosen_pictures_are_edited_alone(opened: Any):
    page, _, project = opened
    page.locator(".cap-list").focus()
    page.keyboard.press("Space")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Space")
    page.get_by_label("Edit", exact=True).select_option("rename")
    page.get_by_label("Of", exact=True).select_option("chosen")
    page.get_by_label("Tag", exact=True).fill("smile")
    page.get_by_label("New name").fill("grin")
    page.get_by_text("2 of 2 captions would change.").wait_for()
    page.get_by_role("button", name="Apply").click()
    page.get_by_text("Rename smile to grin: 2 captions changed.").wait_for()
    assert "grin" in text_of(project, "001") and "grin" in text_of(project, "003")


def test_trigger_words_that_differ_are_reported_and_mended(opened: Any):
    page, _, project = opened
    page.get_by_role("tab", name="Trigger words").click()
    page.get_by_text("3_mochi: 3 of 5 captions begin with 'mochi'.").wait_for()
    page.get_by_role("button", name="3_mochi/004.png").click()
    assert chips(page)[0] == "antenna"
    page.get_by_role("textbox", name="Trigger words").fill("mochi, plush")
    page.get_by_text("5 of 5 captions would change.").wait_for()
    page.get_by_role("button", name="Put them first everywhere").click()
    page.get_by_text("Trigger words mochi, plush: 5 captions changed.").wait_for()
    assert text_of(project, "004") == "mochi, plush, antenna, angry" and text_of(project, "005") == "mochi, plush"
    page.get_by_role("button", name="Use mochi, plush in the settings").click()
    page.get_by_text("The settings say the same, and keep 2 tags in front.").wait_for()
    assert project.load_config().data.trigger_words == ("mochi", "plush")
    assert project.load_config().data.keep_tokens == 2


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("mochi, {red|blue} hat", "choices"),
        ("mochi, (red hat, boots:1.2)", "weights"),
        ("mochi ||| smile, hat", "mark"),
        ("mochi, one\nmochi, two", "several lines"),
        ("A round teal creature stands in the middle of a forest.", "sentence"),
    ],
)
def test_what_is_more_than_tags_is_text_and_survives_an_edit(browser: Any, project: Project, text: str, reason: str):
    (project.images / "3_mochi" / "001.txt").write_text(text)
    with open_widget(browser, CaptionEditor(project)) as (page, _):
        area = page.get_by_label("Caption", exact=True)
        area.wait_for()
        assert area.input_value() == text and reason in page.locator(".cap-why").inner_text()
        area.focus()
        area.press("Control+End")
        area.press_sequentially(" end ")
        wait_text(page, project, "001", f"{text} end")
        assert area.input_value() == f"{text} end ", "the text is not touched while one types"


def test_captions_are_shown_as_text_and_never_run(browser: Any, project: Project):
    evil = "mochi, <img src=x onerror='window.evil = 1'>, <b>bold</b>"
    (project.images / "3_mochi" / "001.txt").write_text(evil)
    with open_widget(browser, CaptionEditor(project)) as (page, _):
        page.locator(".cap-row").first.wait_for()
        page.get_by_role("tab", name="Prune assistant").click()
        page.wait_for_timeout(1200)
        assert page.evaluate("window.evil") is None
        assert chips(page) == evil.split(", ")
        assert text_of(project, "001") == evil


def test_a_long_caption_is_marked_with_where_it_is_cut(browser: Any, project: Project):
    many = ", ".join(["mochi", *(f"antenna {number}" for number in range(60))])
    (project.images / "3_mochi" / "002.txt").write_text(many)
    with open_widget(browser, CaptionEditor(project)) as (page, _):
        page.locator(".cap-row").first.wait_for()
        page.get_by_label("Which pictures").select_option("long")
        page.get_by_text("1 of 5 pictures").wait_for()
        assert "cut at “antenna" in page.locator(".cap-meter").inner_text()


def test_an_unreadable_caption_is_shown_and_not_overwritten(browser: Any, project: Project):
    (project.images / "3_mochi" / "001.txt").write_bytes(b"caf\xe9")
    with open_widget(browser, CaptionEditor(project)) as (page, _):
        page.get_by_text("The caption is not saved as UTF-8").wait_for()
        assert page.get_by_label("Add a tag").is_disabled()
        page.get_by_text("not readable").wait_for()


def test_tags_are_copied_to_another_picture(opened: Any):
    page, _, project = opened
    page.get_by_role("button", name="Copy tags").click()
    page.get_by_role("button", name="Next picture").click()
    page.get_by_role("button", name="Paste tags").click()
    wait_text(page, project, "002", "mochi, antenna, sitting, beach, smile, forest")


@pytest.mark.parametrize("dark", [False, True])
def test_the_editor_is_accessible(browser: Any, project: Project, dark: bool):
    with open_widget(browser, CaptionEditor(project), dark=dark) as (page, _):
        page.locator(".cap-row").first.wait_for()
        for tab in ("Change many", "Trigger words", "Prune assistant"):
            page.get_by_role("tab", name=tab).click()
            page.wait_for_timeout(900)
            assert serious_problems(page) == [], tab
        page.get_by_label("Find in captions").fill("no such thing")
        page.get_by_text("No picture fits the filter.").wait_for()
        assert serious_problems(page) == []


def test_the_editor_can_be_used_at_320_pixels(browser: Any, project: Project):
    with open_widget(browser, CaptionEditor(project), width=320) as (page, _):
        page.locator(".cap-row").first.wait_for()
        page.get_by_role("tab", name="Prune assistant").click()
        page.get_by_text("captions would change").wait_for()
        assert page.evaluate("document.documentElement.scrollWidth") <= 320
        add = page.get_by_label("Add a tag")
        add.fill("tiny")
        add.press("Enter")
        wait_text(page, project, "001", "mochi, antenna, smile, forest, tiny")
        assert serious_problems(page) == []


def test_an_empty_project_says_what_to_do(browser: Any, tmp_path: Path):
    with open_widget(browser, CaptionEditor(open_project(tmp_path / "empty"))) as (page, _):
        page.get_by_text("There are no pictures in this project yet.").wait_for()


def test_a_thousand_captions_scroll_smoothly(browser: Any, tmp_path: Path):
    project = open_project(tmp_path / "many")
    folder = project.images / "1_mochi"
    folder.mkdir()
    for number in range(1000):
        Image.new("RGB", (24, 24), (number % 256, 99, 150)).save(folder / f"{number:04}.png")
        (folder / f"{number:04}.txt").write_text(f"mochi, tag {number % 40}, own {number}, smile, forest")
    with open_widget(browser, CaptionEditor(project)) as (page, _):
        page.locator(".cap-frame img:visible").first.wait_for()
        page.get_by_text("1000 pictures").wait_for()
        page.wait_for_timeout(1500)
        frames = page.evaluate("""() => new Promise(resolve => {
            const list = document.querySelector(".cap-list"), times = [];
            let last = performance.now(), most = 0;
            const step = now => {
                times.push(now - last); last = now;
                list.scrollTop += 400;
                most = Math.max(most, list.querySelectorAll("*").length);
                if (times.length < 90) requestAnimationFrame(step);
                else resolve({median: times.slice(5).sort((a, b) => a - b)[42], most});
            };
            requestAnimationFrame(step);
        })""")
        assert frames["most"] < 200 and frames["median"] <= 25, frames
        page.locator(".cap-list").focus()
        page.keyboard.press("End")
        page.get_by_text("1000 of 1000").wait_for()
        add = page.get_by_label("Add a tag")
        add.fill("last")
        add.press("Enter")
        wait_saved(page)
        assert (folder / "0999.txt").read_text().endswith(", last")
        page.get_by_label("Tags", exact=True).fill("everywhere")
        page.get_by_text("1000 of 1000 captions would change.").wait_for()
        page.get_by_role("button", name="Apply").click()
        page.get_by_text("1000 captions changed").wait_for(timeout=30000)
