"""Runs `lora-nb` in a process that is killed, without a chance to say anything, at its n-th touch of the run's files.

python tests/training/killed.py N RUN_FOLDER train PROJECT --run NAME
"""

import os
import signal
import sys

from lora_nb.__main__ import main

TOUCHES = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate"}  # as Python's audit names them
left, folder = int(sys.argv[1]), sys.argv[2]


def watch(event: str, arguments: tuple[object, ...]) -> None:
    global left
    if event in TOUCHES and str(arguments[0]).startswith(folder):
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


sys.addaudithook(watch)
sys.argv = ["lora-nb", *sys.argv[3:]]
main()
