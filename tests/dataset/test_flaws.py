from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from lora_nb.config import TrainConfig
from lora_nb.dataset.flaws import Finding, apply_fix, find_flaws
from lora_nb.dataset.images import scan_images
from lora_nb.dataset.journal import undo
from lora_nb.project import Project, open_project
from tests.dataset.pictures import names
from tests.dataset.test_checks import config


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Four different sharp square pictures."""
    project = open_project(tmp_path / "mochi")
    for number in range(4):
        noisy(number).save(path_of(project, f"{number}.png"))
    return project


def path_of(project: Project, name: str) -> Path:
    path = project.images / "5_mochi" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def noisy(seed: int, width: int = 64, height: int = 64) -> Image.Image:
    """A picture with coarse shapes and fine detail."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)).resize((width, height))
    fine = Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
    return Image.blend(coarse, fine, 0.3)


def flaws(project: Project, kind: str, settings: TrainConfig | None = None) -> list[Finding]:
    return [finding for finding in find_flaws(project, settings or config()) if finding.kind == kind]


def mend(project: Project, kind: str, fix: int = 0, settings: TrainConfig | None = None) -> None:
    """The fix must help, and its undo must bring the finding back."""
    [finding] = flaws(project, kind, settings)
    apply_fix(project, finding.fixes[fix])
    assert flaws(project, kind, settings) == []
    undo(project)
    assert flaws(project, kind, settings) == [finding]


def test_good_pictures_have_no_flaw(project):
    assert find_flaws(project, config()) == []


def test_unreadable_files_can_be_excluded(project):
    path_of(project, "broken.png").write_bytes(path_of(project, "1.png").read_bytes()[:200])
    path_of(project, "page.jpg").write_text("<html>")

    found = flaws(project, "unreadable")
    assert [finding.pictures for finding in found] == [("5_mochi/broken.png",), ("5_mochi/page.jpg",)]
    for finding in found:
        apply_fix(project, finding.fixes[0])
    assert find_flaws(project, config()) == [] and scan_images(project.images).problems == ()


def test_small_pictures_are_found_with_their_scale(project):
    noisy(9, 32, 32).save(path_of(project, "small.png"))
    assert "32 x 32 is enlarged 2.0 times to its bucket, 64 x 64" in str(flaws(project, "small")[0].problem)
    mend(project, "small")


def test_of_pictures_that_look_alike_the_largest_is_kept(project):
    noisy(1).resize((128, 128)).save(path_of(project, "copy.png"))
    noisy(1).save(path_of(project, "copy.jpg"), quality=60)

    mend(project, "alike")

    [finding] = flaws(project, "alike")
    apply_fix(project, finding.fixes[0])
    assert "5_mochi/copy.png" in names(scan_images(project.images)) and finding.fixes[0].label.startswith(
        "Keep copy.png"
    )


def test_blurred_pictures_are_found(project):
    noisy(9, 256, 256).filter(ImageFilter.GaussianBlur(16)).save(path_of(project, "blurred.png"))
    mend(project, "blurred")


def test_a_note_about_rotation_can_be_made_real(project):
    exif = Image.Exif()
    exif[0x0112] = 8
    noisy(9).save(path_of(project, "phone.jpg"), exif=exif)
    mend(project, "turned")


def test_transparency_is_found_where_it_is_seen_and_unless_it_is_the_mask(project):
    clear, opaque = noisy(8).convert("RGBA"), noisy(9).convert("RGBA")
    clear.putpixel((3, 3), (0, 0, 0, 10))
    clear.save(path_of(project, "clear.png")), opaque.save(path_of(project, "opaque.png"))

    mend(project, "transparent")
    assert flaws(project, "transparent", config(data__loss_mask="alpha")) == []


@pytest.mark.parametrize("fix", [0, 1, 2, 3])
def test_extreme_crops_offer_which_part_to_keep(project, fix):
    noisy(9, 64, 400).save(path_of(project, "tall.png"))
    settings = config(data__min_bucket_size=48, data__max_bucket_size=96)

    [finding] = flaws(project, "cropped", settings)
    assert [each.label for each in finding.fixes] == [
        "Keep the top",
        "Keep the middle",
        "Keep the bottom",
        "Exclude it",
    ]
    mend(project, "cropped", fix, settings)


def test_a_picture_alone_in_its_bucket_can_be_cropped_to_the_others(project):
    noisy(9, 64, 72).save(path_of(project, "lonely.png"))
    settings = config(run__batch_size=2)

    assert flaws(project, "lonely") == []  # with batches of one, nobody is lonely
    [finding] = flaws(project, "lonely", settings)
    assert "64 x 64, where 4 are" in finding.fixes[0].label
    mend(project, "lonely", 0, settings)


def test_no_fix_is_offered_that_cuts_off_too_much(project):
    noisy(9, 160, 24).save(path_of(project, "strip.png"))
    [finding] = flaws(project, "lonely", config(run__batch_size=2))
    assert finding.fixes == ()
