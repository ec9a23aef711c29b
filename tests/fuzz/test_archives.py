"""Archives that are damaged, forged or harmful: unpacked rightly, in part and said so, or refused as a whole."""

import io
import os
import stat
import warnings
import zipfile

import pytest

from lora_nb.dataset.adding import add_pictures
from lora_nb.dataset.archives import unpack_zip
from lora_nb.errors import DatasetError
from lora_nb.project import open_project
from tests.dataset.pictures import two_halves
from tests.fuzz.contract import attempt, check_problem, contents_of, run_cases
from tests.fuzz.spoiling import damage, no_file

NAMES = (
    *(
        "a.png",
        "3_cat/a.png",
        "3_cat/a.txt",
        "x/3_cat/a.png",
        "masks/a.png",
        "3_cat/masks/a.png",
        "a.png/b.png",
        "a.PNG",
    ),
    *("../evil.png", "a/../../evil.png", "/etc/evil.png", "C:\\evil.png", "..\\evil.png", "\\\\host\\share\\x.png"),
    *("./a.png", "a//b.png", "3_cat/", "empty/", "3_cat/readme.md", "__MACOSX/a.png", ".hidden.png", "猫/猫.png"),
    *(
        "x" * 250 + ".png",
        "y" * 300 + "/a.png",
        "a\n.png",
        "a\x01.png",
        " .png",
        "a .png",
        "con.png",
        "a:b.png",
        "3_cat/é.png",
    ),
    *("~/a.png", "$HOME/a.png", "a/b/c/d/e/f/g/h.png", "..a.png", "a...png", "nested.zip", "3_\u202etac/a.png"),
)
MODES = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)


def test_odd_archives_stay_in_their_folder(tmp_path):
    def case(chance, folder):
        archive = folder / "a.zip"
        archive.write_bytes(odd_archive(chance))
        out = folder / "deep" / "deeper" / "out"
        before = contents_of(folder)
        outcome = attempt(lambda: unpack_zip(archive, out), names="a.zip")
        for problem in outcome.result or ():
            check_problem(problem)
        after = contents_of(folder)
        assert before.items() <= after.items()
        assert all(path.startswith(str(out)) for path in after.keys() - before.keys() if os.path.isfile(path))
        assert not any(os.path.islink(path) for path in after)
        return outcome.word

    run_cases("archives", 350, case, tmp_path)


def test_odd_archives_are_taken_into_a_project(tmp_path):
    def case(chance, folder):
        project = open_project(folder / "project")
        archive = folder / "a.zip"
        if chance.random() < 0.1:
            no_file(chance, archive)
        else:
            archive.write_bytes(odd_archive(chance))
        outcome = attempt(lambda: add_pictures(project, archive), names="a.zip")
        for problem in outcome.result.problems if outcome.result else ():
            check_problem(problem)
        assert not any((project.cache / "incoming").rglob("*")) if (project.cache / "incoming").exists() else True
        return outcome.word

    run_cases("archives taken in", 120, case, tmp_path)


def make(path, *members, mode=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", mode) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_the_second_file_of_a_name_does_not_replace_the_first(tmp_path):
    archive = make(tmp_path / "a.zip", ("3_cat/a.png", b"first"), ("3_cat/a.png", b"second"))
    (problem,) = unpack_zip(archive, tmp_path / "out")
    assert "two files of this name" in problem.message
    assert next((tmp_path / "out").rglob("*.png")).read_bytes() == b"first"


def test_a_name_that_no_disk_takes_is_left_out(tmp_path):
    (problem,) = unpack_zip(make(tmp_path / "a.zip", ("x" * 300 + ".png", b"1"), ("b.png", b"2")), tmp_path / "out")
    assert "longer than 200 bytes" in problem.message
    assert [path.name for path in (tmp_path / "out").rglob("*.png")] == ["b.png"]


@pytest.mark.parametrize("mode", MODES[1:])
def test_a_member_whose_packing_is_damaged_is_left_out(tmp_path, mode):
    content = os.urandom(3000)
    archive = make(tmp_path / "a.zip", ("a.png", content), ("b.png", b"2"), mode=mode)
    broken = bytearray(archive.read_bytes())
    broken[60:1000] = b"\xff" * 940
    archive.write_bytes(broken)
    (problem,) = unpack_zip(archive, tmp_path / "out")
    assert "damaged in the archive" in problem.message
    assert [path.name for path in (tmp_path / "out").rglob("*.png")] == ["b.png"]


def test_a_name_that_is_no_text_is_damage(tmp_path):
    archive = make(tmp_path / "a.zip", ("é.png", b"1"))
    archive.write_bytes(archive.read_bytes().replace("é".encode(), b"\xff\xfe"))
    with pytest.raises(DatasetError, match="damaged"):
        unpack_zip(archive, tmp_path / "out")


def test_a_name_that_nearly_fills_what_a_disk_takes_can_be_added(tmp_path):
    picture = tmp_path / ("x" * 246 + ".png")
    two_halves().save(picture)
    added = add_pictures(open_project(tmp_path / "project"), picture)
    assert added.pictures and not added.problems


def odd_archive(chance):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", chance.choice(MODES)) as archive:
        for number in range(chance.randrange(8)):
            name = (
                chance.choice(NAMES) if chance.random() < 0.5 else f"{chance.choice(('', '3_cat/', 'x/'))}{number}.png"
            )
            info = zipfile.ZipInfo(name)
            info.compress_type = archive.compression
            if chance.random() < 0.1:
                info.external_attr = (chance.choice([stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR]) | 0o777) << 16
            with warnings.catch_warnings(action="ignore"):  # of names that stand twice
                archive.writestr(info, odd_content(chance))
    made = content.getvalue()
    made = lock(made) if chance.random() < 0.1 else made
    return damage(chance, made) if chance.random() < 0.4 else made


def odd_content(chance):
    picture = io.BytesIO()
    two_halves(chance.randrange(8, 40), 20).save(picture, "PNG")
    return chance.choice(
        [picture.getvalue()] * 5 + [b"", b"../../etc/passwd", b"mochi, smile", bytes(3_000_000), chance.randbytes(99)]
    )


def lock(content):
    """Set the mark "with a password" of every member."""
    made = bytearray(content)
    for mark, behind in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        place = made.find(mark)
        while place >= 0:
            made[place + behind] |= 1
            place = made.find(mark, place + 4)
    return bytes(made)


def test_a_bomb_by_count_and_one_by_ratio_are_refused_in_bounded_memory(tmp_path):
    with zipfile.ZipFile(tmp_path / "count.zip", "w") as archive:
        for number in range(30_000):
            archive.writestr(f"{number}.png", b"")
    attempt(lambda: unpack_zip(tmp_path / "count.zip", tmp_path / "out"), names="30,000 files")
    make(tmp_path / "ratio.zip", ("a.png", bytes(400_000_000)), mode=zipfile.ZIP_DEFLATED)
    attempt(lambda: unpack_zip(tmp_path / "ratio.zip", tmp_path / "out"), names="No picture does that")


def test_a_member_that_is_longer_than_it_says_is_cut_off(tmp_path):
    archive = make(tmp_path / "a.zip", ("a.png", b"x" * 3_000_000), mode=zipfile.ZIP_DEFLATED)
    content = archive.read_bytes().replace((3_000_000).to_bytes(4, "little"), (500_000).to_bytes(4, "little"))
    archive.write_bytes(content)
    outcome = attempt(lambda: unpack_zip(archive, tmp_path / "out"))
    assert outcome.result and not list((tmp_path / "out").rglob("*.png"))
