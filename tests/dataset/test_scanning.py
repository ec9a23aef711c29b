import time

from lora_nb.dataset import scanning
from lora_nb.dataset.images import scan_images
from tests.dataset.pictures import save


def test_pictures_are_not_looked_at_all_the_time(tmp_path, monkeypatch):
    looks = []

    def slow(folder):
        looks.append(1)
        time.sleep(0.05)
        return scan_images(folder)

    save(tmp_path / "a.png")
    monkeypatch.setattr(scanning, "scan_images", slow)
    scan = scanning.Scan(tmp_path)
    for _ in range(20):
        assert len(scan.dataset().items) == 1
    assert len(looks) == 1


def test_new_pictures_are_seen_a_moment_later(tmp_path, monkeypatch):
    monkeypatch.setattr(scanning, "SHARE", 1.0)
    save(tmp_path / "a.png")
    scan = scanning.Scan(tmp_path)
    assert len(scan.dataset().items) == 1
    save(tmp_path / "b.png")
    time.sleep(0.3)
    assert len(scan.dataset().items) == 2
