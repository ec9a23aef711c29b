import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from lora_nb import locks
from lora_nb.errors import LoraNbError
from lora_nb.locks import alone_in

HOLD = """
import sys, time
from pathlib import Path
from lora_nb.locks import alone_in
with alone_in(Path(sys.argv[1])):
    print("in", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path: Path):
    """Another notebook that writes in the folder."""
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE) as process:
        assert process.stdout and process.stdout.readline() == b"in\n"
        yield process
        process.kill()


def test_who_waits_too_long_is_told_where_and_what_to_do(tmp_path, holder, monkeypatch):
    monkeypatch.setattr(locks, "PATIENCE", 0.1)
    with pytest.raises(LoraNbError, match=f"writing in {tmp_path}.*restart its kernel"), alone_in(tmp_path):
        raise AssertionError("two are in at once")


def test_a_process_that_dies_gives_its_turn_back(tmp_path, holder):
    holder.kill()
    holder.wait()
    with alone_in(tmp_path):
        pass


def test_other_folders_do_not_wait(tmp_path, holder, monkeypatch):
    monkeypatch.setattr(locks, "PATIENCE", 0.1)
    with alone_in(tmp_path / "other"):
        pass


def test_it_is_entered_again_within_itself_also_by_another_name(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path)
    with alone_in(tmp_path), alone_in(tmp_path / "link"):
        pass
    with alone_in(tmp_path):
        pass


def test_an_error_within_gives_the_turn_back(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "PATIENCE", 0.5)
    with pytest.raises(ValueError), alone_in(tmp_path):
        raise ValueError
    taken: list[int] = []

    def take() -> None:
        with alone_in(tmp_path):
            taken.append(1)

    other = threading.Thread(target=take)
    other.start()
    other.join()
    assert taken


def test_threads_of_one_notebook_take_turns(tmp_path):
    inside: list[int] = []
    most: list[int] = []

    def work() -> None:
        for _ in range(5):
            with alone_in(tmp_path):
                inside.append(1)
                time.sleep(0.001)
                most.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(most) == 15 and max(most) == 1
